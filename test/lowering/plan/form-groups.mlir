// RUN: mlirfuse-opt %s --split-input-file --fusion-form-groups | filecheck %s

// Weights are operands of a group, splats are copied into it; what belongs to the group moves to it.
// CHECK-LABEL: func.func @wrapped
// CHECK-SAME: %[[X:.*]]: tensor<4x8xf32>
// CHECK-NEXT: %[[W:.*]] = "fusion.weight"
// CHECK-NEXT: %[[G:.*]] = "fusion.group"(%[[X]], %[[W]]) ({
// CHECK-NEXT: ^bb0(%[[A:.*]]: tensor<4x8xf32>, %[[B:.*]]: tensor<8xf32>):
// CHECK-NEXT: %[[Y:.*]] = "fusion.binary"(%[[A]], %[[B]])
// CHECK-NEXT: "fusion.yield"(%[[Y]])
// CHECK-NEXT: {mapping = "one-to-one", mode = "single", onnx_nodes = ["bias"], {{.*}}plan = 3 : i64
// CHECK-NEXT: "fusion.group"(%[[G]]) ({
// CHECK-NEXT: ^bb0(%[[C:.*]]: tensor<4x8xf32>):
// CHECK-NEXT: %[[TWO:.*]] = "fusion.splat"
// CHECK-NEXT: "fusion.binary"(%[[C]], %[[TWO]])
func.func @wrapped(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<8xf32>
  %two = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<8xf32>
  %a = "fusion.binary"(%x, %w) {kind = "add", onnx_nodes = ["bias"], plan = 3 : i64} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %b = "fusion.binary"(%a, %two) {kind = "mul"} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  return %b : tensor<4x8xf32>
}

// -----

// An elided concatenation is no kernel, another one is.
// CHECK-LABEL: func.func @concats
// CHECK: fusion.group
// CHECK: fusion.group
// CHECK: %[[C:.*]] = "fusion.concat"(%{{.*}}, %{{.*}}) {axis = 0 : i64, elided = true
// CHECK-NEXT: "fusion.group"(%[[C]], %arg0)
// CHECK-NEXT: ^bb0
// CHECK-NEXT: fusion.concat
func.func @concats(%x: tensor<4xf32>) -> tensor<12xf32> {
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%x) {kind = "sqrt"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.concat"(%a, %b) {axis = 0 : i64, elided = true, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  %d = "fusion.concat"(%c, %x) {axis = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<8xf32>, tensor<4xf32>) -> tensor<12xf32>
  return %d : tensor<12xf32>
}
