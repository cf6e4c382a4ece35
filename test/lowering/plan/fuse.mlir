// RUN: mlirfuse-opt %s --split-input-file --fusion-form-groups --fusion-fuse | filecheck %s

// A chain of one block becomes one straight group, of the mapping type that the table gives.
// CHECK-LABEL: func.func @straight
// CHECK: fusion.group
// CHECK: fusion.contract
// CHECK-NEXT: fusion.unary
// CHECK-NEXT: fusion.yield
// CHECK-NEXT: {mapping = "many-to-many", mode = "straight", onnx_nodes = ["matmul", "relu"]
// CHECK-NEXT: return
func.func @straight(%x: tensor<4x8xf32>, %w: tensor<8x4xf32>) -> tensor<4x4xf32> {
  %a = "fusion.contract"(%x, %w) {equation = "mk,kn->mn", plan = 0 : i64, onnx_nodes = ["matmul"]} : (tensor<4x8xf32>, tensor<8x4xf32>) -> tensor<4x4xf32>
  %b = "fusion.unary"(%a) {kind = "relu", plan = 0 : i64, onnx_nodes = ["relu"]} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  return %b : tensor<4x4xf32>
}

// -----

// Two blocks stay two groups.
// CHECK-LABEL: func.func @two_blocks
// CHECK-COUNT-2: mode = "single"
func.func @two_blocks(%x: tensor<4x8xf32>, %w: tensor<8x4xf32>) -> tensor<4x4xf32> {
  %a = "fusion.contract"(%x, %w) {equation = "mk,kn->mn", plan = 0 : i64} : (tensor<4x8xf32>, tensor<8x4xf32>) -> tensor<4x4xf32>
  %b = "fusion.unary"(%a) {kind = "relu", plan = 1 : i64} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  return %b : tensor<4x4xf32>
}

// -----

// Two producers of one block feed one reader.
// CHECK-LABEL: func.func @merge
// CHECK: mode = "merge"
// CHECK-NEXT: return
func.func @merge(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
  %a = "fusion.unary"(%x) {kind = "exp", plan = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%y) {kind = "sqrt", plan = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.binary"(%a, %b) {kind = "add", plan = 0 : i64} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %c : tensor<4xf32>
}

// -----

// One producer feeds two readers of its block: the group has two results.
// CHECK-LABEL: func.func @split
// CHECK: %[[G:.*]]:2 = "fusion.group"
// CHECK: mode = "split"
// CHECK: return %[[G]]#{{[01]}}, %[[G]]#{{[01]}}
func.func @split(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %a = "fusion.unary"(%x) {kind = "exp", plan = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%a) {kind = "sqrt", plan = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.unary"(%a) {kind = "neg", plan = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  return %b, %c : tensor<4xf32>, tensor<4xf32>
}

// -----

// An inner value that is also read outside is a result too, and its reader, which stood between, comes after the group.
// CHECK-LABEL: func.func @read_between
// CHECK: %[[G:.*]]:2 = "fusion.group"
// CHECK: kind = "exp"
// CHECK: kind = "sqrt"
// CHECK: mode = "straight"
// CHECK: %[[R:.*]] = "fusion.group"(%[[G]]#0)
// CHECK: kind = "neg"
// CHECK: return %[[R]], %[[G]]#1
func.func @read_between(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %a = "fusion.unary"(%x) {kind = "exp", plan = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%a) {kind = "neg", plan = 1 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.unary"(%a) {kind = "sqrt", plan = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  return %b, %c : tensor<4xf32>, tensor<4xf32>
}

// -----

// a feeds c directly and through b: b joins c before a does, or the group would need its own result.
// CHECK-LABEL: func.func @diamond
// CHECK: kind = "exp"
// CHECK-NEXT: kind = "sqrt"
// CHECK-NEXT: kind = "mul"
// CHECK: mode = "mixed"
func.func @diamond(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = "fusion.unary"(%x) {kind = "exp", plan = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "fusion.unary"(%a) {kind = "sqrt", plan = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  %c = "fusion.binary"(%a, %b) {kind = "mul", plan = 0 : i64} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %c : tensor<4xf32>
}
