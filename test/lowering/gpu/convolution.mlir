// RUN: mlirfuse-opt %s --fusion-schedule=device=sm_90 --fusion-assign-buffers --fusion-emit-kernels=device=sm_90 | filecheck %s

// A convolution with bias and activation is one kernel: two operand tiles in workgroup memory, each in two buffers; an affine
// loop over pairs of reduction slices, inside it an affine loop over k that multiplies what the tiles hold. Four groups of
// threads go through a quarter of each slice; what they have is added up in the third array, then comes the epilogue.
// CHECK-LABEL: gpu.func @k0_conv
// CHECK-SAME:    workgroup([[A:%.*]] : memref<64x32xf32, #gpu.address_space<workgroup>> {llvm.align = 16 : i64}, [[B:%.*]] : memref<64x32xf32, #gpu.address_space<workgroup>> {llvm.align = 16 : i64}, [[C:%.*]] : memref<128x32xf32, #gpu.address_space<workgroup>>
// CHECK:         memref.load
// CHECK:         affine.store {{.*}}, [[A]][
// CHECK:         affine.vector_store {{.*}}, [[B]][
// CHECK:         gpu.barrier
// CHECK:         affine.for {{.*}} = 0 to 1 iter_args
// The slice after this one is on its way while this one is multiplied.
// CHECK:           memref.load
// CHECK:           affine.for {{.*}} = 0 to 8 iter_args
// CHECK-NEXT:        affine.vector_load [[A]][{{.*}} : {{.*}}, vector<4xf32>
// CHECK-NEXT:        affine.vector_load [[B]][{{.*}} : {{.*}}, vector<4xf32>
// CHECK:             vector.fma
// CHECK:           affine.store {{.*}}, [[A]][
// CHECK:           gpu.barrier
// CHECK:           affine.for {{.*}} = 0 to 8 iter_args
// CHECK-NEXT:        affine.vector_load [[A]][{{.*}} + 32, {{.*}}]
// Of three slices, the last has no pair.
// CHECK:         affine.for {{.*}} = 0 to 8 iter_args
// CHECK-NEXT:      affine.vector_load [[A]][
// CHECK:         affine.vector_store {{.*}}, [[C]][
// CHECK:         gpu.barrier
// CHECK:         affine.vector_load [[C]][
// CHECK:         affine.vector_load [[C]][{{.*}} + 32, {{.*}}]
// CHECK:         arith.addf
// CHECK:         arith.maximumf
// CHECK:         vector.store

// The host program has one launch and neither fills nor copies.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     memref.alloc
// CHECK:         gpu.launch_func @kernels::@k0_conv
// CHECK-SAME:    onnx_nodes = ["conv", "relu"], ops = ["conv", "binary", "unary"]
// CHECK-NEXT:    return
func.func @main(%x: tensor<1x8x6x6xf32>) -> tensor<1x16x6x6xf32> {
  %w = "fusion.weight"() {key = "weight"} : () -> tensor<16x8x3x3xf32>
  %b = "fusion.weight"() {key = "bias"} : () -> tensor<1x16x1x1xf32>
  %y = "fusion.group"(%x, %w, %b) ({
  ^bb0(%gx: tensor<1x8x6x6xf32>, %gw: tensor<16x8x3x3xf32>, %gb: tensor<1x16x1x1xf32>):
    %c = "fusion.conv"(%gx, %gw) {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, input_dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x6x6xf32>, tensor<16x8x3x3xf32>) -> tensor<1x16x6x6xf32>
    %s = "fusion.binary"(%c, %gb) {kind = "add"} : (tensor<1x16x6x6xf32>, tensor<1x16x1x1xf32>) -> tensor<1x16x6x6xf32>
    %r = "fusion.unary"(%s) {kind = "relu"} : (tensor<1x16x6x6xf32>) -> tensor<1x16x6x6xf32>
    "fusion.yield"(%r) {operandSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x16x6x6xf32>) -> ()
  }) {onnx_nodes = ["conv", "relu"], operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0>} : (tensor<1x8x6x6xf32>, tensor<16x8x3x3xf32>, tensor<1x16x1x1xf32>) -> tensor<1x16x6x6xf32>
  return %y : tensor<1x16x6x6xf32>
}
