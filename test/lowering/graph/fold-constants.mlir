// RUN: mlirfuse-opt %s --split-input-file --fusion-fold-constants --canonicalize | filecheck %s

// Arithmetic on splats needs no bytes and stays a splat.
// CHECK-LABEL: func.func @splats
// CHECK: "fusion.splat"() {onnx_nodes = ["sum"], value = 5.000000e+00 : f64} : () -> tensor<4x4xf32>
// CHECK-NOT: fusion.binary
func.func @splats() -> tensor<4x4xf32> {
  %a = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<4x1xf32>
  %b = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<1x4xf32>
  %c = "fusion.binary"(%a, %b) {kind = "add", onnx_nodes = ["sum"]} : (tensor<4x1xf32>, tensor<1x4xf32>) -> tensor<4x4xf32>
  return %c : tensor<4x4xf32>
}

// -----

// A splat is moved and repeated without being written out, however large it becomes.
// CHECK-LABEL: func.func @repeated
// CHECK: "fusion.splat"() {value = 1.000000e+00 : f64} : () -> tensor<4096x1x65536xf32>
// CHECK-NOT: fusion.expand
func.func @repeated() -> tensor<4096x1x65536xf32> {
  %a = "fusion.splat"() {value = 1.0 : f64} : () -> tensor<4096x1xf32>
  %b = "fusion.reshape"(%a) {shape = array<i64: 4096, 1, 1>} : (tensor<4096x1xf32>) -> tensor<4096x1x1xf32>
  %c = "fusion.expand"(%b) {shape = array<i64: 4096, 1, 65536>} : (tensor<4096x1x1xf32>) -> tensor<4096x1x65536xf32>
  return %c : tensor<4096x1x65536xf32>
}

// -----

// A result that is not the same everywhere becomes a weight: the border is 0, the inside 2.
// CHECK-LABEL: func.func @weight
// CHECK: "fusion.weight"() {key = "{{[0-9a-f]+}}"} : () -> tensor<6xf32>
func.func @weight() -> tensor<6xf32> {
  %a = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<4xf32>
  %b = "fusion.pad"(%a) {low = array<i64: 1>, high = array<i64: 1>, mode = "constant", value = 0.0 : f64} : (tensor<4xf32>) -> tensor<6xf32>
  return %b : tensor<6xf32>
}

// -----

// The bytes of this weight did not travel with the text, so nothing is known of the result.
// CHECK-LABEL: func.func @unknown
// CHECK: fusion.unary
func.func @unknown() -> tensor<4xf32> {
  %a = "fusion.weight"() {key = "elsewhere"} : () -> tensor<4xf32>
  %b = "fusion.unary"(%a) {kind = "relu"} : (tensor<4xf32>) -> tensor<4xf32>
  return %b : tensor<4xf32>
}

// -----

// One operand is known only at run time.
// CHECK-LABEL: func.func @argument
// CHECK: fusion.binary
func.func @argument(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<4xf32>
  %b = "fusion.binary"(%x, %a) {kind = "add"} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %b : tensor<4xf32>
}
