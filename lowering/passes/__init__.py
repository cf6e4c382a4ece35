"""Passes: how one is written, named, given options, put into a pipeline and run.

A pass is a frozen dataclass; its fields are its options:

    @register_pass
    @dataclass(frozen=True)
    class FoldConstants:
        \"\"\"Compute what depends on constants alone.\"\"\"

        name: ClassVar[str] = "fusion-fold-constants"
        max_mib: int = 64

        def __call__(self, module_op: ir.Operation) -> None: ...

It runs as `--fusion-fold-constants=max-mib=4` or inside
`builtin.module(fusion-fold-constants{max-mib=4},canonicalize)`.
"""

from mlirfuse.lowering.passes.diagnostics import Diagnostic, collect_diagnostics
from mlirfuse.lowering.passes.observers import Observer, PrintIR, Timing
from mlirfuse.lowering.passes.options import Option, options_of
from mlirfuse.lowering.passes.pipeline import PassPipeline, Step, run_pipeline
from mlirfuse.lowering.passes.registry import (
    PASSES,
    Pass,
    PassFailure,
    PipelineError,
    find_pass,
    load_passes,
    register_pass,
)

__all__ = [
    "PASSES",
    "Diagnostic",
    "Observer",
    "Option",
    "Pass",
    "PassFailure",
    "PassPipeline",
    "PipelineError",
    "PrintIR",
    "Step",
    "Timing",
    "collect_diagnostics",
    "find_pass",
    "load_passes",
    "options_of",
    "register_pass",
    "run_pipeline",
]
