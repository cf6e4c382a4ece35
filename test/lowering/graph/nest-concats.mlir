// RUN: mlirfuse-opt %s --split-input-file --fusion-nest-concats | filecheck %s

// Each concatenation of a dense block begins with the one before it.
// CHECK-LABEL: func.func @prefix
// CHECK: %[[AB:.*]] = "fusion.concat"(%arg0, %arg1)
// CHECK: %[[ABC:.*]] = "fusion.concat"(%[[AB]], %arg2) {{.*}}onnx_nodes = ["second"]
// CHECK: return %[[AB]], %[[ABC]]
func.func @prefix(%a: tensor<1x4xf32>, %b: tensor<1x4xf32>, %c: tensor<1x4xf32>) -> (tensor<1x8xf32>, tensor<1x12xf32>) {
  %ab = "fusion.concat"(%a, %b) {axis = 1 : i64, onnx_nodes = ["first"], operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x4xf32>, tensor<1x4xf32>) -> tensor<1x8xf32>
  %abc = "fusion.concat"(%a, %b, %c) {axis = 1 : i64, onnx_nodes = ["second"], operandSegmentSizes = array<i32: 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x4xf32>, tensor<1x4xf32>, tensor<1x4xf32>) -> tensor<1x12xf32>
  return %ab, %abc : tensor<1x8xf32>, tensor<1x12xf32>
}

// -----

// New values may also come first.
// CHECK-LABEL: func.func @suffix
// CHECK: %[[AB:.*]] = "fusion.concat"(%arg0, %arg1)
// CHECK: "fusion.concat"(%arg2, %[[AB]])
func.func @suffix(%a: tensor<1x4xf32>, %b: tensor<1x4xf32>, %c: tensor<1x4xf32>) -> (tensor<1x8xf32>, tensor<1x12xf32>) {
  %ab = "fusion.concat"(%a, %b) {axis = 1 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x4xf32>, tensor<1x4xf32>) -> tensor<1x8xf32>
  %cab = "fusion.concat"(%c, %a, %b) {axis = 1 : i64, operandSegmentSizes = array<i32: 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x4xf32>, tensor<1x4xf32>, tensor<1x4xf32>) -> tensor<1x12xf32>
  return %ab, %cab : tensor<1x8xf32>, tensor<1x12xf32>
}

// -----

// Along another axis it is another value.
// CHECK-LABEL: func.func @axes
// CHECK: "fusion.concat"(%arg0, %arg1, %arg0)
func.func @axes(%a: tensor<4x4xf32>, %b: tensor<4x4xf32>) -> (tensor<8x4xf32>, tensor<4x12xf32>) {
  %ab = "fusion.concat"(%a, %b) {axis = 0 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<8x4xf32>
  %aba = "fusion.concat"(%a, %b, %a) {axis = 1 : i64, operandSegmentSizes = array<i32: 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x12xf32>
  return %ab, %aba : tensor<8x4xf32>, tensor<4x12xf32>
}
