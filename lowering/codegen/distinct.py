"""Compile the kernels of a program, each distinct one once, in parallel and cached."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlirfuse.lowering.codegen.cache import KernelCache, cache_key
from mlirfuse.lowering.codegen.workers import WorkerPool

__all__ = ["KernelSource", "compile_distinct"]


@dataclass(frozen=True)
class KernelSource:
    """One distinct kernel: `text`, a module of its own, defines the `gpu.func` `entry`; `setting` says for whom."""

    entry: str
    text: str
    setting: tuple[str, ...]

    def __str__(self) -> str:
        return f"// {' '.join(self.setting)}\n{self.text}"


def compile_distinct(
    kernels: Mapping[str, str],
    compile_one: Callable[[KernelSource], bytes],
    setting: tuple[str, ...],
    *,
    workers: int = 2,
    cache: KernelCache | None = None,
    isolated: bool = True,
    pool: WorkerPool | None = None,
) -> dict[str, tuple[str, bytes]]:
    """What `compile_one` makes of every kernel (name -> module text), in their order, beside the name of its entry.

    Kernels that are equal but for their names are one. `setting` is all else that `compile_one`, a function that
    can be imported, depends on. With `isolated` it runs in child processes (of `pool`, if given) and a native
    crash raises CompilerCrash; without, in this process.
    """
    sources: dict[str, KernelSource] = {}  # by key
    keys: dict[str, str] = {}
    names: dict[str, str] = {}
    done: dict[str, bytes] = {}
    for name, text in kernels.items():
        key, source = _source(name, text, setting)
        keys[name] = key
        if key in sources:
            continue
        sources[key], names[key] = source, name
        stored = cache.load(key) if cache else None
        if stored is not None:
            done[key] = stored
    waiting = {key: source for key, source in sources.items() if key not in done}
    for key, made in _run(waiting, compile_one, names, workers, isolated, pool).items():
        done[key] = made
        if cache:
            cache.store(key, made)
    return {name: (sources[key].entry, done[key]) for name, key in keys.items()}


def _source(name: str, text: str, setting: tuple[str, ...]) -> tuple[str, KernelSource]:
    """The kernel under a name that depends on its content alone (and says what it is, for profilers)."""
    stem = re.sub(r"\W", "_", re.sub(r"^k\d+_", "", name)) or "kernel"
    definition = re.compile(r'(gpu\.func @)("?)' + re.escape(name) + r"\2(?=\()")
    normal, count = definition.subn(r"\1" + stem, text)
    assert count == 1, f"the module of {name} defines it {count} times"
    key = cache_key(setting[0], normal, *setting[1:])
    entry = f"{stem}_{key[:12]}"
    return key, KernelSource(entry, definition.sub(r"\1" + entry, text), setting)


def _run(
    waiting: Mapping[str, KernelSource],
    compile_one: Callable[[KernelSource], bytes],
    names: Mapping[str, str],
    workers: int,
    isolated: bool,
    pool: WorkerPool | None,
) -> dict[str, bytes]:
    if not waiting:
        return {}
    if not isolated:
        return {key: compile_one(source) for key, source in waiting.items()}
    by_name = {names[key]: source for key, source in waiting.items()}
    with contextlib.nullcontext(pool) if pool else WorkerPool(workers) as running:
        results = running.run(compile_one, by_name)
    return {key: results[names[key]] for key in waiting}
