// RUN: mlirfuse-opt %s --split-input-file --fusion-recognize-rows | filecheck %s

// A layer normalisation in primitive nodes is read once.
// CHECK-LABEL: func.func @layer_norm
// CHECK-NEXT: "fusion.normalize"(%arg0) {axes = array<i64: 1>, epsilon = 5.000000e-01 : f64, onnx_nodes = ["mean", "centre", "square", "variance", "eps", "root", "norm"]}
// CHECK-NEXT: return
func.func @layer_norm(%x: tensor<4x16xf32>) -> tensor<4x16xf32> {
  %eps = "fusion.splat"() {value = 0.5 : f64} : () -> tensor<f32>
  %m = "fusion.reduce"(%x) {kind = "mean", axes = array<i64: 1>, keepdims = true, onnx_nodes = ["mean"]} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %d = "fusion.binary"(%x, %m) {kind = "sub", onnx_nodes = ["centre"]} : (tensor<4x16xf32>, tensor<4x1xf32>) -> tensor<4x16xf32>
  %s = "fusion.unary"(%d) {kind = "square", onnx_nodes = ["square"]} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %v = "fusion.reduce"(%s) {kind = "mean", axes = array<i64: 1>, keepdims = true, onnx_nodes = ["variance"]} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %e = "fusion.binary"(%v, %eps) {kind = "add", onnx_nodes = ["eps"]} : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  %r = "fusion.unary"(%e) {kind = "sqrt", onnx_nodes = ["root"]} : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %n = "fusion.binary"(%d, %r) {kind = "div", onnx_nodes = ["norm"]} : (tensor<4x16xf32>, tensor<4x1xf32>) -> tensor<4x16xf32>
  return %n : tensor<4x16xf32>
}

// -----

// The variance is taken over other axes than the mean: this is something else.
// CHECK-LABEL: func.func @other_axes
// CHECK-NOT: fusion.normalize
func.func @other_axes(%x: tensor<4x16xf32>) -> tensor<4x16xf32> {
  %eps = "fusion.splat"() {value = 0.5 : f64} : () -> tensor<f32>
  %m = "fusion.reduce"(%x) {kind = "mean", axes = array<i64: 1>, keepdims = true} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %d = "fusion.binary"(%x, %m) {kind = "sub"} : (tensor<4x16xf32>, tensor<4x1xf32>) -> tensor<4x16xf32>
  %s = "fusion.unary"(%d) {kind = "square"} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %v = "fusion.reduce"(%s) {kind = "mean", axes = array<i64: 0>, keepdims = true} : (tensor<4x16xf32>) -> tensor<1x16xf32>
  %e = "fusion.binary"(%v, %eps) {kind = "add"} : (tensor<1x16xf32>, tensor<f32>) -> tensor<1x16xf32>
  %r = "fusion.unary"(%e) {kind = "sqrt"} : (tensor<1x16xf32>) -> tensor<1x16xf32>
  %n = "fusion.binary"(%d, %r) {kind = "div"} : (tensor<4x16xf32>, tensor<1x16xf32>) -> tensor<4x16xf32>
  return %n : tensor<4x16xf32>
}

// -----

// A softmax, with its shift by the maximum.
// CHECK-LABEL: func.func @softmax
// CHECK-NEXT: "fusion.softmax"(%arg0) {axes = array<i64: 1>, log = false}
// CHECK-NEXT: return
func.func @softmax(%x: tensor<4x16xf32>) -> tensor<4x16xf32> {
  %m = "fusion.reduce"(%x) {kind = "max", axes = array<i64: 1>, keepdims = true} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %d = "fusion.binary"(%x, %m) {kind = "sub"} : (tensor<4x16xf32>, tensor<4x1xf32>) -> tensor<4x16xf32>
  %e = "fusion.unary"(%d) {kind = "exp"} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %s = "fusion.reduce"(%e) {kind = "sum", axes = array<i64: 1>, keepdims = true} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %n = "fusion.binary"(%e, %s) {kind = "div"} : (tensor<4x16xf32>, tensor<4x1xf32>) -> tensor<4x16xf32>
  return %n : tensor<4x16xf32>
}

// -----

// It divides by the sum of something else.
// CHECK-LABEL: func.func @other_sum
// CHECK-NOT: fusion.softmax
func.func @other_sum(%x: tensor<4x16xf32>) -> tensor<4x16xf32> {
  %e = "fusion.unary"(%x) {kind = "exp"} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %s = "fusion.reduce"(%x) {kind = "sum", axes = array<i64: 1>, keepdims = true} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %n = "fusion.binary"(%e, %s) {kind = "div"} : (tensor<4x16xf32>, tensor<4x1xf32>) -> tensor<4x16xf32>
  return %n : tensor<4x16xf32>
}

// -----

// A root mean square norm, the factor on either side.
// CHECK-LABEL: func.func @root_mean_square
// CHECK: "fusion.normalize"(%arg0) {axes = array<i64: 1>, centred = false, epsilon = 5.000000e-01 : f64}
// CHECK-NEXT: return
func.func @root_mean_square(%x: tensor<4x16xf32>, %g: tensor<16xf32>, %b: tensor<16xf32>) -> tensor<4x16xf32> {
  %eps = "fusion.splat"() {value = 0.5 : f64} : () -> tensor<f32>
  %s = "fusion.unary"(%x) {kind = "square"} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %v = "fusion.reduce"(%s) {kind = "mean", axes = array<i64: 1>, keepdims = true} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %e = "fusion.binary"(%v, %eps) {kind = "add"} : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  %r = "fusion.unary"(%e) {kind = "rsqrt"} : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %n = "fusion.binary"(%r, %x) {kind = "mul"} : (tensor<4x1xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  return %n : tensor<4x16xf32>
}

// -----

// Dividing by an inverse root multiplies by the root.
// CHECK-LABEL: func.func @multiplied_by_the_root
// CHECK-NOT: fusion.normalize
func.func @multiplied_by_the_root(%x: tensor<4x16xf32>, %g: tensor<16xf32>, %b: tensor<16xf32>) -> tensor<4x16xf32> {
  %eps = "fusion.splat"() {value = 0.5 : f64} : () -> tensor<f32>
  %s = "fusion.unary"(%x) {kind = "square"} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %v = "fusion.reduce"(%s) {kind = "mean", axes = array<i64: 1>, keepdims = true} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %e = "fusion.binary"(%v, %eps) {kind = "add"} : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  %r = "fusion.unary"(%e) {kind = "rsqrt"} : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %n = "fusion.binary"(%x, %r) {kind = "div"} : (tensor<4x16xf32>, tensor<4x1xf32>) -> tensor<4x16xf32>
  return %n : tensor<4x16xf32>
}

// -----

// TensorFlow multiplies value and mean with the scale, and subtracts then.
// CHECK-LABEL: func.func @scale_first
// CHECK: %[[N:.*]] = "fusion.normalize"(%arg0) {axes = array<i64: 1>, epsilon = 5.000000e-01 : f64}
// CHECK-NEXT: %[[S:.*]] = "fusion.binary"(%[[N]], %arg1) {kind = "mul"
// CHECK-NEXT: "fusion.binary"(%[[S]], %arg2) {kind = "add"
func.func @scale_first(%x: tensor<4x16xf32>, %g: tensor<16xf32>, %b: tensor<16xf32>) -> tensor<4x16xf32> {
  %eps = "fusion.splat"() {value = 0.5 : f64} : () -> tensor<f32>
  %m = "fusion.reduce"(%x) {kind = "mean", axes = array<i64: 1>, keepdims = true} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %d = "fusion.binary"(%x, %m) {kind = "sub"} : (tensor<4x16xf32>, tensor<4x1xf32>) -> tensor<4x16xf32>
  %s = "fusion.unary"(%d) {kind = "square"} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %v = "fusion.reduce"(%s) {kind = "mean", axes = array<i64: 1>, keepdims = true} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %e = "fusion.binary"(%v, %eps) {kind = "add"} : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  %r = "fusion.unary"(%e) {kind = "rsqrt"} : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %k = "fusion.binary"(%r, %g) {kind = "mul"} : (tensor<4x1xf32>, tensor<16xf32>) -> tensor<4x16xf32>
  %p = "fusion.binary"(%x, %k) {kind = "mul"} : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %q = "fusion.binary"(%m, %k) {kind = "mul"} : (tensor<4x1xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %t = "fusion.binary"(%b, %q) {kind = "sub"} : (tensor<16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %n = "fusion.binary"(%p, %t) {kind = "add"} : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  return %n : tensor<4x16xf32>
}

// -----

// What is subtracted is not the mean.
// CHECK-LABEL: func.func @scale_of_another
// CHECK-NOT: fusion.normalize
func.func @scale_of_another(%x: tensor<4x16xf32>, %g: tensor<16xf32>, %b: tensor<16xf32>) -> tensor<4x16xf32> {
  %eps = "fusion.splat"() {value = 0.5 : f64} : () -> tensor<f32>
  %m = "fusion.reduce"(%x) {kind = "mean", axes = array<i64: 1>, keepdims = true} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %d = "fusion.binary"(%x, %m) {kind = "sub"} : (tensor<4x16xf32>, tensor<4x1xf32>) -> tensor<4x16xf32>
  %s = "fusion.unary"(%d) {kind = "square"} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %v = "fusion.reduce"(%s) {kind = "mean", axes = array<i64: 1>, keepdims = true} : (tensor<4x16xf32>) -> tensor<4x1xf32>
  %e = "fusion.binary"(%v, %eps) {kind = "add"} : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  %r = "fusion.unary"(%e) {kind = "rsqrt"} : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %k = "fusion.binary"(%r, %g) {kind = "mul"} : (tensor<4x1xf32>, tensor<16xf32>) -> tensor<4x16xf32>
  %p = "fusion.binary"(%x, %k) {kind = "mul"} : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %q = "fusion.binary"(%v, %k) {kind = "mul"} : (tensor<4x1xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %t = "fusion.binary"(%b, %q) {kind = "sub"} : (tensor<16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %n = "fusion.binary"(%p, %t) {kind = "add"} : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  return %n : tensor<4x16xf32>
}
