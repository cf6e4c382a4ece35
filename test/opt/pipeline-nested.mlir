// RUN: mlirfuse-opt %s --pass-pipeline="builtin.module(gpu.module(gpu.func(cse)))" | filecheck %s
// RUN: mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --pass-pipeline="builtin.module(builtin.module(func.func(sample-mark{scale=2.5})))" | filecheck %s --check-prefix=OURS

// The anchor leads to the kernel and leaves the host function alone.
// CHECK-LABEL: gpu.func @kernel
// CHECK-COUNT-1: arith.addi
// CHECK-NOT:     arith.addi
// CHECK-LABEL: func.func @host
// CHECK-COUNT-2: arith.addi
gpu.module @kernels {
  gpu.func @kernel(%x: i32, %out: memref<2xi32>) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %0 = arith.addi %x, %x : i32
    %1 = arith.addi %x, %x : i32
    memref.store %0, %out[%c0] : memref<2xi32>
    memref.store %1, %out[%c1] : memref<2xi32>
    gpu.return
  }
}
// OURS-LABEL: func.func @host
// OURS-NOT:     sample.mark
func.func @host(%x: i32) -> (i32, i32) {
  %0 = arith.addi %x, %x : i32
  %1 = arith.addi %x, %x : i32
  return %0, %1 : i32, i32
}
// Only functions of an inner module are two anchors down.
// OURS-LABEL: func.func @inner
// OURS-SAME:    sample.mark = "1 2.5"
module {
  func.func @inner() {
    return
  }
}
