// RUN: mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-rewrite --cse --mlir-print-ir-before-all --mlir-print-ir-after-all -o %t.mlir 2>&1 | filecheck %s
// RUN: mlirfuse-opt %s --sample-rewrite --load-module %S/Inputs/sample_passes.py --cse --mlir-timing 2>&1 | filecheck %s --check-prefix=TIMING
// RUN: mlirfuse-opt %s --mlir-print-debuginfo | filecheck %s --check-prefix=LOCATIONS

// Every pass is shown on its own, upstream's and ours alike.
// CHECK: IR Dump Before sample-rewrite
// CHECK:   arith.muli
// CHECK: IR Dump After sample-rewrite
// CHECK:   arith.addi
// CHECK: IR Dump Before cse
// CHECK: IR Dump After cse

// TIMING: Pass execution timing
// TIMING: Parser
// TIMING: sample-rewrite
// TIMING: cse
// TIMING: 100.0% Total

// LOCATIONS: loc("-":{{[0-9]+}}:
func.func @square(%x: i32) -> i32 {
  %0 = arith.muli %x, %x : i32
  return %0 : i32
}
