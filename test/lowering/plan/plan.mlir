// RUN: mlirfuse-opt %s --split-input-file --fusion-plan=fusion=no-cross-layer | filecheck %s
// RUN: mlirfuse-opt %s --split-input-file --fusion-plan | filecheck %s --check-prefix=LAYERS
// RUN: mlirfuse-opt %s --split-input-file --fusion-plan=fusion=none | filecheck %s --check-prefix=NONE
// RUN: mlirfuse-opt %s --split-input-file --fusion-plan=fusion=epilogue | filecheck %s --check-prefix=EPILOGUE

// A bias, an activation and a residual that is there before join the convolution; the next convolution is another kernel,
// unless layers may be joined: then the proof has what one kernel takes, and what its parts do.
// CHECK-LABEL: func.func @residual
// CHECK: fusion.conv{{.*}}plan = 0
// CHECK: kind = "relu"{{.*}}plan = 0
// CHECK: fusion.conv{{.*}}plan = 1 {{.*}}verdicts = [{{.*}}legality{{.*}}would share a kernel
// CHECK: kind = "add"{{.*}}plan = 1
// CHECK: kind = "relu"{{.*}}plan = 1
// LAYERS-LABEL: func.func @residual
// LAYERS: fusion.conv{{.*}}plan = 0
// LAYERS: fusion.conv{{.*}}plan = 0 {{.*}}proofs = [{{.*}}seconds_apart{{.*}}seconds_together{{.*}}one kernel of conv1 conv2 takes
// LAYERS: kind = "relu"{{.*}}plan = 0
// NONE-LABEL: func.func @residual
// NONE: fusion.conv{{.*}}plan = 0
// NONE: kind = "relu"{{.*}}plan = 1 {{.*}}fusion is off
// EPILOGUE-LABEL: func.func @residual
// EPILOGUE: kind = "relu"{{.*}}plan = 0
func.func @residual(%x: tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32> {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<8x8x3x3xf32>
  %c = "fusion.conv"(%x, %w) {onnx_nodes = ["conv1"], strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x8x8xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x8x8xf32>
  %r = "fusion.unary"(%c) {kind = "relu"} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %d = "fusion.conv"(%r, %w) {onnx_nodes = ["conv2"], strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x8x8xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x8x8xf32>
  %a = "fusion.binary"(%d, %r) {kind = "add"} : (tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %s = "fusion.unary"(%a) {kind = "relu"} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  return %s : tensor<1x8x8x8xf32>
}

// -----

// Cheap arithmetic before a convolution is computed where it is read; an exponential would be computed for each use.
// CHECK-LABEL: func.func @prologues
// CHECK: kind = "mul"{{.*}}plan = 0
// CHECK: kind = "relu"{{.*}}plan = 0
// CHECK: fusion.conv{{.*}}plan = 0
// CHECK: kind = "exp"{{.*}}plan = 1
// CHECK: fusion.conv{{.*}}plan = 2 {{.*}}(exp) would be computed for each use
// LAYERS-LABEL: func.func @prologues
// LAYERS: fusion.conv{{.*}}plan = 0
// LAYERS: kind = "exp"{{.*}}plan = 1
// LAYERS: fusion.conv{{.*}}plan = 2 {{.*}}(exp) would be computed for each use
// EPILOGUE-LABEL: func.func @prologues
// EPILOGUE: kind = "mul"{{.*}}plan = 0
// EPILOGUE: kind = "relu"{{.*}}plan = 1 {{.*}}only epilogues are fused
func.func @prologues(%x: tensor<1x8x8x8xf32>) -> (tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32>) {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<8x8x3x3xf32>
  %k = "fusion.weight"() {key = "k"} : () -> tensor<8x1x1xf32>
  %m = "fusion.binary"(%x, %k) {kind = "mul"} : (tensor<1x8x8x8xf32>, tensor<8x1x1xf32>) -> tensor<1x8x8x8xf32>
  %r = "fusion.unary"(%m) {kind = "relu"} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %c = "fusion.conv"(%r, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x8x8xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x8x8xf32>
  %e = "fusion.unary"(%x) {kind = "exp"} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %d = "fusion.conv"(%e, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x8x8xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x8x8xf32>
  return %c, %d : tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32>
}

// -----

// The square of a shared value is computed by its only reader, not stored beside the value (local response normalisation).
// Joined with the layer before, nothing of it is stored.
// CHECK-LABEL: func.func @placement
// CHECK: fusion.conv{{.*}}plan = 0
// CHECK: kind = "square"{{.*}}plan = 1
// CHECK: fusion.window{{.*}}plan = 1
// CHECK: kind = "mul"{{.*}}plan = 1
// LAYERS-LABEL: func.func @placement
// LAYERS: fusion.conv{{.*}}plan = 0
// LAYERS: kind = "square"{{.*}}plan = 0
// LAYERS: fusion.window{{.*}}plan = 0 {{.*}}proofs
func.func @placement(%x: tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32> {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<8x8x3x3xf32>
  %c = "fusion.conv"(%x, %w) {onnx_nodes = ["conv"], strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x8x8xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x8x8xf32>
  %q = "fusion.unary"(%c) {kind = "square"} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %s = "fusion.window"(%q) {kind = "sum", axes = array<i64: 1>, kernel = array<i64: 5>, strides = array<i64: 1>, dilations = array<i64: 1>, pads = array<i64: 2, 2>, sizes = array<i64: 8>, count_include_pad = false} : (tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %m = "fusion.binary"(%s, %c) {kind = "mul"} : (tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  return %m : tensor<1x8x8x8xf32>
}
