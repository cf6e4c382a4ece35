// RUN: mlirfuse-opt %s --split-input-file --fusion-plan=device=sm_90 --fusion-form-groups --fusion-fuse | filecheck %s
// RUN: mlirfuse-opt %s --split-input-file --fusion-plan=fusion=no-cross-layer --fusion-form-groups --fusion-fuse | filecheck %s --check-prefix=APART
// RUN: mlirfuse-opt %s --split-input-file --fusion-plan=device=sm_90 | filecheck %s --check-prefix=VERDICT

// A fire module is one group: what is squeezed feeds both expansions tile by tile. The proof names its parts alone, the next
// best way to run them, and has the tile and both times.
// CHECK-LABEL: func.func @fire
// CHECK: fusion.group
// CHECK-COUNT-3: fusion.conv
// CHECK: mode = "split"
// CHECK-SAME: proofs = [{{.*}}\22kind\22:\22proof\22{{.*}}\22seconds_apart\22{{.*}}\22seconds_together\22
// CHECK-SAME: \22tile\22:{{.*}}\22parts\22:[{{.*}}squeeze{{.*}}],\22producer\22{{.*}}one kernel of squeeze expand1 expand3 takes{{.*}}\22runner_up\22:[
// CHECK-NOT: fusion.group
// APART-LABEL: func.func @fire
// APART-COUNT-3: fusion.group
// APART-NOT: fusion.group
func.func @fire(%x: tensor<1x64x55x55xf32>) -> (tensor<1x64x55x55xf32>, tensor<1x64x55x55xf32>) {
  %ws = "fusion.weight"() {key = "ws"} : () -> tensor<16x64x1x1xf32>
  %w1 = "fusion.weight"() {key = "w1"} : () -> tensor<64x16x1x1xf32>
  %w3 = "fusion.weight"() {key = "w3"} : () -> tensor<64x16x3x3xf32>
  %s = "fusion.conv"(%x, %ws) {onnx_nodes = ["squeeze"], strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x64x55x55xf32>, tensor<16x64x1x1xf32>) -> tensor<1x16x55x55xf32>
  %r = "fusion.unary"(%s) {kind = "relu"} : (tensor<1x16x55x55xf32>) -> tensor<1x16x55x55xf32>
  %a = "fusion.conv"(%r, %w1) {onnx_nodes = ["expand1"], strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x55x55xf32>, tensor<64x16x1x1xf32>) -> tensor<1x64x55x55xf32>
  %b = "fusion.conv"(%r, %w3) {onnx_nodes = ["expand3"], strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x55x55xf32>, tensor<64x16x3x3xf32>) -> tensor<1x64x55x55xf32>
  return %a, %b : tensor<1x64x55x55xf32>, tensor<1x64x55x55xf32>
}

// -----

// The second convolution needs all channels of a wide first one: every tile would compute them again, and two kernels are
// quicker. The verdict says so in both times.
// CHECK-LABEL: func.func @deep
// APART-LABEL: func.func @deep
// VERDICT-LABEL: func.func @deep
// VERDICT: fusion.conv{{.*}}plan = 0
// VERDICT: fusion.conv{{.*}}plan = 1 {{.*}}verdicts = [{{.*}}\22kind\22:\22cost\22{{.*}}\22layers\22:\22first second\22{{.*}}\22seconds_apart\22{{.*}}\22seconds_together\22{{.*}}one kernel of first second takes
func.func @deep(%x: tensor<1x512x7x7xf32>) -> tensor<1x512x7x7xf32> {
  %w1 = "fusion.weight"() {key = "w1"} : () -> tensor<512x512x3x3xf32>
  %w2 = "fusion.weight"() {key = "w2"} : () -> tensor<512x512x3x3xf32>
  %a = "fusion.conv"(%x, %w1) {onnx_nodes = ["first"], strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x512x7x7xf32>, tensor<512x512x3x3xf32>) -> tensor<1x512x7x7xf32>
  %b = "fusion.conv"(%a, %w2) {onnx_nodes = ["second"], strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x512x7x7xf32>, tensor<512x512x3x3xf32>) -> tensor<1x512x7x7xf32>
  return %b : tensor<1x512x7x7xf32>
}
