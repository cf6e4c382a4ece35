// RUN: mlirfuse-opt %s --fusion-schedule=device=sm_90 --fusion-assign-buffers --fusion-emit-kernels=device=sm_90 | filecheck %s

// A group of three convolutions, each block of which walks over the five tiles of 4 x 8 positions of its column. The two
// rows of what the first gives that two tiles need lie in a line, in shared memory: from the second tile on, they are taken
// over from there, the first convolution computes the four rows that are new, two at a time (of the first tile all six), and
// what the next tile needs is put there. The blocks are three, one for each column.
// CHECK-LABEL: gpu.func @k0_conv
// CHECK-SAME:  workgroup(%[[SHARED:.*]] : memref<{{[0-9]+}}xf32, #gpu.address_space<workgroup>>
// CHECK-SAME:  gpu.known_grid_size = array<i32: 3, 1, 1>
// CHECK-DAG:   %[[ONE:.*]] = arith.constant 1 : index
// CHECK:       affine.for %[[STEP:.*]] = 0 to 5
// CHECK:         %[[LATER:.*]] = arith.cmpi sge, %[[STEP]], %[[ONE]]
// CHECK:         scf.if %[[LATER]]
// CHECK:           %[[SHARED]]
// CHECK:         scf.for
// CHECK:           vector.fma
// CHECK:           gpu.barrier
// CHECK:         gpu.barrier
// CHECK:         %[[BEFORE:.*]] = arith.cmpi sle, %[[STEP]]
// CHECK:         scf.if %[[BEFORE]]
// CHECK:           %[[SHARED]]
// CHECK:         vector.fma
// CHECK:         gpu.barrier
// CHECK:         vector.fma
// CHECK:         gpu.barrier
// CHECK:       gpu.return
func.func @main(%x: tensor<1x16x20x20xf32>) -> tensor<1x48x20x20xf32> {
  %ws = "fusion.weight"() {key = "squeeze"} : () -> tensor<8x16x1x1xf32>
  %w1 = "fusion.weight"() {key = "one"} : () -> tensor<24x8x1x1xf32>
  %w3 = "fusion.weight"() {key = "three"} : () -> tensor<24x8x3x3xf32>
  %y = "fusion.group"(%x, %ws, %w1, %w3) ({
  ^bb0(%gx: tensor<1x16x20x20xf32>, %gs: tensor<8x16x1x1xf32>, %g1: tensor<24x8x1x1xf32>, %g3: tensor<24x8x3x3xf32>):
    %s = "fusion.conv"(%gx, %gs) {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x20x20xf32>, tensor<8x16x1x1xf32>) -> tensor<1x8x20x20xf32>
    %r = "fusion.unary"(%s) {kind = "relu"} : (tensor<1x8x20x20xf32>) -> tensor<1x8x20x20xf32>
    %a = "fusion.conv"(%r, %g1) {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x20x20xf32>, tensor<24x8x1x1xf32>) -> tensor<1x24x20x20xf32>
    %b = "fusion.conv"(%r, %g3) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x20x20xf32>, tensor<24x8x3x3xf32>) -> tensor<1x24x20x20xf32>
    %c = "fusion.concat"(%a, %b) {axis = 1 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x24x20x20xf32>, tensor<1x24x20x20xf32>) -> tensor<1x48x20x20xf32>
    "fusion.yield"(%c) {operandSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x48x20x20xf32>) -> ()
  }) {operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0>, schedule = {kind = "cross-layer", threads = 128 : i64, walk = 5 : i64, tile = array<i64: 1, 24, 4, 8>, stages = ["{\22kind\22: \22contract\22, \22block_m\22: 64, \22block_n\22: 32, \22block_k\22: 8, \22thread_m\22: 4, \22thread_n\22: 4, \22registers\22: 128}", "{\22kind\22: \22contract\22, \22block_m\22: 64, \22block_n\22: 32, \22block_k\22: 8, \22thread_m\22: 4, \22thread_n\22: 4, \22registers\22: 128}", "{\22kind\22: \22contract\22, \22block_m\22: 64, \22block_n\22: 32, \22block_k\22: 8, \22thread_m\22: 4, \22thread_n\22: 4, \22registers\22: 128}"]}} : (tensor<1x16x20x20xf32>, tensor<8x16x1x1xf32>, tensor<24x8x1x1xf32>, tensor<24x8x3x3xf32>) -> tensor<1x48x20x20xf32>
  return %y : tensor<1x48x20x20xf32>
}
