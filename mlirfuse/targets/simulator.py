"""`simulator`: the very kernels of the cuda target, executed in NumPy."""

from __future__ import annotations

from typing import Any

from mlirfuse.artifact import Artifact, Image, Kernel, Plan, Program
from mlirfuse.lowering.codegen.kernel_text import split_kernels
from mlirfuse.lowering.pipeline.host_program import host_program
from mlirfuse.targets import Backend
from mlirfuse.targets.cuda import chip_of, stage_options
from mlirfuse.targets.finish import artifact_of

__all__ = ["BACKEND"]


def _finish(compilation: Any, module: Any, store: Any, imported: Any) -> Artifact:
    program = Program.from_json(host_program(module))
    texts = split_kernels(module)
    images = {name: Image("mlir", text.encode()) for name, text in texts.items()}
    names = {name: Kernel(name, (name,)) for name in texts}
    plan = Plan("simulator", program, names, images)
    return artifact_of(compilation, module, store, imported, {chip_of(compilation.target): plan})


BACKEND = Backend(stage_options, _finish, {})
