"""Compile the kernels of a program to shaders, each distinct one once, in parallel and cached."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping

from mlirfuse.lowering.codegen.cache import KernelCache
from mlirfuse.lowering.codegen.distinct import KernelSource, compile_distinct
from mlirfuse.lowering.spirv.shader import Shader, make_shader
from mlirfuse.mlir import ir

__all__ = ["compile_shaders"]


def compile_shaders(
    kernels: Mapping[str, str],
    subgroup: int = 0,
    halves: bool = True,
    workers: int = 2,
    cache: KernelCache | None = None,
    isolated: bool = True,
) -> dict[str, Shader]:
    """The shader of every kernel, in the order of `kernels` (name -> module text, as `split_kernels` gives).

    `subgroup` neighbouring threads of a block exchange values without memory on the device; 0 if none do. With
    `halves` it has buffers of float16.
    Kernels that are equal but for their names share a shader. With `isolated`, a native crash raises CompilerCrash.
    """
    setting = ("spirv", str(subgroup), str(int(halves)))
    made = compile_distinct(kernels, compile_one, setting, workers=workers, cache=cache, isolated=isolated)
    return {name: _decode(data) for name, (_, data) in made.items()}


def compile_one(source: KernelSource) -> bytes:
    """What a worker does: one module to SPIR-V."""
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True  # attributes of the fusion dialect may be there; none matters
        return _encode(make_shader(source.text, int(source.setting[1]), source.setting[2] == "1"))


def _encode(shader: Shader) -> bytes:
    return json.dumps(dataclasses.asdict(shader) | {"spirv": base64.b64encode(shader.spirv).decode()}).encode()


def _decode(data: bytes) -> Shader:
    fields = json.loads(data)
    fields["spirv"] = base64.b64decode(fields["spirv"])
    return Shader(**fields | {name: tuple(fields[name]) for name in ("grid", "capabilities")})
