// RUN: mlirfuse-opt %s --split-input-file --fusion-join-siblings --canonicalize | filecheck %s
// RUN: mlirfuse-opt %s --split-input-file --fusion-join-siblings="no-fuse=a" | filecheck %s --check-prefix=ALONE

// Two convolutions of one image, with their bias and activation, become one of 12 channels and two slices.
// CHECK-LABEL: func.func @convolutions
// CHECK: %[[C:.*]] = "fusion.conv"(%arg0, %{{.*}}) {{.*}}onnx_nodes = ["a", "b"]{{.*}} -> tensor<1x12x8x8xf32>
// CHECK: %[[A:.*]] = "fusion.binary"(%[[C]], %{{.*}}) {kind = "add"{{.*}} -> tensor<1x12x8x8xf32>
// CHECK: %[[R:.*]] = "fusion.unary"(%[[A]]) {kind = "relu"
// CHECK: %[[X:.*]] = "fusion.slice"(%[[R]]) {{.*}}starts = array<i64: 0, 0, 0, 0>{{.*}} -> tensor<1x8x8x8xf32>
// CHECK: %[[Y:.*]] = "fusion.slice"(%[[R]]) {{.*}}starts = array<i64: 0, 8, 0, 0>{{.*}} -> tensor<1x4x8x8xf32>
// CHECK: "fusion.softmax"(%[[X]])
// CHECK: "fusion.softmax"(%[[Y]])
// What is to stay alone is in no family.
// ALONE-LABEL: func.func @convolutions
// ALONE-NOT: fusion.slice
func.func @convolutions(%x: tensor<1x16x8x8xf32>) -> (tensor<1x8x8x8xf32>, tensor<1x4x8x8xf32>) {
  %v = "fusion.splat"() {value = 1.0 : f64} : () -> tensor<8x16x1x1xf32>
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<4x16x1x1xf32>
  %p = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<1x8x1x1xf32>
  %q = "fusion.splat"() {value = 4.0 : f64} : () -> tensor<4x1x1xf32>
  %a = "fusion.conv"(%x, %v) {onnx_nodes = ["a"], strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<8x16x1x1xf32>) -> tensor<1x8x8x8xf32>
  %b = "fusion.binary"(%a, %p) {kind = "add"} : (tensor<1x8x8x8xf32>, tensor<1x8x1x1xf32>) -> tensor<1x8x8x8xf32>
  %c = "fusion.unary"(%b) {kind = "relu"} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %d = "fusion.conv"(%x, %w) {onnx_nodes = ["b"], strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<4x16x1x1xf32>) -> tensor<1x4x8x8xf32>
  %e = "fusion.binary"(%d, %q) {kind = "add"} : (tensor<1x4x8x8xf32>, tensor<4x1x1xf32>) -> tensor<1x4x8x8xf32>
  %f = "fusion.unary"(%e) {kind = "relu"} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %s = "fusion.softmax"(%c) {axes = array<i64: 1>, log = false} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %t = "fusion.softmax"(%f) {axes = array<i64: 1>, log = false} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  return %s, %t : tensor<1x8x8x8xf32>, tensor<1x4x8x8xf32>
}

// -----

// The kernels are of different size, and one activation is not the other.
// CHECK-LABEL: func.func @different
// ALONE-LABEL: func.func @different
// CHECK-NOT: fusion.slice
func.func @different(%x: tensor<1x16x8x8xf32>) -> (tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32>, tensor<1x8x6x6xf32>) {
  %v = "fusion.splat"() {value = 1.0 : f64} : () -> tensor<8x16x1x1xf32>
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<8x16x3x3xf32>
  %a = "fusion.conv"(%x, %v) {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<8x16x1x1xf32>) -> tensor<1x8x8x8xf32>
  %b = "fusion.unary"(%a) {kind = "relu"} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %c = "fusion.conv"(%x, %v) {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<8x16x1x1xf32>) -> tensor<1x8x8x8xf32>
  %d = "fusion.unary"(%c) {kind = "abs"} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %e = "fusion.conv"(%x, %w) {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<8x16x3x3xf32>) -> tensor<1x8x6x6xf32>
  %s = "fusion.softmax"(%b) {axes = array<i64: 1>, log = false} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %t = "fusion.softmax"(%d) {axes = array<i64: 1>, log = false} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %u = "fusion.softmax"(%e) {axes = array<i64: 1>, log = false} : (tensor<1x8x6x6xf32>) -> tensor<1x8x6x6xf32>
  return %s, %t, %u : tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32>, tensor<1x8x6x6xf32>
}

// -----

// One result goes into a concatenation's buffer, so the other sibling is alone.
// CHECK-LABEL: func.func @stored
// CHECK-NOT: fusion.slice
func.func @stored(%x: tensor<1x16x8x8xf32>) -> (tensor<1x12x8x8xf32>, tensor<1x4x8x8xf32>) {
  %v = "fusion.splat"() {value = 1.0 : f64} : () -> tensor<8x16x1x1xf32>
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<4x16x1x1xf32>
  %a = "fusion.conv"(%x, %v) {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<8x16x1x1xf32>) -> tensor<1x8x8x8xf32>
  %d = "fusion.conv"(%x, %w) {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<4x16x1x1xf32>) -> tensor<1x4x8x8xf32>
  %t = "fusion.softmax"(%d) {axes = array<i64: 1>, log = false} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %c = "fusion.concat"(%a, %t) {axis = 1 : i64, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x8x8x8xf32>, tensor<1x4x8x8xf32>) -> tensor<1x12x8x8xf32>
  return %c, %t : tensor<1x12x8x8xf32>, tensor<1x4x8x8xf32>
}

// -----

// Query, key and value projections.
// CHECK-LABEL: func.func @contractions
// CHECK: %[[C:.*]] = "fusion.contract"(%arg0, %{{.*}}) {equation = "sk,kn->sn"{{.*}} -> tensor<4x24xf32>
// CHECK-COUNT-3: "fusion.slice"(%[[C]])
// CHECK-NOT: "fusion.contract"(%arg0
func.func @contractions(%x: tensor<4x16xf32>) -> tensor<4x8xf32> {
  %q = "fusion.splat"() {value = 1.0 : f64} : () -> tensor<16x8xf32>
  %k = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<16x8xf32>
  %v = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<16x8xf32>
  %a = "fusion.contract"(%x, %q) {equation = "sk,kn->sn"} : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32>
  %b = "fusion.contract"(%x, %k) {equation = "sk,kn->sn"} : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32>
  %c = "fusion.contract"(%x, %v) {equation = "sk,kn->sn"} : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32>
  %d = "fusion.contract"(%a, %b) {equation = "sk,tk->st"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x4xf32>
  %e = "fusion.contract"(%d, %c) {equation = "st,tn->sn"} : (tensor<4x4xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %e : tensor<4x8xf32>
}

// -----

// Weights that came without their bytes cannot be stacked.
// CHECK-LABEL: func.func @unknown
// CHECK-NOT: fusion.slice
func.func @unknown(%x: tensor<4x16xf32>) -> tensor<4x4xf32> {
  %q = "fusion.weight"() {key = "q"} : () -> tensor<16x8xf32>
  %k = "fusion.weight"() {key = "k"} : () -> tensor<16x8xf32>
  %a = "fusion.contract"(%x, %q) {equation = "sk,kn->sn"} : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32>
  %b = "fusion.contract"(%x, %k) {equation = "sk,kn->sn"} : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32>
  %d = "fusion.contract"(%a, %b) {equation = "sk,tk->st"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x4xf32>
  return %d : tensor<4x4xf32>
}

// -----

// The addition of another tensor ends the kernel of the second one: it could not end the joined one's.
// CHECK-LABEL: func.func @residual
// CHECK-NOT: fusion.slice
func.func @residual(%x: tensor<1x16x8x8xf32>, %y: tensor<1x4x8x8xf32>) -> (tensor<1x4x8x8xf32>, tensor<1x4x8x8xf32>) {
  %v = "fusion.splat"() {value = 1.0 : f64} : () -> tensor<4x16x1x1xf32>
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<4x16x1x1xf32>
  %a = "fusion.conv"(%x, %v) {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<4x16x1x1xf32>) -> tensor<1x4x8x8xf32>
  %b = "fusion.conv"(%x, %w) {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<4x16x1x1xf32>) -> tensor<1x4x8x8xf32>
  %s = "fusion.softmax"(%a) {axes = array<i64: 1>, log = false} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %t = "fusion.binary"(%b, %y) {kind = "add"} : (tensor<1x4x8x8xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  return %s, %t : tensor<1x4x8x8xf32>, tensor<1x4x8x8xf32>
}

// -----

// One projection has a factor and no term, one a term, and one both: the others multiply by one and add zero.
// CHECK-LABEL: func.func @tails
// CHECK: %[[C:.*]] = "fusion.contract"(%arg0, %{{.*}}) {equation = "sk,kn->sn", onnx_nodes = ["a", "b", "c"]{{.*}} -> tensor<4x24xf32>
// CHECK: %[[M:.*]] = "fusion.binary"(%[[C]], %{{.*}}) {kind = "mul"
// CHECK: %[[A:.*]] = "fusion.binary"(%[[M]], %{{.*}}) {kind = "add"
// CHECK-COUNT-3: "fusion.slice"(%[[A]])
// CHECK-NOT: "fusion.contract"(%arg0
func.func @tails(%x: tensor<4x16xf32>) -> tensor<4x8xf32> {
  %w = "fusion.splat"() {value = 1.0 : f64} : () -> tensor<16x8xf32>
  %p = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<8xf32>
  %s = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<f32>
  %a = "fusion.contract"(%x, %w) {onnx_nodes = ["a"], equation = "sk,kn->sn"} : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32>
  %a1 = "fusion.binary"(%a, %s) {kind = "mul"} : (tensor<4x8xf32>, tensor<f32>) -> tensor<4x8xf32>
  %b = "fusion.contract"(%x, %w) {onnx_nodes = ["b"], equation = "sk,kn->sn"} : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32>
  %b1 = "fusion.binary"(%b, %p) {kind = "add"} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %c = "fusion.contract"(%x, %w) {onnx_nodes = ["c"], equation = "sk,kn->sn"} : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32>
  %c1 = "fusion.binary"(%c, %s) {kind = "mul"} : (tensor<4x8xf32>, tensor<f32>) -> tensor<4x8xf32>
  %c2 = "fusion.binary"(%c1, %p) {kind = "add"} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %d = "fusion.contract"(%a1, %b1) {equation = "sk,tk->st"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x4xf32>
  %e = "fusion.contract"(%d, %c2) {equation = "st,tn->sn"} : (tensor<4x4xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %e : tensor<4x8xf32>
}

// -----

// What has no bias gets one that changes nothing: adding 0.0 to -0.0 would, adding -0.0 does not.
// CHECK-LABEL: func.func @one_without_bias
// CHECK: "fusion.conv"(%arg0
// CHECK: "fusion.weight"() {key = "[[BIAS:[0-9a-f]+]]"} : () -> tensor<1x12x1x1xf32>
func.func @one_without_bias(%x: tensor<1x16x8x8xf32>) -> (tensor<1x8x8x8xf32>, tensor<1x4x8x8xf32>) {
  %v = "fusion.splat"() {value = 1.0 : f64} : () -> tensor<8x16x1x1xf32>
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<4x16x1x1xf32>
  %p = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<1x8x1x1xf32>
  %a = "fusion.conv"(%x, %v) {onnx_nodes = ["a"], strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<8x16x1x1xf32>) -> tensor<1x8x8x8xf32>
  %b = "fusion.binary"(%a, %p) {kind = "add"} : (tensor<1x8x8x8xf32>, tensor<1x8x1x1xf32>) -> tensor<1x8x8x8xf32>
  %c = "fusion.unary"(%b) {kind = "relu"} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %d = "fusion.conv"(%x, %w) {onnx_nodes = ["b"], strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<4x16x1x1xf32>) -> tensor<1x4x8x8xf32>
  %f = "fusion.unary"(%d) {kind = "relu"} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %s = "fusion.softmax"(%c) {axes = array<i64: 1>, log = false} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %t = "fusion.softmax"(%f) {axes = array<i64: 1>, log = false} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  return %s, %t : tensor<1x8x8x8xf32>, tensor<1x4x8x8xf32>
}

// -----

// CHECK-LABEL: func.func @one_with_negative_zeros
// CHECK: "fusion.conv"(%arg0
// CHECK: "fusion.weight"() {key = "[[BIAS]]"} : () -> tensor<1x12x1x1xf32>
func.func @one_with_negative_zeros(%x: tensor<1x16x8x8xf32>) -> (tensor<1x8x8x8xf32>, tensor<1x4x8x8xf32>) {
  %v = "fusion.splat"() {value = 1.0 : f64} : () -> tensor<8x16x1x1xf32>
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<4x16x1x1xf32>
  %p = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<1x8x1x1xf32>
  %q = "fusion.splat"() {value = -0.0 : f64} : () -> tensor<1x4x1x1xf32>
  %a = "fusion.conv"(%x, %v) {onnx_nodes = ["a"], strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<8x16x1x1xf32>) -> tensor<1x8x8x8xf32>
  %b = "fusion.binary"(%a, %p) {kind = "add"} : (tensor<1x8x8x8xf32>, tensor<1x8x1x1xf32>) -> tensor<1x8x8x8xf32>
  %c = "fusion.unary"(%b) {kind = "relu"} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %d = "fusion.conv"(%x, %w) {onnx_nodes = ["b"], strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<4x16x1x1xf32>) -> tensor<1x4x8x8xf32>
  %e = "fusion.binary"(%d, %q) {kind = "add"} : (tensor<1x4x8x8xf32>, tensor<1x4x1x1xf32>) -> tensor<1x4x8x8xf32>
  %f = "fusion.unary"(%e) {kind = "relu"} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %s = "fusion.softmax"(%c) {axes = array<i64: 1>, log = false} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %t = "fusion.softmax"(%f) {axes = array<i64: 1>, log = false} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  return %s, %t : tensor<1x8x8x8xf32>, tensor<1x4x8x8xf32>
}
