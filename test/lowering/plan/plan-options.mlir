// RUN: mlirfuse-opt %s --fusion-plan=no-fuse=relu1 | filecheck %s --check-prefix=ALONE
// RUN: mlirfuse-opt %s "--fusion-plan=fusion=no-cross-layer force-fuse=relu1,conv2" | filecheck %s --check-prefix=FORCED
// RUN: mlirfuse-opt %s --fusion-plan=force-fuse=conv1,conv2 | filecheck %s --check-prefix=LAYERS
// RUN: not mlirfuse-opt %s "--fusion-plan=fusion=no-cross-layer force-fuse=conv1,conv2" 2>&1 | filecheck %s --check-prefix=ILLEGAL
// RUN: not mlirfuse-opt %s --fusion-plan=force-fuse=conv1,gone 2>&1 | filecheck %s --check-prefix=UNKNOWN

// A node that the user wants alone, and nodes that the user wants together although the planner would not.
// ALONE: fusion.conv{{.*}}plan = 0
// ALONE: kind = "relu"{{.*}}plan = 1 {{.*}}relu1 is to stay alone
// FORCED: fusion.conv{{.*}}plan = 0
// FORCED: kind = "relu"{{.*}}plan = 1
// FORCED: fusion.conv{{.*}}plan = 1
// LAYERS: fusion.conv{{.*}}plan = 0
// LAYERS: kind = "relu"{{.*}}plan = 0
// LAYERS: fusion.conv{{.*}}plan = 0 {{.*}}proofs{{.*}}--force-fuse asks for one kernel
// ILLEGAL: The nodes conv1, conv2 cannot be one kernel as --force-fuse asks: conv1 (conv) and conv2 (conv) would share a kernel.
// UNKNOWN: there is no operation that stands for gone
func.func @main(%x: tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32> {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<8x8x3x3xf32>
  %c = "fusion.conv"(%x, %w) {onnx_nodes = ["conv1"], strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x8x8xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x8x8xf32>
  %r = "fusion.unary"(%c) {kind = "relu", onnx_nodes = ["relu1"]} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %d = "fusion.conv"(%r, %w) {onnx_nodes = ["conv2"], strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x8x8xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x8x8xf32>
  return %d : tensor<1x8x8x8xf32>
}
