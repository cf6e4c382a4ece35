// RUN: not mlirfuse-opt %s --fusion-classify --fusion-plan=no-fuse=nothing 2>&1 | filecheck %s --check-prefix=ALONE
// RUN: not mlirfuse-opt %s --fusion-classify --fusion-plan=force-fuse=relu,nothing 2>&1 | filecheck %s --check-prefix=TOGETHER

// A name that no operation stands for is an error, not a wish that nobody hears.
// ALONE: There is no operation that stands for nothing, which --no-fuse names
// TOGETHER: The nodes relu, nothing cannot be one kernel as --force-fuse asks: there is no operation that stands for nothing
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = "fusion.unary"(%x) {kind = "relu", onnx_nodes = ["relu"]} : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
