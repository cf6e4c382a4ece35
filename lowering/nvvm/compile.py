"""Compile the kernels of a program to PTX, each distinct one once, in parallel and cached."""

import base64
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

from mlirfuse.lowering.codegen.cache import KernelCache
from mlirfuse.lowering.codegen.distinct import KernelSource, compile_distinct
from mlirfuse.lowering.codegen.workers import WorkerPool
from mlirfuse.lowering.nvvm import ptxas
from mlirfuse.lowering.nvvm.clusters import require_clusters
from mlirfuse.lowering.nvvm.pipeline import dynamic_shared_bytes, lower_kernel, static_shared_bytes, to_llvm_ir
from mlirfuse.lowering.nvvm.ptx import llvm_ir_to_ptx
from mlirfuse.mlir import ir

__all__ = ["PtxKernel", "compile_kernels"]

_NO_ASSEMBLER = "no ptxas"
UNROLL = (4, 2)  # steps of innermost loops in a kernel that would spill, until it does not


@dataclass(frozen=True)
class PtxKernel:
    """One compiled kernel; kernels that are equal but for their names share `entry`, `ptx` and `cubin`.

    `entry` is the symbol in the PTX. `shared_bytes` are static, `dynamic_shared_bytes` are to be given
    at launch. What ptxas tells is None where it did not run.
    """

    name: str
    entry: str
    ptx: str
    shared_bytes: int
    dynamic_shared_bytes: int
    registers: int | None = None
    spill_bytes: int | None = None
    stack_bytes: int | None = None
    warnings: tuple[str, ...] = ()
    cubin: bytes | None = None


def compile_kernels(
    kernels: Mapping[str, str],
    chip: str,
    workers: int = 2,
    cache: KernelCache | None = None,
    assemble: bool | None = None,
    isolated: bool = True,
    pool: WorkerPool | None = None,
) -> dict[str, PtxKernel]:
    """PTX of every kernel, in the order of `kernels` (name -> module text, as `split_kernels` gives).

    `assemble` asks for ptxas (None: if it is there). With `isolated`, compiling happens in child
    processes (of `pool`, if given) and a native crash raises CompilerCrash; without, in this process.
    """
    assemble = ptxas.available() if assemble is None else assemble
    assembler = f"ptxas {ptxas.version()}, else unrolled by {UNROLL}" if assemble else _NO_ASSEMBLER
    setting = ("ptx", chip, assembler)
    made = compile_distinct(kernels, compile_one, setting, workers=workers, cache=cache, isolated=isolated, pool=pool)
    return {name: dataclasses.replace(_decode(data), name=name) for name, (_, data) in made.items()}


def compile_one(source: KernelSource) -> bytes:
    """What a worker does: one module to PTX, and through ptxas if the setting names one.

    Given a number of registers, ptxas unrolls loops to the end, loads as much in advance as they hold, and may spill
    what it had put there: a kernel that spills is compiled again with its innermost loops unrolled by fewer steps.
    """
    _, chip, assembler = source.setting
    kernel = _translated(source, chip)
    if assembler == _NO_ASSEMBLER:
        return _encode(kernel)
    kernel = _assembled(kernel, chip)
    for steps in UNROLL:
        if not kernel.spill_bytes:
            break
        again = _assembled(_translated(source, chip, steps), chip)
        kernel = min(kernel, again, key=lambda k: k.spill_bytes or 0)
    return _encode(kernel)


def _translated(source: KernelSource, chip: str, unroll: int | None = None) -> PtxKernel:
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True  # attributes of the fusion dialect may be there; none matters
        module = lower_kernel(source.text, unroll)
        require_clusters(module, chip)
        dynamic, static = dynamic_shared_bytes(module), static_shared_bytes(module)
        llvm_ir = to_llvm_ir(module)
    return PtxKernel(source.entry, source.entry, llvm_ir_to_ptx(llvm_ir, chip), static, dynamic)


def _assembled(kernel: PtxKernel, chip: str) -> PtxKernel:
    assembly = ptxas.assemble(kernel.ptx, chip)
    return dataclasses.replace(
        kernel,
        registers=assembly.registers,
        spill_bytes=assembly.spill_store_bytes + assembly.spill_load_bytes,
        stack_bytes=assembly.stack_bytes,
        warnings=assembly.warnings,
        cubin=assembly.cubin,
    )


def _encode(kernel: PtxKernel) -> bytes:
    fields = dataclasses.asdict(kernel)
    fields["cubin"] = None if kernel.cubin is None else base64.b64encode(kernel.cubin).decode()
    return json.dumps(fields).encode()


def _decode(data: bytes) -> PtxKernel:
    fields = json.loads(data)
    fields["cubin"] = None if fields["cubin"] is None else base64.b64decode(fields["cubin"])
    fields["warnings"] = tuple(fields["warnings"])
    return PtxKernel(**fields)
