// RUN: mlirfuse-opt %s --split-input-file --verify-diagnostics --cse | filecheck %s

// Taking a peer's memory is pure: one is enough, and none where nothing is loaded or stored. Barriers stay.
// CHECK-LABEL: gpu.func @once
// CHECK: gpu.barrier scope <cluster>
// CHECK-NEXT: %[[PEER:.*]] = "fusion.peer_memory"(%{{.*}}, %{{.*}}) : (memref<4x8xf32, #gpu.address_space<workgroup>>, index) -> memref<4x8xf32, 7>
// CHECK-NEXT: affine.store %{{.*}}, %[[PEER]][0, 1] : memref<4x8xf32, 7>
// CHECK-NEXT: affine.store %{{.*}}, %[[PEER]][0, 2] : memref<4x8xf32, 7>
// CHECK-NEXT: gpu.barrier scope <cluster>
// CHECK-NEXT: gpu.return
gpu.module @kernels {
  gpu.func @once(%v: f32) workgroup(%s: memref<4x8xf32, #gpu.address_space<workgroup>>) kernel
      attributes {gpu.known_cluster_size = array<i32: 2, 1, 1>} {
    %rank = gpu.cluster_block_id x
    gpu.barrier scope <cluster>
    %0 = "fusion.peer_memory"(%s, %rank) : (memref<4x8xf32, #gpu.address_space<workgroup>>, index) -> memref<4x8xf32, 7>
    affine.store %v, %0[0, 1] : memref<4x8xf32, 7>
    %1 = "fusion.peer_memory"(%s, %rank) : (memref<4x8xf32, #gpu.address_space<workgroup>>, index) -> memref<4x8xf32, 7>
    affine.store %v, %1[0, 2] : memref<4x8xf32, 7>
    gpu.barrier scope <cluster>
    %2 = "fusion.peer_memory"(%s, %rank) : (memref<4x8xf32, #gpu.address_space<workgroup>>, index) -> memref<4x8xf32, 7>
    gpu.return
  }
}
// -----
// Global memory is the same for all blocks.
func.func @global(%x: memref<8xf32, #gpu.address_space<global>>, %rank: index) {
  // expected-error @below {{'fusion.peer_memory' op takes a whole static array in #gpu.address_space<workgroup>, not memref<8xf32, #gpu.address_space<global>>}}
  %0 = "fusion.peer_memory"(%x, %rank) : (memref<8xf32, #gpu.address_space<global>>, index) -> memref<8xf32, 7>
  return
}
// -----
// A part of an array starts where its descriptor says, not where the array does.
func.func @part(%x: memref<8xf32, strided<[1], offset: 8>, #gpu.address_space<workgroup>>, %rank: index) {
  // expected-error @below {{takes a whole static array}}
  %0 = "fusion.peer_memory"(%x, %rank) : (memref<8xf32, strided<[1], offset: 8>, #gpu.address_space<workgroup>>, index) -> memref<8xf32, 7>
  return
}
// -----
// The result is the same array, elsewhere.
func.func @other(%x: memref<8xf32, #gpu.address_space<workgroup>>, %rank: index) {
  // expected-error @below {{should give memref<8xf32, 7>, but its result is declared memref<16xf16, 7>}}
  %0 = "fusion.peer_memory"(%x, %rank) : (memref<8xf32, #gpu.address_space<workgroup>>, index) -> memref<16xf16, 7>
  return
}
