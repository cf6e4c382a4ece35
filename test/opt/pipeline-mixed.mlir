// RUN: mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --pass-pipeline="builtin.module(sample-rewrite,func.func(sample-mark{value=3},cse),canonicalize)" | filecheck %s
// RUN: mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-rewrite --sample-mark=value=3 --cse --canonicalize | filecheck %s
// RUN: mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-rewrite=driver=walk --sample-mark=loud | filecheck %s --check-prefix=LOUD

// Our passes and upstream's alternate, at two levels of nesting; cse sees what the rewrite made equal.
// CHECK-LABEL: func.func @double
// CHECK-SAME:    attributes {sample.mark = "3 None"}
// CHECK-NEXT:    [[SUM:%.*]] = arith.addi %arg0, %arg0
// CHECK-NEXT:    return [[SUM]], [[SUM]]

// The second addition came from a pattern, and only cse would merge it.
// LOUD-LABEL: func.func @double
// LOUD-SAME:    sample.mark = "LOUD"
// LOUD-COUNT-2: arith.addi
func.func @double(%x: i32) -> (i32, i32) {
  %0 = arith.addi %x, %x : i32
  %1 = arith.muli %x, %x : i32
  return %0, %1 : i32, i32
}

// The operands differ, so the pattern does not match.
// CHECK-LABEL: func.func @product
// CHECK:         arith.muli
func.func @product(%x: i32, %y: i32) -> i32 {
  %0 = arith.muli %x, %y : i32
  return %0 : i32
}
