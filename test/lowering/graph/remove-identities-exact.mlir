// RUN: mlirfuse-opt %s --split-input-file --fusion-remove-identities=exact=true | filecheck %s --check-prefix=EXACT
// RUN: mlirfuse-opt %s --split-input-file --fusion-remove-identities | filecheck %s
// RUN: mlirfuse-opt %s --split-input-file --fusion-fold-constants | filecheck %s --check-prefix=FOLD

// -0.0 + 0.0 is 0.0, so that this is an identity but for the sign of a zero.
// EXACT-LABEL: func.func @plus_zero
// EXACT: fusion.binary
// CHECK-LABEL: func.func @plus_zero
// CHECK-NEXT: return %arg0
func.func @plus_zero(%x: tensor<4xf32>) -> tensor<4xf32> {
  %zero = "fusion.splat"() {value = 0.0 : f64} : () -> tensor<4xf32>
  %y = "fusion.binary"(%x, %zero) {kind = "add"} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// These change nothing at all.
// EXACT-LABEL: func.func @minus_zero
// EXACT-NEXT: return %arg0
func.func @minus_zero(%x: tensor<4xf32>) -> tensor<4xf32> {
  %zero = "fusion.splat"() {value = 0.0 : f64} : () -> tensor<4xf32>
  %negative = "fusion.splat"() {value = -0.0 : f64} : () -> tensor<4xf32>
  %y = "fusion.binary"(%x, %zero) {kind = "sub"} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %z = "fusion.binary"(%negative, %y) {kind = "add"} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %z : tensor<4xf32>
}

// -----

// Integers have one zero.
// EXACT-LABEL: func.func @integers
// EXACT-NEXT: return %arg0
func.func @integers(%x: tensor<4xi32>) -> tensor<4xi32> {
  %zero = "fusion.splat"() {value = 0 : i64} : () -> tensor<4xi32>
  %y = "fusion.binary"(%x, %zero) {kind = "add"} : (tensor<4xi32>, tensor<4xi32>) -> tensor<4xi32>
  return %y : tensor<4xi32>
}

// -----

// A root of -0.0 is -0.0, whose magnitude is 0.0.
// EXACT-LABEL: func.func @magnitude_of_a_root
// EXACT: kind = "sqrt"
// EXACT: kind = "abs"
// CHECK-LABEL: func.func @magnitude_of_a_root
// CHECK-NOT: kind = "abs"
func.func @magnitude_of_a_root(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = "fusion.unary"(%x) {kind = "sqrt"} : (tensor<4xf32>) -> tensor<4xf32>
  %z = "fusion.unary"(%y) {kind = "abs"} : (tensor<4xf32>) -> tensor<4xf32>
  return %z : tensor<4xf32>
}

// -----

// Zeros of both signs are not one number.
// FOLD-LABEL: func.func @both_zeros
// FOLD: fusion.weight
// FOLD-NOT: fusion.concat
func.func @both_zeros() -> tensor<4xf32> {
  %zero = "fusion.splat"() {value = 0.0 : f64} : () -> tensor<2xf32>
  %negative = "fusion.splat"() {value = -0.0 : f64} : () -> tensor<2xf32>
  %y = "fusion.concat"(%zero, %negative) {axis = 0 : i64, operandSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<2xf32>, tensor<2xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
