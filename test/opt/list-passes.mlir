// RUN: mlirfuse-opt --list-passes --load-module %S/Inputs/sample_passes.py | filecheck %s

// CHECK:      sample-mark: Set attribute `sample.mark` on every function.
// CHECK-NEXT:   value=int (default 1)
// CHECK-NEXT:   loud=bool (default False)
// CHECK-NEXT:   scale=float|none (default None)
