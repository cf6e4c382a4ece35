"""What every target needs: the options of its stages, workers and a cache for its kernels, and the artifact."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, Plan, Recipe, apply_steps
from mlirfuse.device import Device, scheduling_device, usable_cores
from mlirfuse.dialect import attribute_value
from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.lowering.codegen.cache import KernelCache
from mlirfuse.lowering.passes import run_pipeline
from mlirfuse.lowering.pipeline.host_program import packed_weights
from mlirfuse.lowering.pipeline.stages import STAGES, StageOptions, pipeline_for
from mlirfuse.mlir import ir
from mlirfuse.options import CompileOptions, environment
from mlirfuse.report import build_report
from mlirfuse.targets import backend_for

__all__ = ["artifact_of", "kernel_cache", "lowered_again", "precision_of", "stage_options_for", "workers_of"]


def stage_options_for(device: str, options: CompileOptions, *, layout: str = "nchw", threads: int = 0) -> StageOptions:
    """Tensors are in the memory order `layout` unless asked otherwise; SIMT kernels read rows of pixels ("nchw")."""
    return StageOptions(
        device,
        layout if options.layout == "auto" else options.layout,
        options.fusion,
        options.rewrite,
        tuple(options.no_fuse),
        tuple(map(tuple, options.force_fuse)),
        os.fspath(options.tuning or ""),
        threads,
    )


def lowered_again(compilation: Any, device: str) -> Any:
    """A second module at the kernels stage, planned and scheduled for another device."""
    options = stage_options_for(device, compilation.options)
    module = ir.Module.parse(compilation.graph)
    for name in STAGES[1:]:
        with compilation.stage(name):
            run_pipeline(module, pipeline_for(name, options), verify="end")
    return module


def workers_of(options: CompileOptions) -> int:
    """How many processes compile kernels: as the options say, else as the environment does, else all cores."""
    return options.workers or environment().workers or usable_cores()


def kernel_cache(options: CompileOptions) -> KernelCache | None:
    """Where compiled kernels are kept: as the options say, else as the environment does; None for nowhere."""
    directory = environment().cache_dir if options.cache_dir is None else options.cache_dir
    return KernelCache(Path(directory)) if directory else None


def precision_of(options: CompileOptions) -> str:
    """What kernels compute in: single precision, as `auto` chooses; UnsupportedTarget for what has no kernels."""
    if options.precision not in ("auto", "fp32"):
        raise UnsupportedTarget(
            f"There are no kernels in {options.precision} yet, only in fp32: leave the precision at auto."
        )
    return "fp32"


def artifact_of(
    compilation: Any,
    module: Any,
    store: Any,
    imported: Any,
    plans: Mapping[str, Plan],
    *,
    pack: bool = False,
    assembled: Mapping[str, Any] | None = None,
    others: Sequence[Any] = (),
) -> Artifact:
    """The artifact of a module at the kernels stage, whose kernels and programs `plans` has for each architecture.

    `pack` says whether weights are stored as kernels read them where the options leave it open; `assembled` is what the
    report adds to each kernel; `others` are further modules that some of the plans come from.
    """
    options: CompileOptions = compilation.options
    precision = precision_of(options)
    program = next(iter(plans.values())).program
    packed = pack if options.weights == "auto" else options.weights == "packed"
    return Artifact(
        imported.name,
        str(compilation.target),
        precision,
        program.inputs,
        program.outputs,
        plans,
        {k: w for m in (module, *others) for k, w in _weights(m, store, packed=packed).items()},
        build_report(compilation, module, imported, precision, _device(compilation), assembled),
        _recorded(options, module),
    )


def _device(compilation: Any) -> Device:
    """What the kernels were made for."""
    options = backend_for(compilation.target).stage_options(compilation.target, compilation.options)
    return scheduling_device(options.device)


def _recorded(options: CompileOptions, module: Any) -> dict[str, Any]:
    """The options that an artifact tells of: those that change what was compiled.

    A tuning database is told by the digest of what planning read (`fusion.profile` of the module), not by its path.
    """
    kept = {k: v for k, v in options.to_dict().items() if k not in ("workers", "cache_dir")}
    return {**kept, "tuning": attribute_value(module.operation, "fusion.profile")}


def _weights(module: Any, store: Any, *, packed: bool) -> dict[str, Any]:
    """What the artifact holds for every weight that the program in `module` reads.

    Several plans share weights as recipes over the tensors they come from. With `packed` a weight is stored as its
    kernels read it, so that the runtime uses the mapped file and nothing is in memory twice.
    """
    found: dict[str, Any] = {}
    for name, weight in packed_weights(module).items():
        array = store.get(weight["key"])
        if array is None:
            raise MlirfuseError(
                f"The weight store has no bytes for '{weight['key']}'; "
                "give the stage's safetensors file along with its text."
            )
        base = array.view(np.int8) if array.dtype == np.bool_ else array
        base = base if base.size else np.zeros(1, base.dtype)  # every buffer has an element
        if packed and weight["steps"]:
            made = apply_steps(base, tuple(weight["steps"]), store.get, name)
            found[name] = np.ascontiguousarray(made).reshape(weight["shape"])
            continue
        found[weight["key"]] = np.atleast_1d(base)
        if weight["steps"]:
            found[name] = Recipe(weight["key"], tuple(weight["steps"]), weight["shape"], base.dtype.name)
    return found
