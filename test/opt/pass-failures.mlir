// RUN: not mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-bug 2>&1 | filecheck %s --check-prefix=BUG
// RUN: not mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-bug=kind=invalid 2>&1 | filecheck %s --check-prefix=INVALID
// RUN: not mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-bug=kind=endless 2>&1 | filecheck %s --check-prefix=ENDLESS
// RUN: not mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-bug=kind=silent 2>&1 | filecheck %s --check-prefix=SILENT
// RUN: mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-bug=kind=invalid --no-verify-each --mlir-print-op-generic | filecheck %s --check-prefix=UNVERIFIED

// A bug in a pass is one diagnostic with the pass's name and no traceback.
// BUG-NOT: Traceback
// BUG: pass-failures.mlir: error: pass 'sample-bug' failed: KeyError: 'lost'
// BUG-NOT: Traceback

// The verifier runs after every pass of ours, unless told otherwise.
// INVALID: error: 'func.func' op entry block must have 0 arguments
// UNVERIFIED: function_type = () -> ()

// ENDLESS: error: pattern '<lambda>' does not come to an end: 100 rewrites were made
// SILENT: error: something is wrong somewhere
func.func @f(%x: i32) -> i32 {
  %0 = arith.muli %x, %x : i32
  return %0 : i32
}
