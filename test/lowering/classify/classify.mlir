// RUN: mlirfuse-opt %s --split-input-file --fusion-classify | filecheck %s

// The same addition is One-to-One with a constant and One-to-Many with a smaller value made at run time.
// CHECK-LABEL: func.func @additions
// CHECK: kind = "add", mapping = "one-to-one", onnx_nodes = ["constant"]
// CHECK: kind = "add", mapping = "one-to-many", onnx_nodes = ["computed"]
// CHECK: kind = "add", mapping = "one-to-one", onnx_nodes = ["same shape"]
func.func @additions(%x: tensor<4x8xf32>, %y: tensor<8xf32>) -> tensor<4x8xf32> {
  %c = "fusion.weight"() {key = "c"} : () -> tensor<8xf32>
  %a = "fusion.binary"(%x, %c) {kind = "add", onnx_nodes = ["constant"]} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %b = "fusion.binary"(%a, %y) {kind = "add", onnx_nodes = ["computed"]} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %d = "fusion.binary"(%b, %x) {kind = "add", onnx_nodes = ["same shape"]} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %d : tensor<4x8xf32>
}

// -----

// One op of each mapping type; constants have none.
// CHECK-LABEL: func.func @types
// CHECK: "fusion.weight"() {key = "w"}
// CHECK: "fusion.contract"{{.*}}mapping = "many-to-many"
// CHECK: "fusion.reshape"{{.*}}mapping = "reorganize"
// CHECK: "fusion.transpose"{{.*}}mapping = "shuffle"
// CHECK: "fusion.expand"{{.*}}mapping = "one-to-many"
// CHECK: "fusion.slice"{{.*}}mapping = "one-to-one"
func.func @types(%x: tensor<4x8xf32>) -> tensor<1x2x4xf32> {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<8x2xf32>
  %a = "fusion.contract"(%x, %w) {equation = "mk,kn->mn"} : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<4x2xf32>
  %b = "fusion.reshape"(%a) {shape = array<i64: 1, 4, 2>} : (tensor<4x2xf32>) -> tensor<1x4x2xf32>
  %c = "fusion.transpose"(%b) {perm = array<i64: 0, 2, 1>} : (tensor<1x4x2xf32>) -> tensor<1x2x4xf32>
  %d = "fusion.expand"(%c) {shape = array<i64: 3, 2, 4>} : (tensor<1x2x4xf32>) -> tensor<3x2x4xf32>
  %e = "fusion.slice"(%d) {starts = array<i64: 0, 0, 0>, sizes = array<i64: 1, 2, 4>, steps = array<i64: 1, 1, 1>} : (tensor<3x2x4xf32>) -> tensor<1x2x4xf32>
  return %e : tensor<1x2x4xf32>
}

// -----

// What has been classified keeps its type.
// CHECK-LABEL: func.func @given
// CHECK: mapping = "shuffle"
func.func @given(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = "fusion.unary"(%x) {kind = "relu", mapping = "shuffle"} : (tensor<4xf32>) -> tensor<4xf32>
  return %a : tensor<4xf32>
}
