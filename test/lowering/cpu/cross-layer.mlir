// RUN: mlirfuse-opt %s --fusion-schedule=device=host --fusion-assign-buffers --fusion-emit-kernels=device=host | filecheck %s

// A group of three convolutions in tiles of 8 x 8 positions, with a schedule for each stage: one kernel, whose tiles threads
// share. What the first gives has no buffer: ten lines of ten positions of its eight channels, halo included, are kept in
// scratch, channels innermost. The second reads them where they lie, the 3x3 from a padded copy; both store into the output.
// Every weight comes in panels, as its register tile reads it.
// CHECK-LABEL: func.func private @k0_conv
// CHECK-SAME:  %[[OUT:[a-z0-9]+]]: memref<19200xf32> {llvm.noalias}, %{{[a-z0-9]+}}: index
// CHECK:       %[[KEPT:.*]] = memref.alloca() {{.*}} : memref<800xf32>
// CHECK:       %[[PADDED:.*]] = memref.alloca() {{.*}} : memref<800xf32>
// CHECK:       vector.fma
// CHECK:       arith.maximumf
// CHECK:       affine.vector_store {{.*}}, %[[KEPT]][
// CHECK:       memref.load %[[KEPT]][
// CHECK:       vector.fma
// CHECK:       memref.store {{.*}}, %[[OUT]][
// CHECK:       vector.load %[[KEPT]][
// CHECK:       vector.store {{.*}}, %[[PADDED]][
// CHECK:       memref.load %[[PADDED]][
// CHECK:       vector.fma
// CHECK:       memref.store {{.*}}, %[[OUT]][
// CHECK:       return
// CHECK-LABEL: func.func @main
// CHECK-COUNT-3: "fusion.weight"{{.*}}transpose
// CHECK-NOT:   memref.alloc
// CHECK:       scf.forall ({{.*}}) in (9)
// CHECK:         func.call @k0_conv
// CHECK-NOT:   scf.forall
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
  }) {operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0>, schedule = {kind = "cross-layer", tile = array<i64: 1, 24, 8, 8>, orders = ["0,2,3,1"], stages = ["{\22kind\22: \22contract\22, \22lane_axis\22: 1, \22lanes\22: 4, \22rows\22: 4, \22columns\22: 1, \22split\22: -1, \22block\22: 100, \22panels\22: 2, \22batches\22: 1, \22staged\22: false, \22weights\22: \22packed\22, \22unroll\22: 4}", "{\22kind\22: \22contract\22, \22lane_axis\22: 1, \22lanes\22: 4, \22rows\22: 4, \22columns\22: 1, \22split\22: -1, \22block\22: 64, \22panels\22: 6, \22batches\22: 1, \22staged\22: false, \22weights\22: \22packed\22, \22unroll\22: 4}", "{\22kind\22: \22contract\22, \22lane_axis\22: 1, \22lanes\22: 4, \22rows\22: 4, \22columns\22: 1, \22split\22: 1, \22block\22: 8, \22panels\22: 6, \22batches\22: 1, \22staged\22: true, \22weights\22: \22packed\22, \22unroll\22: 4}"]}} : (tensor<1x16x20x20xf32>, tensor<8x16x1x1xf32>, tensor<24x8x1x1xf32>, tensor<24x8x3x3xf32>) -> tensor<1x48x20x20xf32>
  return %y : tensor<1x48x20x20xf32>
}
