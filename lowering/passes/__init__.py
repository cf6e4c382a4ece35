"""Passes: how one is written, named, given options, put into a pipeline and run.

A pass is a frozen dataclass; its fields are its options:

    @register_pass
    @dataclass(frozen=True)
    class FuseElementwise:
        \"\"\"Join element-wise consumers with the group that feeds them.\"\"\"

        name: ClassVar[str] = "fusion-fuse-elementwise"
        max_group: int = 8

        def __call__(self, module_op: ir.Operation) -> None: ...

It runs as `--fusion-fuse-elementwise=max-group=4` or inside
`builtin.module(fusion-fuse-elementwise{max-group=4},canonicalize)`.
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
