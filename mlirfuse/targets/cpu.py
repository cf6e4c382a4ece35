"""`cpu`: vector loops over channels-last tensors, as object code for this machine's processor."""

from __future__ import annotations

from typing import Any

from mlirfuse.artifact import Artifact, Program, host_plan
from mlirfuse.lowering.host.compile import compile_host
from mlirfuse.lowering.host.object_code import HostCpu, llvm_ir_to_object
from mlirfuse.lowering.host.pipeline import lower_host_kernel, split_host_kernels
from mlirfuse.lowering.pipeline.host_program import host_program
from mlirfuse.lowering.pipeline.stages import StageOptions
from mlirfuse.options import CompileOptions, Target, environment
from mlirfuse.targets import Backend
from mlirfuse.targets.finish import artifact_of, kernel_cache, stage_options_for, workers_of

__all__ = ["BACKEND"]

ARCHITECTURE = "x86_64"


def _stage_options(target: Target, options: CompileOptions) -> StageOptions:
    """Kernels vectorise over channels: spatial tensors are channels-last unless asked otherwise."""
    return stage_options_for("host", options, layout="nhwc", threads=environment().threads or 0)


def _finish(compilation: Any, module: Any, store: Any, imported: Any) -> Artifact:
    options: CompileOptions = compilation.options
    data = host_program(module)
    workers = workers_of(options)
    with compilation.stage("object"):
        # One worker gains nothing from a process of its own: `compile` already runs all of this in one.
        code = compile_host(
            split_host_kernels(module), data, workers=workers, cache=kernel_cache(options), isolated=workers > 1
        )
    plan = host_plan(Program.from_json(data), code)
    return artifact_of(compilation, module, store, imported, {ARCHITECTURE: plan}, pack=True)


def _llvm(compilation: Any, module: Any) -> str:
    return "\n".join(lower_host_kernel(text, name) for name, text in split_host_kernels(module).items())


def _object(compilation: Any, module: Any) -> bytes:
    """The objects of all kernels, one after the other, as an `ar` archive of relocatable files."""
    members = []
    for name, text in split_host_kernels(module).items():
        code = llvm_ir_to_object(lower_host_kernel(text, name), HostCpu.of_this_machine())
        header = f"{name[:15] + '/':<16}{0:<12}{0:<6}{0:<6}{'644':<8}{len(code):<10}`\n".encode()
        members.append(header + code + b"\n" * (len(code) % 2))
    return b"!<arch>\n" + b"".join(members)


BACKEND = Backend(_stage_options, _finish, {"llvm": _llvm, "object": _object})
