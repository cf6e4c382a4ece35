// RUN: mlirfuse-opt %s --split-input-file --fusion-rewrite-algebra --fusion-fold-constants | filecheck %s
// RUN: mlirfuse-opt %s --split-input-file --fusion-rewrite-algebra=allow=all | filecheck %s --check-prefix=ALL
// RUN: mlirfuse-opt %s --split-input-file --fusion-rewrite-algebra=allow=exact | filecheck %s --check-prefix=EXACT

// The common factor is taken out, and the module says so.
// CHECK: fusion.rewrites = ["{\22rule\22: \22(A * B) + (A * C) = A * (B + C)\22{{.*}}\22nodes\22: [\22p\22, \22q\22, \22s\22], \22flops_before\22: 96, \22flops_after\22: 64
// CHECK-LABEL: func.func @common_factor
// CHECK: %[[S:.*]] = "fusion.binary"(%{{.*}}, %{{.*}}) {kind = "add", onnx_nodes = ["p", "q", "s"]}
// CHECK: %[[R:.*]] = "fusion.binary"(%{{.*}}, %[[S]]) {kind = "mul", onnx_nodes = ["p", "q", "s"]}
// CHECK-NEXT: return %[[R]]
// EXACT-LABEL: func.func @common_factor
// EXACT-COUNT-2: kind = "mul"
// EXACT: kind = "add"
func.func @common_factor(%a: tensor<4x8xf32>, %b: tensor<4x8xf32>, %c: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %p = "fusion.binary"(%a, %c) {kind = "mul", onnx_nodes = ["p"]} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %q = "fusion.binary"(%b, %a) {kind = "mul", onnx_nodes = ["q"]} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %s = "fusion.binary"(%p, %q) {kind = "add", onnx_nodes = ["s"]} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %s : tensor<4x8xf32>
}

// -----

// Both products are returned too: nothing would be saved, and the module says why.
// CHECK: \22flops_before\22: 96, \22flops_after\22: 128{{.*}}\22reason\22: \222 of its values have other uses
// CHECK-LABEL: func.func @other_uses
// CHECK-COUNT-2: kind = "mul"
// CHECK: kind = "add"
func.func @other_uses(%a: tensor<4x8xf32>, %b: tensor<4x8xf32>, %c: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) {
  %p = "fusion.binary"(%a, %c) {kind = "mul"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %q = "fusion.binary"(%a, %b) {kind = "mul"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %s = "fusion.binary"(%p, %q) {kind = "add"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %p, %q, %s : tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>
}

// -----

// B may be negative: its roots are cancelled only where the domain may change.
// CHECK: Sqrt(A) * Sqrt(A) = A{{.*}}it is domain-changing, and only reassociating rules are allowed
// CHECK-LABEL: func.func @roots
// CHECK: kind = "sqrt"
// ALL-LABEL: func.func @roots
// ALL-NOT: kind = "sqrt"
// ALL-COUNT-2: kind = "mul"
// ALL: return
func.func @roots(%a: tensor<4x8xf32>, %b: tensor<4x8xf32>, %c: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %r = "fusion.unary"(%b) {kind = "sqrt"} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %p = "fusion.binary"(%a, %r) {kind = "mul"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %t = "fusion.unary"(%b) {kind = "sqrt"} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %q = "fusion.binary"(%t, %c) {kind = "mul"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %s = "fusion.binary"(%p, %q) {kind = "mul"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %s : tensor<4x8xf32>
}

// -----

// Integers wrap, so that the order of their sums is exact; a shift to the left is such a factor.
// EXACT-LABEL: func.func @sum_of_shifted
// EXACT: %[[S:.*]] = "fusion.reduce"(%arg0)
// EXACT: "fusion.binary"(%[[S]], %{{.*}}) {kind = "mul"
func.func @sum_of_shifted(%a: tensor<4x8xi32>) -> tensor<4xi32> {
  %four = "fusion.splat"() {value = 4 : i64} : () -> tensor<1x1xi32>
  %p = "fusion.binary"(%a, %four) {kind = "mul"} : (tensor<4x8xi32>, tensor<1x1xi32>) -> tensor<4x8xi32>
  %s = "fusion.reduce"(%p) {kind = "sum", axes = array<i64: 1>, keepdims = false} : (tensor<4x8xi32>) -> tensor<4xi32>
  return %s : tensor<4xi32>
}

// -----

// Products of one value by two constants are one, by a constant that is added when compiling.
// CHECK-LABEL: func.func @two_products_of_one
// CHECK: %[[W:.*]] = "fusion.splat"() {value = 5.000000e+00
// CHECK: %[[Y:.*]] = "fusion.contract"(%arg0, %[[W]])
// CHECK-NEXT: return %[[Y]]
func.func @two_products_of_one(%a: tensor<4x8xf32>) -> tensor<4x6xf32> {
  %two = "fusion.splat"() {value = 2.0 : f64} : () -> tensor<8x6xf32>
  %three = "fusion.splat"() {value = 3.0 : f64} : () -> tensor<8x6xf32>
  %p = "fusion.contract"(%a, %two) {equation = "mk,kn->mn"} : (tensor<4x8xf32>, tensor<8x6xf32>) -> tensor<4x6xf32>
  %q = "fusion.contract"(%a, %three) {equation = "mk,kn->mn"} : (tensor<4x8xf32>, tensor<8x6xf32>) -> tensor<4x6xf32>
  %s = "fusion.binary"(%p, %q) {kind = "add"} : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x6xf32>
  return %s : tensor<4x6xf32>
}

// -----

// Rules know nothing of softmax: the graph is cut there, and the factor of its operand is none of its result.
// CHECK-LABEL: func.func @cut
// CHECK: kind = "mul"
// CHECK: fusion.softmax
// CHECK: kind = "add"
func.func @cut(%a: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %p = "fusion.binary"(%a, %a) {kind = "add"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %s = "fusion.softmax"(%p) {axes = array<i64: 1>, log = false} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %t = "fusion.binary"(%s, %p) {kind = "add"} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %t : tensor<4x8xf32>
}
