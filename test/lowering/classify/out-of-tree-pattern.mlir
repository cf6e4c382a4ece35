// RUN: mlirfuse-opt %s --load-module %S/Inputs/careful_clip.py --fusion-classify | filecheck %s

// A pattern from outside classifies first; what it leaves is classified as ever.
// CHECK: beta = 6.000000e+00 : f64, kind = "clip", mapping = "many-to-many"
// CHECK: beta = 1.000000e+00 : f64, kind = "clip", mapping = "one-to-one"
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = "fusion.unary"(%x) {kind = "clip", alpha = 0.0 : f64, beta = 6.0 : f64} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%a) {kind = "clip", alpha = -1.0 : f64, beta = 1.0 : f64} : (tensor<4xf32>) -> tensor<4xf32>
  return %b : tensor<4xf32>
}
