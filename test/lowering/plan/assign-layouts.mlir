// RUN: mlirfuse-opt %s --split-input-file --fusion-form-groups --fusion-assign-layouts=layout=nhwc | filecheck %s
// RUN: mlirfuse-opt %s --split-input-file --fusion-form-groups --fusion-assign-layouts=layout=nchw | filecheck %s --check-prefix=NCHW
// RUN: mlirfuse-opt %s --split-input-file --fusion-form-groups --fusion-assign-layouts=layout=chwn | filecheck %s --check-prefix=CHWN

// Between two convolutions the image has its channels last, through the activation too; argument and result are row-major.
// CHECK-LABEL: func.func @convolutions(%arg0: tensor<2x8x4x4xf32>) -> tensor<2x8x4x4xf32>
// CHECK: fusion.conv{{.*}} -> tensor<2x8x4x4xf32, {{.*}}0, 2, 3, 1{{.*}}>
// CHECK: ^bb0(%{{.*}}: tensor<2x8x4x4xf32, {{.*}}0, 2, 3, 1{{.*}}>)
// CHECK-NEXT: fusion.unary{{.*}} -> tensor<2x8x4x4xf32, {{.*}}0, 2, 3, 1{{.*}}>
// CHECK: fusion.conv{{.*}} -> tensor<2x8x4x4xf32>
// NCHW-LABEL: func.func @convolutions
// NCHW-NOT: 0, 2, 3, 1
// CHWN-LABEL: func.func @convolutions
// CHWN: fusion.conv{{.*}} -> tensor<2x8x4x4xf32, {{.*}}1, 2, 3, 0{{.*}}>
func.func @convolutions(%x: tensor<2x8x4x4xf32>) -> tensor<2x8x4x4xf32> {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<8x8x3x3xf32>
  %c = "fusion.conv"(%x, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<2x8x4x4xf32>, tensor<8x8x3x3xf32>) -> tensor<2x8x4x4xf32>
  %r = "fusion.unary"(%c) {kind = "relu"} : (tensor<2x8x4x4xf32>) -> tensor<2x8x4x4xf32>
  %d = "fusion.conv"(%r, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<2x8x4x4xf32>, tensor<8x8x3x3xf32>) -> tensor<2x8x4x4xf32>
  return %d : tensor<2x8x4x4xf32>
}

// -----

// Both parts of an elided concatenation have the order of the whole, although one of them is a single channel.
// CHECK-LABEL: func.func @parts
// CHECK: fusion.conv{{.*}} -> tensor<2x8x4x4xf32, {{.*}}0, 2, 3, 1{{.*}}>
// CHECK: fusion.reduce{{.*}} -> tensor<2x1x4x4xf32, {{.*}}0, 2, 3, 1{{.*}}>
// CHECK: fusion.concat{{.*}} -> tensor<2x9x4x4xf32, {{.*}}0, 2, 3, 1{{.*}}>
func.func @parts(%x: tensor<2x8x4x4xf32>) -> tensor<2x9x4x4xf32> {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<8x8x3x3xf32>
  %c = "fusion.conv"(%x, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<2x8x4x4xf32>, tensor<8x8x3x3xf32>) -> tensor<2x8x4x4xf32>
  %s = "fusion.reduce"(%x) {kind = "sum", axes = array<i64: 1>, keepdims = true} : (tensor<2x8x4x4xf32>) -> tensor<2x1x4x4xf32>
  %t = "fusion.concat"(%c, %s) {axis = 1 : i64, elided = true, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<2x8x4x4xf32>, tensor<2x1x4x4xf32>) -> tensor<2x9x4x4xf32>
  %r = "fusion.unary"(%t) {kind = "relu"} : (tensor<2x9x4x4xf32>) -> tensor<2x9x4x4xf32>
  return %r : tensor<2x9x4x4xf32>
}

// -----

// A host node reads row-major arrays, and no convolution touches the rows of a softmax.
// CHECK-LABEL: func.func @row_major
// CHECK-NOT: 0, 2, 3, 1
func.func @row_major(%x: tensor<2x8x4x4xf32>) -> (tensor<2x8x4x4xf32>, tensor<2x8x4x4xf32>) {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<8x8x3x3xf32>
  %c = "fusion.conv"(%x, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<2x8x4x4xf32>, tensor<8x8x3x3xf32>) -> tensor<2x8x4x4xf32>
  %f = "fusion.fallback"(%c) {node = "AA==", opset = 18 : i64, operandSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0>} : (tensor<2x8x4x4xf32>) -> tensor<2x8x4x4xf32>
  %s = "fusion.softmax"(%x) {axes = array<i64: 3>, log = false} : (tensor<2x8x4x4xf32>) -> tensor<2x8x4x4xf32>
  %t = "fusion.unary"(%s) {kind = "relu"} : (tensor<2x8x4x4xf32>) -> tensor<2x8x4x4xf32>
  return %f, %t : tensor<2x8x4x4xf32>, tensor<2x8x4x4xf32>
}
