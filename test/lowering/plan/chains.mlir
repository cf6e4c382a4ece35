// RUN: mlirfuse-opt %s --split-input-file --fusion-plan | filecheck %s
// RUN: mlirfuse-opt %s --split-input-file --fusion-plan=fusion=no-cross-layer | filecheck %s --check-prefix=APART
// RUN: mlirfuse-opt %s --split-input-file --fusion-plan=device=portable | filecheck %s --check-prefix=SMALL
// RUN: mlirfuse-opt %s --split-input-file --fusion-plan --fusion-form-groups --fusion-fuse | filecheck %s --check-prefix=GROUP

// Attention is one block: the table refuses it, and a proof with its numbers says why it pays.
// CHECK-LABEL: func.func @attention
// CHECK: fusion.contract{{.*}}plan = 0
// CHECK: kind = "mul"{{.*}}plan = 0
// CHECK: fusion.softmax{{.*}}plan = 0
// CHECK: fusion.contract{{.*}}plan = 0 {{.*}}proofs = [{{.*}}bytes_not_travelling
// CHECK-NOT: verdicts
// APART-LABEL: func.func @attention
// APART: fusion.contract{{.*}}plan = 0
// APART: fusion.softmax{{.*}}plan = 1 {{.*}}would share a kernel
// APART: fusion.contract{{.*}}plan = 2
// SMALL-LABEL: func.func @attention
// SMALL: fusion.softmax{{.*}}plan = 1 {{.*}}resources{{.*}}\22limit\22:15360{{.*}}\22shared_bytes\22:20992
// GROUP-LABEL: func.func @attention
// GROUP: fusion.group
// GROUP-NOT: fusion.group
// GROUP: proofs = [
func.func @attention(%q: tensor<1x8x128x64xf32>, %k: tensor<1x8x64x128xf32>, %v: tensor<1x8x128x64xf32>) -> tensor<1x8x128x64xf32> {
  %scale = "fusion.splat"() {value = 0.125 : f64} : () -> tensor<f32>
  %s = "fusion.contract"(%q, %k) {equation = "abmk,abkn->abmn"} : (tensor<1x8x128x64xf32>, tensor<1x8x64x128xf32>) -> tensor<1x8x128x128xf32>
  %t = "fusion.binary"(%s, %scale) {kind = "mul"} : (tensor<1x8x128x128xf32>, tensor<f32>) -> tensor<1x8x128x128xf32>
  %p = "fusion.softmax"(%t) {axes = array<i64: 3>, log = false} : (tensor<1x8x128x128xf32>) -> tensor<1x8x128x128xf32>
  %y = "fusion.contract"(%p, %v) {equation = "abmk,abkn->abmn"} : (tensor<1x8x128x128xf32>, tensor<1x8x128x64xf32>) -> tensor<1x8x128x64xf32>
  return %y : tensor<1x8x128x64xf32>
}

// -----

// The probabilities are also returned: they have to be stored anyway.
// CHECK-LABEL: func.func @returned
// CHECK: fusion.contract{{.*}}plan = 0
// CHECK: fusion.softmax{{.*}}plan = 1 {{.*}}verdicts = [{{.*}}is also read outside
// CHECK: fusion.contract{{.*}}plan = 2
func.func @returned(%q: tensor<1x8x128x64xf32>, %k: tensor<1x8x64x128xf32>, %v: tensor<1x8x128x64xf32>) -> (tensor<1x8x128x64xf32>, tensor<1x8x128x128xf32>) {
  %s = "fusion.contract"(%q, %k) {equation = "abmk,abkn->abmn"} : (tensor<1x8x128x64xf32>, tensor<1x8x64x128xf32>) -> tensor<1x8x128x128xf32>
  %p = "fusion.softmax"(%s) {axes = array<i64: 3>, log = false} : (tensor<1x8x128x128xf32>) -> tensor<1x8x128x128xf32>
  %y = "fusion.contract"(%p, %v) {equation = "abmk,abkn->abmn"} : (tensor<1x8x128x128xf32>, tensor<1x8x128x64xf32>) -> tensor<1x8x128x64xf32>
  return %y, %p : tensor<1x8x128x64xf32>, tensor<1x8x128x128xf32>
}
