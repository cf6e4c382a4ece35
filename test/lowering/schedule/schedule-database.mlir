// RUN: mlirfuse-opt %s --fusion-form-groups --fusion-schedule | filecheck %s --check-prefix=CHOSEN
// RUN: rm -f %t.db
// RUN: mlirfuse-opt %s --load-module %S/Inputs/plant_schedule.py --fusion-form-groups --plant-schedule=file=%t.db --fusion-schedule=database=%t.db | filecheck %s --check-prefix=FOUND
// RUN: mlirfuse-opt %s --fusion-form-groups "--fusion-schedule=database=%t.db device=sm_90" | filecheck %s --check-prefix=ELSEWHERE
// RUN: not mlirfuse-opt %s --fusion-form-groups --fusion-schedule=database=%t.gone 2>&1 | filecheck %s --check-prefix=MISSING

// What a search found comes before the choice; here the least promising schedule, one lane at a time.
// CHOSEN-NOT: fusion.profile
// CHOSEN: kind = "map"
// CHOSEN-NOT: widths = array<i64: 1>
// FOUND: fusion.profile = "{{[0-9a-f]+}}"
// FOUND: kind = "map"
// FOUND-SAME: widths = array<i64: 1>

// What was found on another device is no schedule here.
// ELSEWHERE: fusion.profile
// ELSEWHERE-NOT: widths = array<i64: 1>
// MISSING: The profile database {{.*}}.gone does not exist
func.func @main(%x: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %a = "fusion.unary"(%x) {kind = "exp"} : (tensor<64x64xf32>) -> tensor<64x64xf32>
  return %a : tensor<64x64xf32>
}
