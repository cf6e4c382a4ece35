// RUN: mlirfuse-opt %s --split-input-file --fusion-move-past-concats | filecheck %s

// The activation ends the kernels of both parts.
// CHECK-LABEL: func.func @unary
// CHECK-DAG: %[[A:.*]] = "fusion.unary"(%{{.*}}) {kind = "relu"
// CHECK-DAG: %[[B:.*]] = "fusion.unary"(%{{.*}}) {kind = "relu"
// CHECK: %[[C:.*]] = "fusion.concat"(%[[A]], %[[B]])
// CHECK-NEXT: return %[[C]]
func.func @unary(%x: tensor<1x4xf32>, %y: tensor<1x4xf32>) -> tensor<1x8xf32> {
  %a = "fusion.softmax"(%x) {axes = array<i64: 1>, log = false} : (tensor<1x4xf32>) -> tensor<1x4xf32>
  %b = "fusion.softmax"(%y) {axes = array<i64: 1>, log = false} : (tensor<1x4xf32>) -> tensor<1x4xf32>
  %c = "fusion.concat"(%a, %b) {axis = 1 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x4xf32>, tensor<1x4xf32>) -> tensor<1x8xf32>
  %r = "fusion.unary"(%c) {kind = "relu", onnx_nodes = ["relu"]} : (tensor<1x8xf32>) -> tensor<1x8xf32>
  return %r : tensor<1x8xf32>
}

// -----

// Another reader wants the concatenation as it is.
// CHECK-LABEL: func.func @shared
// CHECK: %[[C:.*]] = "fusion.concat"
// CHECK: "fusion.unary"(%[[C]])
func.func @shared(%x: tensor<1x4xf32>, %y: tensor<1x4xf32>) -> (tensor<1x8xf32>, tensor<1x8xf32>) {
  %a = "fusion.softmax"(%x) {axes = array<i64: 1>, log = false} : (tensor<1x4xf32>) -> tensor<1x4xf32>
  %b = "fusion.softmax"(%y) {axes = array<i64: 1>, log = false} : (tensor<1x4xf32>) -> tensor<1x4xf32>
  %c = "fusion.concat"(%a, %b) {axis = 1 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x4xf32>, tensor<1x4xf32>) -> tensor<1x8xf32>
  %r = "fusion.unary"(%c) {kind = "relu"} : (tensor<1x8xf32>) -> tensor<1x8xf32>
  return %r, %c : tensor<1x8xf32>, tensor<1x8xf32>
}

// -----

// A part that nothing computes would need a kernel of its own.
// CHECK-LABEL: func.func @argument
// CHECK: %[[C:.*]] = "fusion.concat"
// CHECK: "fusion.unary"(%[[C]])
func.func @argument(%x: tensor<1x4xf32>, %y: tensor<1x4xf32>) -> tensor<1x8xf32> {
  %a = "fusion.softmax"(%x) {axes = array<i64: 1>, log = false} : (tensor<1x4xf32>) -> tensor<1x4xf32>
  %c = "fusion.concat"(%a, %y) {axis = 1 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x4xf32>, tensor<1x4xf32>) -> tensor<1x8xf32>
  %r = "fusion.unary"(%c) {kind = "relu"} : (tensor<1x8xf32>) -> tensor<1x8xf32>
  return %r : tensor<1x8xf32>
}
