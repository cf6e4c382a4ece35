// RUN: mlirfuse-opt %s --load-module %S/Inputs/join_negations.py --fusion-form-groups --fusion-fuse | filecheck %s

// A pattern from outside joins what no plan asked for; the rest is left alone.
// CHECK: fusion.softmax
// CHECK-NEXT: kind = "neg"
// CHECK-NEXT: fusion.yield
// CHECK-NEXT: mode = "straight"
// CHECK: kind = "exp"
// CHECK-NEXT: fusion.yield
// CHECK-NEXT: mode = "single"
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = "fusion.softmax"(%x) {axes = array<i64: 0>, log = false} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%a) {kind = "neg"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.unary"(%b) {kind = "exp"} : (tensor<4xf32>) -> tensor<4xf32>
  return %c : tensor<4xf32>
}
