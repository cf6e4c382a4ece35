// RUN: mlirfuse-opt %s --fusion-plan --fusion-form-groups --fusion-fuse --fusion-schedule=device=sm_90 --fusion-assign-buffers --fusion-emit-kernels=device=sm_90 | filecheck %s

// One kernel, one shared array for all that its stages keep: scores are stored there, a barrier lets the rows be reduced
// by shuffles, and no buffer of the launch has their size (8 x 128 x 128).
// CHECK-LABEL: gpu.func @k0_contract
// CHECK-NOT:   131072
// CHECK-SAME:  workgroup(%[[SHARED:.*]] : memref<{{[0-9]+}}xf32, #gpu.address_space<workgroup>>
// CHECK:       vector.fma
// CHECK:       affine.store {{.*}}%[[SHARED]]
// CHECK:       gpu.barrier
// CHECK:       gpu.shuffle
// CHECK:       math.exp
// CHECK:       gpu.barrier
// CHECK:       vector.fma
// CHECK:       gpu.return
// CHECK:       func.func @main
// CHECK-NOT:   memref.alloc
// CHECK:       gpu.launch_func {{.*}}@k0_contract
// CHECK-NOT:   gpu.launch_func
func.func @main(%q: tensor<1x8x128x64xf32>, %k: tensor<1x8x64x128xf32>, %v: tensor<1x8x128x64xf32>) -> tensor<1x8x128x64xf32> {
  %s = "fusion.contract"(%q, %k) {equation = "abmk,abkn->abmn"} : (tensor<1x8x128x64xf32>, tensor<1x8x64x128xf32>) -> tensor<1x8x128x128xf32>
  %p = "fusion.softmax"(%s) {axes = array<i64: 3>, log = false} : (tensor<1x8x128x128xf32>) -> tensor<1x8x128x128xf32>
  %y = "fusion.contract"(%p, %v) {equation = "abmk,abkn->abmn"} : (tensor<1x8x128x128xf32>, tensor<1x8x128x64xf32>) -> tensor<1x8x128x64xf32>
  return %y : tensor<1x8x128x64xf32>
}
