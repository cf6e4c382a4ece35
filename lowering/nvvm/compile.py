"""Compile the kernels of a program to PTX, each distinct one once, in parallel and cached."""

import base64
import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlirfuse.lowering.codegen.cache import KernelCache, cache_key
from mlirfuse.lowering.codegen.workers import WorkerPool
from mlirfuse.lowering.nvvm import ptxas
from mlirfuse.lowering.nvvm.pipeline import dynamic_shared_bytes, lower_kernel, static_shared_bytes, to_llvm_ir
from mlirfuse.lowering.nvvm.ptx import llvm_ir_to_ptx
from mlirfuse.mlir import ir

__all__ = ["PtxKernel", "compile_kernels"]


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


@dataclass(frozen=True)
class _Job:
    """One distinct kernel: `text` defines `entry`."""

    entry: str
    text: str
    chip: str
    assemble: bool

    def __str__(self) -> str:
        return f"// {self.chip}\n{self.text}"


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
    keys: dict[str, str] = {}
    jobs: dict[str, _Job] = {}
    names: dict[str, str] = {}
    done: dict[str, PtxKernel] = {}
    for name, text in kernels.items():
        key, job = _job(name, text, chip, assemble)
        keys[name] = key
        stored = cache.load(key) if cache and key not in done and key not in jobs else None
        if stored is not None:
            done[key] = _decode(stored)
        elif key not in done and key not in jobs:
            jobs[key], names[key] = job, name
    for key, kernel in _run(jobs, names, workers, isolated, pool).items():
        done[key] = kernel
        if cache:
            cache.store(key, _encode(kernel))
    return {name: dataclasses.replace(done[key], name=name) for name, key in keys.items()}


def _job(name: str, text: str, chip: str, assemble: bool) -> tuple[str, _Job]:
    """The kernel under a name that depends on its content alone (and says what it is, for profilers)."""
    stem = re.sub(r"\W", "_", re.sub(r"^k\d+_", "", name)) or "kernel"
    definition = re.compile(r'(gpu\.func @)("?)' + re.escape(name) + r"\2(?=\()")
    normal, count = definition.subn(r"\1" + stem, text)
    assert count == 1, f"the module of {name} defines it {count} times"
    assembler = f"ptxas {ptxas.version()}" if assemble else "no ptxas"
    key = cache_key("ptx", normal, chip, assembler)
    entry = f"{stem}_{key[:12]}"
    return key, _Job(entry, definition.sub(r"\1" + entry, text), chip, assemble)


def _run(
    jobs: Mapping[str, _Job], names: Mapping[str, str], workers: int, isolated: bool, pool: WorkerPool | None
) -> dict[str, PtxKernel]:
    if not jobs:
        return {}
    if not isolated:
        return {key: compile_one(job) for key, job in jobs.items()}
    by_name = {names[key]: job for key, job in jobs.items()}
    with contextlib.nullcontext(pool) if pool else WorkerPool(workers) as running:
        results = running.run(compile_one, by_name)
    return {key: results[names[key]] for key in jobs}


def compile_one(job: _Job) -> PtxKernel:
    """What a worker does: one module to PTX, and through ptxas if asked."""
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True  # attributes of the fusion dialect may be there; none matters
        module = lower_kernel(job.text)
        dynamic, static = dynamic_shared_bytes(module), static_shared_bytes(module)
        llvm_ir = to_llvm_ir(module)
    ptx = llvm_ir_to_ptx(llvm_ir, job.chip)
    kernel = PtxKernel(job.entry, job.entry, ptx, static, dynamic)
    if not job.assemble:
        return kernel
    assembly = ptxas.assemble(ptx, job.chip)
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
