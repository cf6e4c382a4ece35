"""Compile the kernels of a host program to objects, each distinct one once, in parallel and cached."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlirfuse.lowering.codegen.cache import KernelCache, cache_key
from mlirfuse.lowering.codegen.workers import WorkerPool
from mlirfuse.lowering.host.entry import entry_ir
from mlirfuse.lowering.host.object_code import HostCpu, llvm_ir_to_object
from mlirfuse.lowering.host.pipeline import lower_host_kernel, split_host_kernels, written_arguments
from mlirfuse.lowering.host.steps import Slot, native_program
from mlirfuse.mlir import ir

__all__ = ["HostObject", "compile_host"]

_ENTRY = "network"


@dataclass(frozen=True)
class HostObject:
    """A host program's code.

    objects   object code by name: one per distinct kernel, by its symbol, and the native entry "network".
    symbols   kernel name -> symbol of its function `void (ptr buffer..., i64 tile)`.
    slots     the base pointers that `network_run` takes, in order.
    cpu       LLVM's name of the CPU that the code was tuned for, and the `features` that it needs.
    """

    objects: Mapping[str, bytes] = field(repr=False)
    symbols: Mapping[str, str]
    slots: tuple[Slot, ...]
    cpu: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    """One module to compile: the kernel `text`, or LLVM IR if `symbol` is None."""

    symbol: str | None
    text: str
    cpu: HostCpu

    def __str__(self) -> str:
        return f"// {self.cpu}\n{self.text}"


def compile_host(
    kernels: str | Mapping[str, str],
    program: Mapping[str, Any],
    cpu: str | None = None,
    workers: int = 2,
    cache: KernelCache | None = None,
    isolated: bool = True,
    pool: WorkerPool | None = None,
) -> HostObject:
    """Object code of every kernel and of the entry that runs `program`'s steps.

    `kernels` is the text of the kernels stage, or kernel name -> module text as `split_host_kernels`
    gives. `cpu` is None for this machine's, or an x86-64 level. With `isolated`, compiling happens in
    child processes (of `pool`, if given) and a native crash raises CompilerCrash.
    """
    texts = _split(kernels) if isinstance(kernels, str) else kernels
    used = {step["kernel"] for step in program["steps"] if step["op"] == "parallel"}
    target = HostCpu.named(cpu)
    normal = {name: _normalised(name, texts[name]) for name in sorted(used)}
    keys = {name: cache_key("host", text, str(target)) for name, text in normal.items()}
    symbols = {name: f"kernel_{key[:16]}" for name, key in keys.items()}
    written = _written(normal, keys)
    steps, slots = native_program(program["steps"], symbols, written)
    entry = entry_ir(steps)
    jobs = {keys[name]: _Job(symbols[name], normal[name], target) for name in normal}
    names = {key: name for name, key in reversed(keys.items())}
    entry_key = cache_key("host entry", entry, str(target))
    jobs[entry_key], names[entry_key] = _Job(None, entry, target), _ENTRY
    code = _compile_all(jobs, names, workers, cache, isolated, pool)
    objects = {_ENTRY: code[entry_key]} | {symbols[name]: code[key] for name, key in keys.items()}
    return HostObject(objects, symbols, slots, target.name, target.features)


def _split(text: str) -> dict[str, str]:
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True
        return split_host_kernels(ir.Module.parse(text))


def _normalised(name: str, text: str) -> str:
    """The kernel named @kernel, so that equal kernels have equal text."""
    definition = re.compile(r'(func\.func (?:private )?@)("?)' + re.escape(name) + r"\2(?=\()")
    normal, count = definition.subn(r"\1kernel", text)
    assert count == 1, f"the module of {name} defines it {count} times"
    return normal


def _written(texts: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, tuple[bool, ...]]:
    known: dict[str, tuple[bool, ...]] = {}
    for name, text in texts.items():
        if keys[name] not in known:
            known[keys[name]] = written_arguments(text)
    return {name: known[key] for name, key in keys.items()}


def _compile_all(
    jobs: Mapping[str, _Job],
    names: Mapping[str, str],
    workers: int,
    cache: KernelCache | None,
    isolated: bool,
    pool: WorkerPool | None,
) -> dict[str, bytes]:
    """Object code by key, from the cache or compiled."""
    found = {key: code for key in jobs if cache and (code := cache.load(key)) is not None}
    missing = {key: job for key, job in jobs.items() if key not in found}
    if isolated and missing:
        with contextlib.nullcontext(pool) if pool else WorkerPool(workers) as running:
            results = running.run(compile_one, {names[key]: job for key, job in missing.items()})
        made = {key: results[names[key]] for key in missing}
    else:
        made = {key: compile_one(job) for key, job in missing.items()}
    for key, code in made.items():
        if cache:
            cache.store(key, code)
    return found | made


def compile_one(job: _Job) -> bytes:
    """What a worker does: one module to object code."""
    llvm_ir = job.text if job.symbol is None else lower_host_kernel(job.text, job.symbol)
    return llvm_ir_to_object(llvm_ir, job.cpu)
