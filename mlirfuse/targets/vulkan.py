"""`vulkan` and `vulkan:DEVICE`: the GPU kernels as SPIR-V, for the GPUs of every vendor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlirfuse.artifact import Artifact, Image, Kernel, Plan, Program
from mlirfuse.device import PORTABLE, Device, device_for
from mlirfuse.errors import UnsupportedTarget
from mlirfuse.lowering.codegen.kernel_text import split_kernels
from mlirfuse.lowering.pipeline.host_program import host_program
from mlirfuse.lowering.pipeline.stages import StageOptions
from mlirfuse.lowering.spirv.compile import compile_shaders
from mlirfuse.lowering.spirv.shader import Shader
from mlirfuse.lowering.spirv.starts import place_kernels
from mlirfuse.options import CompileOptions, Target
from mlirfuse.targets import Backend
from mlirfuse.targets.finish import artifact_of, kernel_cache, stage_options_for, workers_of

__all__ = ["BACKEND"]


def _stage_options(target: Target, options: CompileOptions) -> StageOptions:
    return stage_options_for(target.chip or PORTABLE, options)


def _shaders(compilation: Any, module: Any, steps: Any) -> Any:
    options: CompileOptions = compilation.options
    device = device_for(compilation.target.chip or PORTABLE)
    kernels = place_kernels(split_kernels(module), steps)
    workers = workers_of(options)
    # One worker gains nothing from a process of its own: `compile` already runs all of this in one.
    shaders = compile_shaders(
        kernels,
        device.subgroup,
        device.stores_halves,
        workers=workers,
        cache=kernel_cache(options),
        isolated=workers > 1,
    )
    _check_memory(shaders, device)
    return shaders


def _check_memory(shaders: Mapping[str, Shader], device: Device) -> None:
    """UnsupportedTarget for a kernel whose blocks share more memory than the device has."""
    limit = device.shared_bytes_per_block + device.shared_bytes_reserved
    for name, shader in shaders.items():
        if shader.workgroup_bytes > limit:
            raise UnsupportedTarget(
                f"The kernel {name} shares {shader.workgroup_bytes} bytes in a block as a shader, where "
                f"{device.name} has {limit}. Compile for a GPU with more "
                f"(--target vulkan:NAME), or with --fusion none."
            )


def _finish(compilation: Any, module: Any, store: Any, imported: Any) -> Artifact:
    data = host_program(module)
    with compilation.stage("spirv"):
        shaders = _shaders(compilation, module, data["steps"])
    for step in data["steps"]:
        if step["op"] == "launch":
            step["grid"] = list(shaders[step["kernel"]].grid)
    plan = Plan(
        "vulkan",
        Program.from_json(data),
        {name: Kernel(shader.entry, (shader.entry,)) for name, shader in shaders.items()},
        {shader.entry: Image("spirv", shader.spirv) for shader in shaders.values()},
        metadata={
            "capabilities": sorted({c for shader in shaders.values() for c in shader.capabilities}),
            "workgroup_bytes": max((shader.workgroup_bytes for shader in shaders.values()), default=0),
            "subgroup": max((shader.subgroup for shader in shaders.values()), default=0),
        },
    )
    return artifact_of(compilation, module, store, imported, {compilation.target.chip or PORTABLE: plan})


def _spirv(compilation: Any, module: Any) -> str:
    shaders = _shaders(compilation, module, host_program(module)["steps"])
    return "\n".join({s.entry: s.text for s in shaders.values()}.values())


BACKEND = Backend(_stage_options, _finish, {"spirv": _spirv})
