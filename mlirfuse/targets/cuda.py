"""`cuda` and `cuda:sm_XX`: PTX for one architecture, and a plan for sm_80 that any later GPU can run.

`cuda:h200` is the code of that product's architecture, planned and scheduled for its own rates.
"""

from __future__ import annotations

from typing import Any

from mlirfuse.artifact import Artifact, Image, Kernel, Plan, Program
from mlirfuse.device import device_for
from mlirfuse.lowering.codegen.kernel_text import split_kernels
from mlirfuse.lowering.nvvm.compile import compile_kernels
from mlirfuse.lowering.nvvm.pipeline import lower_kernel
from mlirfuse.lowering.pipeline.host_program import host_program
from mlirfuse.lowering.pipeline.stages import StageOptions
from mlirfuse.options import CompileOptions, Target
from mlirfuse.targets import Backend
from mlirfuse.targets.finish import artifact_of, kernel_cache, lowered_again, stage_options_for, workers_of

__all__ = ["BACKEND", "DEFAULT_CHIP", "FALLBACK_CHIP", "chip_of", "stage_options"]

DEFAULT_CHIP = "sm_90"
FALLBACK_CHIP = "sm_80"
FALLBACK_DEVICE = "sm_86"  # planned for: no GPU from 8.0 on has less shared memory or room for fewer threads


def stage_options(target: Target, options: CompileOptions) -> StageOptions:
    """Of the kernels that `cuda` and `simulator` share."""
    return stage_options_for(target.chip or DEFAULT_CHIP, options)


def chip_of(target: Target) -> str:
    """The chip that code is made for."""
    return device_for(target.chip or DEFAULT_CHIP).chip


def _compile(compilation: Any, module: Any, chip: str, assemble: bool | None) -> Any:
    options: CompileOptions = compilation.options
    workers, cache = workers_of(options), kernel_cache(options)
    return compile_kernels(split_kernels(module), chip, workers=workers, cache=cache, assemble=assemble)


def _finish(compilation: Any, module: Any, store: Any, imported: Any) -> Artifact:
    chip = chip_of(compilation.target)
    modules = {chip: module}
    if _capability(chip) > _capability(FALLBACK_CHIP):
        modules[FALLBACK_CHIP] = lowered_again(compilation, FALLBACK_DEVICE)
    plans, compiled = {}, {}
    for architecture, lowered in modules.items():
        with compilation.stage("ptx"):
            kernels = compiled[architecture] = _compile(
                compilation, lowered, architecture, None if lowered is module else False
            )
        images = {k.entry: Image("ptx", k.ptx.encode()) for k in kernels.values()}
        names = {name: Kernel(k.entry, (k.entry,)) for name, k in kernels.items()}
        plans[architecture] = Plan("cuda", Program.from_json(host_program(lowered)), names, images)
    others = [m for m in modules.values() if m is not module]
    return artifact_of(compilation, module, store, imported, plans, assembled=compiled[chip], others=others)


def _capability(chip: str) -> int:
    return int("".join(c for c in chip if c.isdigit()))


def _nvvm(compilation: Any, module: Any) -> str:
    return "\n".join(str(lower_kernel(text)) for text in split_kernels(module).values())


def _ptx(compilation: Any, module: Any) -> str:
    compiled = _compile(compilation, module, chip_of(compilation.target), False)
    return "\n".join({k.entry: k.ptx for k in compiled.values()}.values())


BACKEND = Backend(stage_options, _finish, {"nvvm": _nvvm, "ptx": _ptx}, lowers_again=True)
