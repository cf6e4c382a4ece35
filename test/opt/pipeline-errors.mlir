// RUN: not mlirfuse-opt %s --no-such-pass 2>&1 | filecheck %s --check-prefix=UNKNOWN
// UNKNOWN: mlirfuse-opt: error: unknown pass in 'no-such-pass'; --list-passes shows

// RUN: not mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-mark=size=3 2>&1 | filecheck %s --check-prefix=OPTION
// OPTION: error: pass 'sample-mark' has no option 'size'; its options: value, loud, scale

// RUN: not mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-mark=value=many 2>&1 | filecheck %s --check-prefix=VALUE
// VALUE: error: option 'value' of pass 'sample-mark' takes int, but got 'many'

// RUN: not mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --sample-bug=kind=polite 2>&1 | filecheck %s --check-prefix=CHOICE
// CHOICE: error: option 'kind' of pass 'sample-bug' takes raise|invalid|endless|silent, but got 'polite'

// RUN: not mlirfuse-opt %s --load-module %S/Inputs/sample_passes.py --pass-pipeline="builtin.module(sample-mark)" 2>&1 | filecheck %s --check-prefix=NESTING
// NESTING: error: pass 'sample-mark' runs on func.func, but is nested in builtin.module(...); write builtin.module(func.func(sample-mark))

// RUN: not mlirfuse-opt %s --pass-pipeline="builtin.module(affine-loop-tile)" 2>&1 | filecheck %s --check-prefix=UPSTREAM
// UPSTREAM: error: upstream refuses pass 'affine-loop-tile': {{.*}}restricted to 'func.func'

// RUN: not mlirfuse-opt %s --pass-pipeline="builtin.module(cse,,canonicalize)" 2>&1 | filecheck %s --check-prefix=SYNTAX
// SYNTAX:      error: bad pass pipeline: expected the name of a pass or op at column 20
// SYNTAX-NEXT: builtin.module(cse,,canonicalize)

// RUN: not mlirfuse-opt %s --pass-pipeline="cse" 2>&1 | filecheck %s --check-prefix=ANCHOR
// ANCHOR: error: expected a pass pipeline of the form builtin.module(...), but got 'cse'

// RUN: not mlirfuse-opt %s --pass-pipeline="builtin.module(cse)" --canonicalize 2>&1 | filecheck %s --check-prefix=BOTH
// BOTH: error: --pass-pipeline and passes as flags exclude each other

// RUN: not mlirfuse-opt %s extra.mlir 2>&1 | filecheck %s --check-prefix=EXTRA
// EXTRA: error: do not know what to do with 'extra.mlir'

// RUN: not mlirfuse-opt %S/Inputs/absent.mlir 2>&1 | filecheck %s --check-prefix=ABSENT
// ABSENT: error: cannot read {{.*}}absent.mlir

// RUN: not mlirfuse-opt %s --load-module no.such.module 2>&1 | filecheck %s --check-prefix=MODULE
// MODULE: error: cannot load module no.such.module: ModuleNotFoundError
module {}
