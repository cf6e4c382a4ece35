// RUN: mlirfuse-opt %s --fusion-plan --fusion-form-groups --fusion-fuse --fusion-schedule=device=sm_90 | filecheck %s --check-prefix=SIMT
// RUN: mlirfuse-opt %s --fusion-plan --fusion-form-groups --fusion-fuse --fusion-schedule=device=host | filecheck %s --check-prefix=HOST
// RUN: mlirfuse-opt %s --fusion-plan=fusion=no-cross-layer --fusion-form-groups --fusion-fuse --fusion-schedule=device=sm_90 | filecheck %s --check-prefix=APART

// A group of several anchors is cut into tiles of rows; each anchor keeps the kind of schedule that it has alone.
// SIMT-LABEL: func.func @attention
// SIMT:       schedule = {kind = "deep", part = 0 : i64, rows = {{[0-9]+}} : i64, stages = ["{{.*}}contract{{.*}}", "{{.*}}row{{.*}}", "{{.*}}contract{{.*}}"], threads
// HOST-LABEL: func.func @attention
// HOST:       schedule = {kind = "deep", orders = ["0,1,2,3", "0,1,2,3"], part = 0 : i64, rows = {{[0-9]+}} : i64, stages = ["{{.*}}contract{{.*}}", "{{.*}}row{{.*}}", "{{.*}}contract{{.*}}"]}
// APART-LABEL: func.func @attention
// APART-NOT: "deep"
func.func @attention(%q: tensor<1x8x128x64xf32>, %k: tensor<1x8x64x128xf32>, %v: tensor<1x8x128x64xf32>) -> tensor<1x8x128x64xf32> {
  %s = "fusion.contract"(%q, %k) {equation = "abmk,abkn->abmn"} : (tensor<1x8x128x64xf32>, tensor<1x8x64x128xf32>) -> tensor<1x8x128x128xf32>
  %p = "fusion.softmax"(%s) {axes = array<i64: 3>, log = false} : (tensor<1x8x128x128xf32>) -> tensor<1x8x128x128xf32>
  %y = "fusion.contract"(%p, %v) {equation = "abmk,abkn->abmn"} : (tensor<1x8x128x128xf32>, tensor<1x8x128x64xf32>) -> tensor<1x8x128x64xf32>
  return %y : tensor<1x8x128x64xf32>
}
