// RUN: not mlirfuse-opt %s --fusion-form-groups --fusion-emit-kernels=device=sm_90 2>&1 | filecheck %s --check-prefix=SCHEDULE
// RUN: not mlirfuse-opt %s --fusion-form-groups --fusion-schedule=device=sm_90 --fusion-emit-kernels=device=sm_90 2>&1 | filecheck %s --check-prefix=BUFFERS

// Kernels need what the passes before decide, and say which pass that is.
// SCHEDULE: has no schedule; run fusion-schedule first
// BUFFERS: has no buffer; run fusion-assign-buffers first
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = "fusion.unary"(%x) {kind = "relu"} : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
