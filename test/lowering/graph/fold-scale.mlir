// RUN: mlirfuse-opt %s --split-input-file --fusion-fold-scale --canonicalize | filecheck %s

// A batch normalisation after a convolution with a bias, as the importer writes it: one convolution and one addition.
// CHECK-LABEL: func.func @batch_norm
// CHECK: %[[W:.*]] = "fusion.splat"() {value = 6.000000e+00 : f64} : () -> tensor<8x4x3x3xf32>
// CHECK: %[[Y:.*]] = "fusion.conv"(%arg0, %[[W]]) {{.*}}onnx_nodes = ["conv", "norm"]
// CHECK: %[[B:.*]] = "fusion.splat"() {value = 2.500000e+01 : f64} : () -> tensor<1x8x1x1xf32>
// CHECK: %[[Z:.*]] = "fusion.binary"(%[[Y]], %[[B]]) {kind = "add"{{.*}}onnx_nodes = ["conv", "norm"]
// CHECK-NEXT: return %[[Z]]
func.func @batch_norm(%x: tensor<1x4x8x8xf32>) -> tensor<1x8x8x8xf32> {
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<8x4x3x3xf32>
  %bias = "fusion.splat"() {value = 7.0 : f64} : () -> tensor<1x8x1x1xf32>
  %scale = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<1x8x1x1xf32>
  %shift = "fusion.splat"() {value = 4.0 : f64} : () -> tensor<1x8x1x1xf32>
  %y = "fusion.conv"(%x, %w) {onnx_nodes = ["conv"], strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<8x4x3x3xf32>) -> tensor<1x8x8x8xf32>
  %z = "fusion.binary"(%y, %bias) {kind = "add", onnx_nodes = ["conv"]} : (tensor<1x8x8x8xf32>, tensor<1x8x1x1xf32>) -> tensor<1x8x8x8xf32>
  %s = "fusion.binary"(%z, %scale) {kind = "mul", onnx_nodes = ["norm"]} : (tensor<1x8x8x8xf32>, tensor<1x8x1x1xf32>) -> tensor<1x8x8x8xf32>
  %r = "fusion.binary"(%s, %shift) {kind = "add", onnx_nodes = ["norm"]} : (tensor<1x8x8x8xf32>, tensor<1x8x1x1xf32>) -> tensor<1x8x8x8xf32>
  return %r : tensor<1x8x8x8xf32>
}

// -----

// The unscaled result is read by others too, so the weight must stay as it is.
// CHECK-LABEL: func.func @shared
// CHECK: fusion.conv
// CHECK: kind = "mul"
func.func @shared(%x: tensor<1x4x8x8xf32>) -> (tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32>) {
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<8x4x3x3xf32>
  %scale = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<1x8x1x1xf32>
  %y = "fusion.conv"(%x, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<8x4x3x3xf32>) -> tensor<1x8x8x8xf32>
  %s = "fusion.binary"(%y, %scale) {kind = "mul"} : (tensor<1x8x8x8xf32>, tensor<1x8x1x1xf32>) -> tensor<1x8x8x8xf32>
  return %s, %y : tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32>
}

// -----

// The factor varies along the width, where the weight does not.
// CHECK-LABEL: func.func @not_by_channel
// CHECK: fusion.conv
// CHECK: kind = "mul"
func.func @not_by_channel(%x: tensor<1x4x8x8xf32>) -> tensor<1x8x8x8xf32> {
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<8x4x3x3xf32>
  %scale = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<8xf32>
  %y = "fusion.conv"(%x, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<8x4x3x3xf32>) -> tensor<1x8x8x8xf32>
  %s = "fusion.binary"(%y, %scale) {kind = "mul"} : (tensor<1x8x8x8xf32>, tensor<8xf32>) -> tensor<1x8x8x8xf32>
  return %s : tensor<1x8x8x8xf32>
}

// -----

// The factor of a contraction goes into the weight; division is multiplication by the inverse.
// CHECK-LABEL: func.func @contraction
// CHECK: %[[W:.*]] = "fusion.splat"() {value = 5.000000e-01 : f64} : () -> tensor<16x32xf32>
// CHECK: "fusion.contract"(%arg0, %[[W]])
// CHECK-NEXT: return
func.func @contraction(%x: tensor<4x16xf32>) -> tensor<4x32xf32> {
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<16x32xf32>
  %c = "fusion.splat"() {value = 4.0 : f64} : () -> tensor<32xf32>
  %y = "fusion.contract"(%x, %w) {equation = "mk,kn->mn"} : (tensor<4x16xf32>, tensor<16x32xf32>) -> tensor<4x32xf32>
  %s = "fusion.binary"(%y, %c) {kind = "div"} : (tensor<4x32xf32>, tensor<32xf32>) -> tensor<4x32xf32>
  return %s : tensor<4x32xf32>
}

// -----

// Both operands are computed at run time: there is no weight to scale.
// CHECK-LABEL: func.func @no_weight
// CHECK: fusion.contract
// CHECK: kind = "mul"
func.func @no_weight(%x: tensor<4x16xf32>, %w: tensor<16x32xf32>) -> tensor<4x32xf32> {
  %c = "fusion.splat"() {value = 4.0 : f64} : () -> tensor<32xf32>
  %y = "fusion.contract"(%x, %w) {equation = "mk,kn->mn"} : (tensor<4x16xf32>, tensor<16x32xf32>) -> tensor<4x32xf32>
  %s = "fusion.binary"(%y, %c) {kind = "mul"} : (tensor<4x32xf32>, tensor<32xf32>) -> tensor<4x32xf32>
  return %s : tensor<4x32xf32>
}

// -----

// Two normalisations before an activation become one factor and one term.
// CHECK-LABEL: func.func @chain
// CHECK: %[[A:.*]] = "fusion.splat"() {value = 1.500000e+01 : f64}
// CHECK: %[[S:.*]] = "fusion.binary"(%arg0, %[[A]]) {kind = "mul"}
// CHECK: %[[B:.*]] = "fusion.splat"() {value = 2.700000e+01 : f64}
// CHECK: %[[T:.*]] = "fusion.binary"(%[[S]], %[[B]]) {kind = "add"}
// CHECK-NEXT: return %[[T]]
func.func @chain(%x: tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32> {
  %c3 = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<4x1x1xf32>
  %c4 = "fusion.splat"() {value = 4.0 : f64} : () -> tensor<4x1x1xf32>
  %c5 = "fusion.splat"() {value = 5.0 : f64} : () -> tensor<4x1x1xf32>
  %c7 = "fusion.splat"() {value = 7.0 : f64} : () -> tensor<4x1x1xf32>
  %a = "fusion.binary"(%x, %c3) {kind = "mul"} : (tensor<1x4x8x8xf32>, tensor<4x1x1xf32>) -> tensor<1x4x8x8xf32>
  %b = "fusion.binary"(%a, %c4) {kind = "add"} : (tensor<1x4x8x8xf32>, tensor<4x1x1xf32>) -> tensor<1x4x8x8xf32>
  %c = "fusion.binary"(%b, %c5) {kind = "mul"} : (tensor<1x4x8x8xf32>, tensor<4x1x1xf32>) -> tensor<1x4x8x8xf32>
  %d = "fusion.binary"(%c, %c7) {kind = "add"} : (tensor<1x4x8x8xf32>, tensor<4x1x1xf32>) -> tensor<1x4x8x8xf32>
  return %d : tensor<1x4x8x8xf32>
}

// -----

// Integers do not divide by multiplying.
// CHECK-LABEL: func.func @integers
// CHECK: kind = "div"
func.func @integers(%x: tensor<4xi64>) -> tensor<4xi64> {
  %c = "fusion.splat"() {value = 4 : i64} : () -> tensor<4xi64>
  %d = "fusion.binary"(%x, %c) {kind = "div"} : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi64>
  return %d : tensor<4xi64>
}

// -----

// One number goes through reshapes and transpositions into the weight and the bias.
// CHECK-LABEL: func.func @before_moving
// CHECK-NOT: kind = "mul"
func.func @before_moving(%x: tensor<4x8xf32>) -> tensor<2x4x3xf32> {
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<8x6xf32>
  %b = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<6xf32>
  %s = "fusion.splat"() {value = 0.5 : f64} : () -> tensor<f32>
  %c = "fusion.contract"(%x, %w) {equation = "mk,kn->mn"} : (tensor<4x8xf32>, tensor<8x6xf32>) -> tensor<4x6xf32>
  %d = "fusion.binary"(%c, %b) {kind = "add"} : (tensor<4x6xf32>, tensor<6xf32>) -> tensor<4x6xf32>
  %r = "fusion.reshape"(%d) {shape = array<i64: 4, 2, 3>} : (tensor<4x6xf32>) -> tensor<4x2x3xf32>
  %t = "fusion.transpose"(%r) {perm = array<i64: 1, 0, 2>} : (tensor<4x2x3xf32>) -> tensor<2x4x3xf32>
  %m = "fusion.binary"(%t, %s) {kind = "mul"} : (tensor<2x4x3xf32>, tensor<f32>) -> tensor<2x4x3xf32>
  return %m : tensor<2x4x3xf32>
}

// -----

// Nothing before the transposition has a weight that could take it.
// CHECK-LABEL: func.func @after_moving
// CHECK: "fusion.transpose"(%arg0)
// CHECK: kind = "mul"
func.func @after_moving(%x: tensor<4x8xf32>) -> tensor<8x4xf32> {
  %s = "fusion.splat"() {value = 0.5 : f64} : () -> tensor<f32>
  %t = "fusion.transpose"(%x) {perm = array<i64: 1, 0>} : (tensor<4x8xf32>) -> tensor<8x4xf32>
  %m = "fusion.binary"(%t, %s) {kind = "mul"} : (tensor<8x4xf32>, tensor<f32>) -> tensor<8x4xf32>
  return %m : tensor<8x4xf32>
}
