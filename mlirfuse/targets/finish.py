"""What every target needs at the end: weights stored once with a recipe for each memory order, and the kernel cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from mlirfuse.artifact import Recipe, apply_steps
from mlirfuse.dialect import attribute_value
from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.lowering.codegen.cache import KernelCache
from mlirfuse.lowering.pipeline.host_program import packed_weights
from mlirfuse.lowering.pipeline.stages import StageOptions
from mlirfuse.options import CompileOptions, environment

__all__ = ["gpu_stage_options", "kernel_cache", "precision_of", "recorded_options", "weights_of"]


def gpu_stage_options(chip: str, options: CompileOptions) -> StageOptions:
    """SIMT kernels for `chip` read rows of pixels: row-major tensors unless asked otherwise."""
    return StageOptions(
        chip,
        "nchw" if options.layout == "auto" else options.layout,
        options.fusion,
        options.rewrite,
        tuple(options.no_fuse),
        tuple(map(tuple, options.force_fuse)),
        os.fspath(options.tuning or ""),
    )


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


def recorded_options(options: CompileOptions, module: Any) -> dict[str, Any]:
    """The options that an artifact tells of: those that change what was compiled.

    A tuning database is told by the digest of what planning read (`fusion.profile` of the module), not by its path.
    """
    kept = {k: v for k, v in options.to_dict().items() if k not in ("workers", "cache_dir")}
    return {**kept, "tuning": attribute_value(module.operation, "fusion.profile")}


def weights_of(module: Any, store: Any, *, packed: bool) -> dict[str, Any]:
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
