// RUN: mlirfuse-opt %s --split-input-file --fusion-form-groups --fusion-assign-buffers | filecheck %s

// A chain needs two buffers in turn; what is returned lies in the output.
// CHECK-LABEL: func.func @chain
// CHECK-SAME: fusion.arena_bytes = 512 : i64
// CHECK: buffers = [{bytes = 16 : i64, offset = 0 : i64, strides = array<i64: 1>}]
// CHECK: buffers = [{bytes = 16 : i64, offset = 256 : i64, strides = array<i64: 1>}]
// CHECK: buffers = [{bytes = 16 : i64, offset = 0 : i64, strides = array<i64: 1>}]
// CHECK: buffers = [{bytes = 16 : i64, offset = 0 : i64, output = 0 : i64, strides = array<i64: 1>}]
func.func @chain(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%a) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.unary"(%b) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  %d = "fusion.unary"(%c) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  return %d : tensor<4xf32>
}

// -----

// Two branches of two steps: the second takes over the first one's memory.
// CHECK-LABEL: func.func @branches
// CHECK-SAME: fusion.arena_bytes = 768 : i64
func.func @branches(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%a) {kind = "neg"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.unary"(%x) {kind = "sqrt"} : (tensor<4xf32>) -> tensor<4xf32>
  %d = "fusion.unary"(%c) {kind = "abs"} : (tensor<4xf32>) -> tensor<4xf32>
  %e = "fusion.binary"(%b, %d) {kind = "add"} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %e : tensor<4xf32>
}

// -----

// The parts of an elided concatenation are strided views of its buffer.
// CHECK-LABEL: func.func @views
// CHECK: buffers = [{bytes = 32 : i64, offset = 0 : i64, strides = array<i64: 6, 1>}]
// CHECK: buffers = [{bytes = 16 : i64, offset = 16 : i64, strides = array<i64: 6, 1>}]
// CHECK: fusion.concat{{.*}}buffers = [{bytes = 48 : i64, offset = 0 : i64, strides = array<i64: 6, 1>}]
func.func @views(%x: tensor<2x4xf32>, %y: tensor<2x2xf32>) -> tensor<2x6xf32> {
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %b = "fusion.unary"(%y) {kind = "sqrt"} : (tensor<2x2xf32>) -> tensor<2x2xf32>
  %c = "fusion.concat"(%a, %b) {axis = 1 : i64, elided = true, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<2x4xf32>, tensor<2x2xf32>) -> tensor<2x6xf32>
  %d = "fusion.unary"(%c) {kind = "exp"} : (tensor<2x6xf32>) -> tensor<2x6xf32>
  return %d : tensor<2x6xf32>
}

// -----

// An array whose length is known only at run time stays with the host.
// CHECK-LABEL: func.func @host
// CHECK: fusion.fallback{{.*}}buffers = [{bytes = 0 : i64, host = 0 : i64, offset = 0 : i64, strides = array<i64: 0, 0>}]
func.func @host(%x: tensor<4xf32>) -> tensor<4xf32> {
  %f = "fusion.fallback"(%x) {node = "AA==", opset = 18 : i64, operandSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4xf32>) -> tensor<1x?xi64>
  %g = "fusion.fallback"(%f) {node = "AA==", opset = 18 : i64, operandSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x?xi64>) -> tensor<4xf32>
  %h = "fusion.unary"(%g) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  return %h : tensor<4xf32>
}
