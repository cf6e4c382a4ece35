// RUN: mlirfuse-opt %s --split-input-file --fusion-duplicate-movement | filecheck %s

// Two readers of a transposed argument read the argument, each in its own order.
// CHECK-LABEL: func.func @argument
// CHECK-DAG: %[[A:.*]] = "fusion.transpose"(%arg0)
// CHECK-DAG: %[[B:.*]] = "fusion.transpose"(%arg0)
// CHECK: "fusion.softmax"(%[[A]])
// CHECK: "fusion.softmax"(%[[B]])
func.func @argument(%x: tensor<4x8xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>) {
  %t = "fusion.transpose"(%x) {perm = array<i64: 1, 0>} : (tensor<4x8xf32>) -> tensor<8x4xf32>
  %a = "fusion.softmax"(%t) {axes = array<i64: 0>, log = false} : (tensor<8x4xf32>) -> tensor<8x4xf32>
  %b = "fusion.softmax"(%t) {axes = array<i64: 1>, log = false} : (tensor<8x4xf32>) -> tensor<8x4xf32>
  return %a, %b : tensor<8x4xf32>, tensor<8x4xf32>
}

// -----

// A contraction stores its result transposed, once.
// CHECK-LABEL: func.func @epilogue
// CHECK: %[[T:.*]] = "fusion.transpose"
// CHECK-NEXT: "fusion.softmax"(%[[T]])
// CHECK-NEXT: "fusion.softmax"(%[[T]])
func.func @epilogue(%x: tensor<4x2xf32>, %y: tensor<2x8xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>) {
  %c = "fusion.contract"(%x, %y) {equation = "mk,kn->mn"} : (tensor<4x2xf32>, tensor<2x8xf32>) -> tensor<4x8xf32>
  %t = "fusion.transpose"(%c) {perm = array<i64: 1, 0>} : (tensor<4x8xf32>) -> tensor<8x4xf32>
  %a = "fusion.softmax"(%t) {axes = array<i64: 0>, log = false} : (tensor<8x4xf32>) -> tensor<8x4xf32>
  %b = "fusion.softmax"(%t) {axes = array<i64: 1>, log = false} : (tensor<8x4xf32>) -> tensor<8x4xf32>
  return %a, %b : tensor<8x4xf32>, tensor<8x4xf32>
}

// -----

// The transposed value is returned, so it is in memory anyway.
// CHECK-LABEL: func.func @returned
// CHECK: %[[T:.*]] = "fusion.transpose"
// CHECK-NEXT: "fusion.softmax"(%[[T]])
// CHECK-NEXT: return %[[T]]
func.func @returned(%x: tensor<4x8xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>) {
  %t = "fusion.transpose"(%x) {perm = array<i64: 1, 0>} : (tensor<4x8xf32>) -> tensor<8x4xf32>
  %a = "fusion.softmax"(%t) {axes = array<i64: 0>, log = false} : (tensor<8x4xf32>) -> tensor<8x4xf32>
  return %t, %a : tensor<8x4xf32>, tensor<8x4xf32>
}
