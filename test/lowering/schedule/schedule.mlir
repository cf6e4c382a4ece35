// RUN: mlirfuse-opt %s --split-input-file --fusion-form-groups --fusion-schedule=device=sm_90 | filecheck %s --check-prefixes=CHECK,SIMT
// RUN: mlirfuse-opt %s --split-input-file --fusion-form-groups --fusion-schedule=device=host | filecheck %s --check-prefixes=CHECK,HOST

// A dense convolution gets a register tile. Its weight comes in the order in which the tile reads it: output channels innermost.
// CHECK-LABEL: func.func @dense
// SIMT:         "fusion.weight"() {key = "w"} : () -> tensor<32x16x3x3xf32, [2, 3, 1, 0]>
// HOST:         "fusion.weight"() {key = "w"} : () -> tensor<32x16x3x3xf32>
// CHECK:        "fusion.conv"
// CHECK:        schedule = {
// CHECK-SAME:   kind = "contract"
func.func @dense(%x: tensor<1x16x8x8xf32>) -> tensor<1x32x8x8xf32> {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<32x16x3x3xf32>
  %y = "fusion.conv"(%x, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x8x8xf32>, tensor<32x16x3x3xf32>) -> tensor<1x32x8x8xf32>
  return %y : tensor<1x32x8x8xf32>
}

// -----

// A depthwise convolution has nothing to share between output channels: one output after the other, weights as they are.
// CHECK-LABEL: func.func @depthwise
// CHECK:        "fusion.weight"() {key = "w"} : () -> tensor<16x1x3x3xf32>
// SIMT:         schedule = {
// SIMT-SAME:    kind = "map"
func.func @depthwise(%x: tensor<1x16x8x8xf32>) -> tensor<1x16x8x8xf32> {
  %w = "fusion.weight"() {key = "w"} : () -> tensor<16x1x3x3xf32>
  %y = "fusion.conv"(%x, %w) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 16 : i64} : (tensor<1x16x8x8xf32>, tensor<16x1x3x3xf32>) -> tensor<1x16x8x8xf32>
  return %y : tensor<1x16x8x8xf32>
}

// -----

// A softmax reads each row once: into shared memory on a GPU.
// CHECK-LABEL: func.func @softmax
// SIMT:         kind = "row", resident = true
func.func @softmax(%x: tensor<4x1000xf32>) -> tensor<4x1000xf32> {
  %y = "fusion.softmax"(%x) {axes = array<i64: 1>, log = false} : (tensor<4x1000xf32>) -> tensor<4x1000xf32>
  return %y : tensor<4x1000xf32>
}

// -----

// A sort is a network over one run: a block of threads and shared memory, or a tile with its scratch.
// CHECK-LABEL: func.func @sort
// SIMT:         kind = "sort", threads = 512
// HOST:         kind = "sort", tiles = {{[0-9]+}}
func.func @sort(%x: tensor<4x1000xf32>) -> tensor<4x10xi64> {
  %y = "fusion.sort"(%x) {axis = 1 : i64, run = 1024 : i64, keep = 10 : i64, largest = true} : (tensor<4x1000xf32>) -> tensor<4x10xi64>
  return %y : tensor<4x10xi64>
}
