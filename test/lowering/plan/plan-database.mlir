// RUN: mlirfuse-opt %s --fusion-plan | filecheck %s --check-prefix=MODEL
// RUN: rm -f %t.db
// RUN: mlirfuse-opt %s --load-module %S/Inputs/plant_profile.py --plant-profile=file=%t.db "--fusion-plan=database=%t.db layout=nhwc" | filecheck %s --check-prefix=MEASURED
// RUN: mlirfuse-opt %s "--fusion-plan=database=%t.db layout=nchw" | filecheck %s --check-prefix=ELSEWHERE
// RUN: mlirfuse-opt %s "--fusion-plan=database=%t.db device=sm_90" | filecheck %s --check-prefix=ELSEWHERE
// RUN: not mlirfuse-opt %s "--fusion-plan=database=%t.gone" 2>&1 | filecheck %s --check-prefix=MISSING
// RUN: not mlirfuse-opt %s "--fusion-plan=database=%s" 2>&1 | filecheck %s --check-prefix=FOREIGN

// A cell that may or may not pay: the model joins the two, a database that measured one kernel slower than two does not.
// MODEL-NOT: fusion.profile
// MODEL: fusion.softmax{{.*}}plan = 0
// MODEL: fusion.transpose{{.*}}plan = 0
// MEASURED: fusion.profile = "{{[0-9a-f]+}}"
// MEASURED: fusion.softmax{{.*}}plan = 0
// MEASURED: fusion.transpose{{.*}}plan = 1
// MEASURED-SAME: seconds_apart{{[^,]*}}2e-06{{.*}}seconds_together{{[^,]*}}4e-06{{.*}}source{{[^,}]*}}measured
// MEASURED-SAME: one kernel takes 4.0 us, two take 2.0 us, as measured

// What was measured in another memory order, or on another chip, does not count.
// ELSEWHERE: fusion.profile
// ELSEWHERE: fusion.softmax{{.*}}plan = 0
// ELSEWHERE: fusion.transpose{{.*}}plan = 0

// MISSING: The profile database {{.*}}.gone does not exist
// FOREIGN: plan-database.mlir is no profile database, but some other file.
func.func @main(%x: tensor<8x16xf32>) -> tensor<16x8xf32> {
  %a = "fusion.softmax"(%x) {axes = array<i64: 1>, log = false} : (tensor<8x16xf32>) -> tensor<8x16xf32>
  %b = "fusion.transpose"(%a) {perm = array<i64: 1, 0>} : (tensor<8x16xf32>) -> tensor<16x8xf32>
  return %b : tensor<16x8xf32>
}
