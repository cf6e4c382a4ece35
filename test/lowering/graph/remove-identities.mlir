// RUN: mlirfuse-opt %s --split-input-file --fusion-remove-identities | filecheck %s

// Two transpositions that undo each other are nothing; what is left stands for both.
// CHECK-LABEL: func.func @transposed_back
// CHECK-NEXT: "fusion.unary"(%arg0) {kind = "exp", onnx_nodes = ["f", "t1", "t2"]}
// CHECK-NEXT: return
func.func @transposed_back(%x: tensor<2x3x4xf32>) -> tensor<2x3x4xf32> {
  %f = "fusion.unary"(%x) {kind = "exp", onnx_nodes = ["f"]} : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %a = "fusion.transpose"(%f) {perm = array<i64: 1, 2, 0>, onnx_nodes = ["t1"]} : (tensor<2x3x4xf32>) -> tensor<3x4x2xf32>
  %b = "fusion.transpose"(%a) {perm = array<i64: 2, 0, 1>, onnx_nodes = ["t2"]} : (tensor<3x4x2xf32>) -> tensor<2x3x4xf32>
  return %b : tensor<2x3x4xf32>
}

// -----

// Two that do not undo each other are one.
// CHECK-LABEL: func.func @transposed_on
// CHECK-NEXT: "fusion.transpose"(%arg0) {perm = array<i64: 2, 0, 1>}
// CHECK-NEXT: return
func.func @transposed_on(%x: tensor<2x3x4xf32>) -> tensor<4x2x3xf32> {
  %a = "fusion.transpose"(%x) {perm = array<i64: 1, 2, 0>} : (tensor<2x3x4xf32>) -> tensor<3x4x2xf32>
  %b = "fusion.transpose"(%a) {perm = array<i64: 1, 2, 0>} : (tensor<3x4x2xf32>) -> tensor<4x2x3xf32>
  return %b : tensor<4x2x3xf32>
}

// -----

// Reshapes follow each other, and the last one keeps the shape.
// CHECK-LABEL: func.func @reshaped
// CHECK-NEXT: return %arg0
func.func @reshaped(%x: tensor<2x3x4xf32>) -> tensor<2x3x4xf32> {
  %a = "fusion.reshape"(%x) {shape = array<i64: 24>} : (tensor<2x3x4xf32>) -> tensor<24xf32>
  %b = "fusion.reshape"(%a) {shape = array<i64: 4, 6>} : (tensor<24xf32>) -> tensor<4x6xf32>
  %c = "fusion.reshape"(%b) {shape = array<i64: 2, 3, 4>} : (tensor<4x6xf32>) -> tensor<2x3x4xf32>
  return %c : tensor<2x3x4xf32>
}

// -----

// x + 0, x * 1, a cast to the same type, padding by nothing, a slice of everything.
// CHECK-LABEL: func.func @neutral
// CHECK-NEXT: return %arg0
func.func @neutral(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %zero = "fusion.splat"() {value = 0.0 : f64} : () -> tensor<4xf32>
  %one = "fusion.splat"() {value = 1.0 : f64} : () -> tensor<4xf32>
  %a = "fusion.binary"(%zero, %x) {kind = "add"} : (tensor<4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %b = "fusion.binary"(%a, %one) {kind = "mul"} : (tensor<4x4xf32>, tensor<4xf32>) -> tensor<4x4xf32>
  %c = "fusion.cast"(%b) {to = "float32"} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %d = "fusion.pad"(%c) {low = array<i64: 0, 0>, high = array<i64: 0, 0>, mode = "edge"} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %e = "fusion.slice"(%d) {starts = array<i64: 0, 0>, sizes = array<i64: 4, 4>, steps = array<i64: 1, 1>} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  return %e : tensor<4x4xf32>
}

// -----

// 0 - x is not x, a sum with a larger zero is larger, and a slice may turn its elements round.
// CHECK-LABEL: func.func @not_neutral
// CHECK: kind = "sub"
// CHECK: kind = "add"
// CHECK: fusion.slice
func.func @not_neutral(%x: tensor<4xf32>) -> tensor<2x4xf32> {
  %zero = "fusion.splat"() {value = 0.0 : f64} : () -> tensor<2x4xf32>
  %nought = "fusion.splat"() {value = 0.0 : f64} : () -> tensor<4xf32>
  %a = "fusion.binary"(%nought, %x) {kind = "sub"} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.binary"(%a, %zero) {kind = "add"} : (tensor<4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %c = "fusion.slice"(%b) {starts = array<i64: 0, 3>, sizes = array<i64: 2, 4>, steps = array<i64: 1, -1>} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  return %c : tensor<2x4xf32>
}

// -----

// A slice that lies in one part of a concatenation reads that part.
// CHECK-LABEL: func.func @part
// CHECK-NEXT: "fusion.slice"(%arg1) {sizes = array<i64: 2, 2>, starts = array<i64: 0, 1>, steps = array<i64: 1, 1>}
func.func @part(%x: tensor<2x4xf32>, %y: tensor<2x4xf32>) -> tensor<2x2xf32> {
  %c = "fusion.concat"(%x, %y) {axis = 1 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x8xf32>
  %s = "fusion.slice"(%c) {starts = array<i64: 0, 5>, sizes = array<i64: 2, 2>, steps = array<i64: 1, 1>} : (tensor<2x8xf32>) -> tensor<2x2xf32>
  return %s : tensor<2x2xf32>
}

// -----

// A slice across two parts needs the concatenation.
// CHECK-LABEL: func.func @across_parts
// CHECK: fusion.concat
func.func @across_parts(%x: tensor<2x4xf32>, %y: tensor<2x4xf32>) -> tensor<2x2xf32> {
  %c = "fusion.concat"(%x, %y) {axis = 1 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x8xf32>
  %s = "fusion.slice"(%c) {starts = array<i64: 0, 3>, sizes = array<i64: 2, 2>, steps = array<i64: 1, 1>} : (tensor<2x8xf32>) -> tensor<2x2xf32>
  return %s : tensor<2x2xf32>
}

// -----

// relu is a clip without an upper bound, so two clips are one.
// CHECK-LABEL: func.func @clipped
// CHECK-NEXT: "fusion.unary"(%arg0) {alpha = 0.000000e+00 : f64, beta = 6.000000e+00 : f64, kind = "clip"}
// CHECK-NEXT: return
func.func @clipped(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = "fusion.unary"(%x) {kind = "clip", alpha = -1.0 : f64, beta = 6.0 : f64} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%a) {kind = "relu"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.unary"(%b) {kind = "relu"} : (tensor<4xf32>) -> tensor<4xf32>
  return %c : tensor<4xf32>
}

// -----

// Zero padding of the image is padding of the convolution, but padding with ones is not.
// CHECK-LABEL: func.func @padded
// CHECK-NEXT: fusion.splat
// CHECK-NEXT: "fusion.conv"(%arg0, {{.*}}pads = array<i64: 2, 1, 1, 1>
// CHECK-NEXT: "fusion.pad"
// CHECK-NEXT: "fusion.conv"
func.func @padded(%x: tensor<1x4x8x8xf32>) -> (tensor<1x8x9x8xf32>, tensor<1x8x9x8xf32>) {
  %w = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<8x4x3x3xf32>
  %p = "fusion.pad"(%x) {low = array<i64: 0, 0, 1, 0>, high = array<i64: 0, 0, 0, 0>, mode = "constant", value = 0.0 : f64} : (tensor<1x4x8x8xf32>) -> tensor<1x4x9x8xf32>
  %y = "fusion.conv"(%p, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x9x8xf32>, tensor<8x4x3x3xf32>) -> tensor<1x8x9x8xf32>
  %q = "fusion.pad"(%x) {low = array<i64: 0, 0, 1, 0>, high = array<i64: 0, 0, 0, 0>, mode = "constant", value = 1.0 : f64} : (tensor<1x4x8x8xf32>) -> tensor<1x4x9x8xf32>
  %z = "fusion.conv"(%q, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x9x8xf32>, tensor<8x4x3x3xf32>) -> tensor<1x8x9x8xf32>
  return %y, %z : tensor<1x8x9x8xf32>, tensor<1x8x9x8xf32>
}

// -----

// Evenly spaced indices are a slice; others are gathered.
// CHECK-LABEL: func.func @gathered
// CHECK-NEXT: %[[S:.*]] = "fusion.slice"(%arg0) {sizes = array<i64: 1, 4>, starts = array<i64: 2, 0>, steps = array<i64: 1, 1>}
// CHECK-NEXT: "fusion.reshape"(%[[S]])
// CHECK-NEXT: "fusion.gather"
func.func @gathered(%x: tensor<3x4xf32>, %i: tensor<i64>) -> (tensor<4xf32>, tensor<4xf32>) {
  %last = "fusion.splat"() {value = -1 : i64} : () -> tensor<i64>
  %a = "fusion.gather"(%x, %last) {axis = 0 : i64} : (tensor<3x4xf32>, tensor<i64>) -> tensor<4xf32>
  %b = "fusion.gather"(%x, %i) {axis = 0 : i64} : (tensor<3x4xf32>, tensor<i64>) -> tensor<4xf32>
  return %a, %b : tensor<4xf32>, tensor<4xf32>
}

// -----

// A window over the whole image is a reduction; a smaller one stays.
// CHECK-LABEL: func.func @windows
// CHECK-NEXT: "fusion.reduce"(%arg0) {axes = array<i64: 2, 3>, keepdims = true, kind = "mean"}
// CHECK-NEXT: "fusion.window"
func.func @windows(%x: tensor<1x4x8x8xf32>) -> (tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>) {
  %a = "fusion.window"(%x) {kind = "mean", axes = array<i64: 2, 3>, kernel = array<i64: 8, 8>, strides = array<i64: 1, 1>, dilations = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, sizes = array<i64: 1, 1>, count_include_pad = false} : (tensor<1x4x8x8xf32>) -> tensor<1x4x1x1xf32>
  %b = "fusion.window"(%x) {kind = "mean", axes = array<i64: 2, 3>, kernel = array<i64: 7, 7>, strides = array<i64: 2, 2>, dilations = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, sizes = array<i64: 1, 1>, count_include_pad = false} : (tensor<1x4x8x8xf32>) -> tensor<1x4x1x1xf32>
  return %a, %b : tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>
}
