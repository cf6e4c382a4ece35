// RUN: mlirfuse-opt %s --split-input-file --fusion-elide-concats | filecheck %s

// Concatenations of computed values, one within the other as in a dense block.
// CHECK-LABEL: func.func @nested
// CHECK: fusion.concat{{.*}}elided = true
// CHECK: fusion.concat{{.*}}elided = true
func.func @nested(%x: tensor<4xf32>) -> tensor<12xf32> {
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%x) {kind = "sqrt"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.concat"(%a, %b) {axis = 0 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  %e = "fusion.reduce"(%c) {kind = "sum", axes = array<i64: 0>, keepdims = true} : (tensor<8xf32>) -> tensor<1xf32>
  %f = "fusion.expand"(%e) {shape = array<i64: 4>} : (tensor<1xf32>) -> tensor<4xf32>
  %d = "fusion.concat"(%c, %f) {axis = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<8xf32>, tensor<4xf32>) -> tensor<12xf32>
  %g = "fusion.unary"(%d) {kind = "exp"} : (tensor<12xf32>) -> tensor<12xf32>
  return %g : tensor<12xf32>
}

// -----

// An argument is no kernel's to write.
// CHECK-LABEL: func.func @argument
// CHECK-NOT: elided
func.func @argument(%x: tensor<4xf32>) -> tensor<8xf32> {
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.concat"(%a, %x) {axis = 0 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  %g = "fusion.unary"(%c) {kind = "exp"} : (tensor<8xf32>) -> tensor<8xf32>
  return %g : tensor<8xf32>
}

// -----

// A value cannot be in two places: not twice in one buffer, and not in two buffers.
// CHECK-LABEL: func.func @twice
// CHECK: fusion.concat{{.*}}axis = 0 : i64, operandSegmentSizes
// CHECK: fusion.concat{{.*}}elided = true
// CHECK: fusion.concat{{.*}}axis = 0 : i64, operandSegmentSizes
func.func @twice(%x: tensor<4xf32>) -> tensor<8xf32> {
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%x) {kind = "sqrt"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.concat"(%a, %a) {axis = 0 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  %d = "fusion.concat"(%a, %b) {axis = 0 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  %e = "fusion.concat"(%b, %a) {axis = 0 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  %s = "fusion.binary"(%c, %d) {kind = "add"} : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
  %t = "fusion.binary"(%s, %e) {kind = "add"} : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
  return %t : tensor<8xf32>
}

// -----

// RUN: mlirfuse-opt %s --split-input-file "--pass-pipeline=builtin.module(fusion-elide-concats{keep='[\"joined\"]'})" | filecheck %s --check-prefix=KEEP

// What the user wants in a kernel is not elided.
// KEEP-LABEL: func.func @wanted
// KEEP-NOT: elided
// CHECK-LABEL: func.func @wanted
// CHECK: elided = true
func.func @wanted(%x: tensor<4xf32>) -> tensor<8xf32> {
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%x) {kind = "sqrt"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.concat"(%a, %b) {axis = 0 : i64, onnx_nodes = ["joined"], operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  %g = "fusion.unary"(%c) {kind = "exp"} : (tensor<8xf32>) -> tensor<8xf32>
  return %g : tensor<8xf32>
}
