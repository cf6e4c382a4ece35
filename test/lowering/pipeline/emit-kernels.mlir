// RUN: mlirfuse-opt %s --fusion-form-groups --fusion-schedule=device=sm_90 --fusion-assign-buffers --fusion-emit-kernels=device=sm_90 | filecheck %s

// Two layers that are equal but for their weights are two launches of one kernel; the value between them is a view of the arena.
// CHECK:       gpu.func @k0_contract
// CHECK-NOT:   gpu.func
// CHECK-LABEL: func.func @main
// CHECK:         [[ARENA:%.*]] = memref.alloc() {alignment = 256 : i64} : memref<256xi8, #gpu.address_space<global>>
// CHECK:         [[BETWEEN:%.*]] = memref.view [[ARENA]]
// CHECK:         gpu.launch_func @kernels::@k0_contract {{.*}} [[BETWEEN]] : memref<64xf32, #gpu.address_space<global>>)
// CHECK:         gpu.launch_func @kernels::@k0_contract
// CHECK-SAME:    args([[BETWEEN]]
func.func @main(%x: tensor<1x64xf32>) -> tensor<1x64xf32> {
  %w0 = "fusion.weight"() {key = "first"} : () -> tensor<64x64xf32>
  %w1 = "fusion.weight"() {key = "second"} : () -> tensor<64x64xf32>
  %h = "fusion.contract"(%x, %w0) {equation = "mk,nk->mn"} : (tensor<1x64xf32>, tensor<64x64xf32>) -> tensor<1x64xf32>
  %y = "fusion.contract"(%h, %w1) {equation = "mk,nk->mn"} : (tensor<1x64xf32>, tensor<64x64xf32>) -> tensor<1x64xf32>
  return %y : tensor<1x64xf32>
}
