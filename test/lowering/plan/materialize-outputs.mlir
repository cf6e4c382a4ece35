// RUN: mlirfuse-opt %s --split-input-file --fusion-materialize-outputs | filecheck %s

// An argument, a weight, and a value that is returned twice are copied; a computed value is not.
// CHECK-LABEL: func.func @copies
// CHECK: %[[A:.*]] = "fusion.unary"
// CHECK-DAG: %[[X:.*]] = "fusion.reshape"(%arg0) {shape = array<i64: 4>}
// CHECK-DAG: %[[W:.*]] = "fusion.reshape"(%{{.*}}) {shape = array<i64: 2>}
// CHECK-DAG: %[[B:.*]] = "fusion.reshape"(%[[A]])
// CHECK: return %[[X]], %[[W]], %[[A]], %[[B]]
func.func @copies(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<2xf32>, tensor<4xf32>, tensor<4xf32>) {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<2xf32>
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  return %x, %w, %a, %a : tensor<4xf32>, tensor<2xf32>, tensor<4xf32>, tensor<4xf32>
}

// -----

// A value that lies in a concatenation's buffer cannot also lie in the output's.
// CHECK-LABEL: func.func @part
// CHECK: %[[A:.*]] = "fusion.unary"(%arg0) {kind = "exp"}
// CHECK: %[[R:.*]] = "fusion.reshape"(%[[A]])
// CHECK: return %[[R]], %{{.*}}
func.func @part(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<8xf32>) {
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%x) {kind = "sqrt"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.concat"(%a, %b) {axis = 0 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  %d = "fusion.unary"(%c) {kind = "relu"} : (tensor<8xf32>) -> tensor<8xf32>
  return %a, %d : tensor<4xf32>, tensor<8xf32>
}
