// RUN: mlirfuse-opt %s --fusion-schedule=device=sm_90 --fusion-assign-buffers --fusion-emit-kernels=device=sm_90 | filecheck %s

// A group of three convolutions in tiles of 8 x 8 positions, with a schedule for each stage: one kernel with one shared
// array for all that its stages keep. What the first gives (8 x 20 x 20) has no buffer. It is stored in shared memory, a
// barrier lets both others read it, the 3x3 with its padding by conditions; and both store what is this tile's own.
// Every weight comes in the order in which its register tile reads it.
// CHECK-LABEL: gpu.func @k0_conv
// CHECK-NOT:   memref<3200xf32
// CHECK-SAME:  workgroup(%[[SHARED:.*]] : memref<{{[0-9]+}}xf32, #gpu.address_space<workgroup>>
// CHECK:       vector.fma
// CHECK:       arith.maximumf
// CHECK:       affine.vector_store {{.*}}%[[SHARED]]
// CHECK:       gpu.barrier
// CHECK:       %[[SHARED]]
// CHECK:       vector.fma
// CHECK:       gpu.barrier
// CHECK:       scf.if
// CHECK:       %[[SHARED]]
// CHECK:       vector.fma
// CHECK:       gpu.return
// CHECK:       func.func @main
// CHECK-COUNT-3: "fusion.weight"{{.*}}[2, 3, 1, 0]
// CHECK-NOT:   memref.alloc
// CHECK:       gpu.launch_func {{.*}}@k0_conv
// CHECK-NOT:   gpu.launch_func
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
  }) {operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0>, schedule = {kind = "cross-layer", threads = 128 : i64, tile = array<i64: 1, 24, 8, 8>, stages = ["{\22kind\22: \22contract\22, \22block_m\22: 64, \22block_n\22: 32, \22block_k\22: 8, \22thread_m\22: 4, \22thread_n\22: 4, \22registers\22: 128}", "{\22kind\22: \22contract\22, \22block_m\22: 64, \22block_n\22: 32, \22block_k\22: 8, \22thread_m\22: 4, \22thread_n\22: 4, \22registers\22: 128}", "{\22kind\22: \22contract\22, \22block_m\22: 64, \22block_n\22: 32, \22block_k\22: 8, \22thread_m\22: 4, \22thread_n\22: 4, \22registers\22: 128}"]}} : (tensor<1x16x20x20xf32>, tensor<8x16x1x1xf32>, tensor<24x8x1x1xf32>, tensor<24x8x3x3xf32>) -> tensor<1x48x20x20xf32>
  return %y : tensor<1x48x20x20xf32>
}
