"""Run a random group on the simulator and as native code, and compare with the ops' definitions."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from cpu_jit import compile_module
from group_builder import to_memory
from random_groups import RandomGroup

from mlirfuse.artifact.recipes import apply_steps
from mlirfuse.device import device_for, host_device
from mlirfuse.lowering.cpu.emit import emit_kernel as emit_cpu_kernel
from mlirfuse.lowering.gpu.emit import emit_kernel as emit_gpu_kernel
from mlirfuse.lowering.gpu.frame import Storage
from mlirfuse.lowering.groups.traffic import Lying, launch_traffic
from mlirfuse.lowering.schedule.host import (
    choose_host_schedule,
    host_program,
    host_weight_layouts,
    weight_packings,
)
from mlirfuse.lowering.schedule.host_map import MapLoops, map_sections
from mlirfuse.lowering.schedule.host_map_choice import choose_map
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, RowTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_choice import candidates, weight_layouts
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context, ir
from mlirfuse.simulator import Kernel

__all__ = ["complaint", "gpu_schedules", "host_schedules", "run_gpu", "run_host"]

GPU = device_for("sm_90")
HOST = host_device()
MARK = 77  # what lies between the elements of strided outputs, and has to stay there

# What a tuner may try beside the compiler's own candidates; most groups refuse most of them.
FURTHER = (
    MapTiles(128, 1),
    MapTiles(64, 4),
    MapTiles(32, 2),
    TeamTiles(128, 32, 1),
    TeamTiles(64, 64, 1),
    TeamTiles(128, 32, 4),
    RowTiles(128, 32, True),
    RowTiles(64, 64, False),
    ContractTiles(32, 32, 8, 4, 4),
    ContractTiles(64, 32, 4, 8, 4),
    ContractTiles(32, 64, 16, 4, 8),
)


def gpu_schedules(group: Any) -> list[Any]:
    """Every legal schedule: the compiler's candidates, and further ones."""
    found = dict.fromkeys((*candidates(group, GPU), *FURTHER))
    return [s for s in found if s.why_illegal(group, GPU) is None]


def host_schedules(group: Any) -> list[Any]:
    """The compiler's choice, the general loops, and these cut into tiles."""
    chosen, general = choose_host_schedule(group, HOST), choose_map(group, HOST)
    found = dict.fromkeys((chosen, general, _cut(group, general)))
    return [s for s in found if s.why_illegal(group, HOST) is None]


def _cut(group: Any, schedule: MapLoops) -> MapLoops:
    """The loops in up to 3 x 2 tiles."""
    sections = map_sections(group, schedule)
    vectors = [max(1, s.inner_size // s.width) for s in sections]
    return dataclasses.replace(
        schedule, outer=tuple(min(3, s.outer_size) for s in sections), inner=tuple(-(-v // -(-v // 2)) for v in vectors)
    )


def _with_layouts(group: Any, layouts: Any) -> Any:
    types = tuple(dataclasses.replace(t, layout=layouts.get(v, t.layout)) for v, t in enumerate(group.types))
    return dataclasses.replace(group, types=types)


def _output(random: RandomGroup, v: int) -> tuple[Any, Any]:
    """The buffer of an output, and a view of the output in it."""
    strides, span = random.storage(v)
    dtype = random.group.types[v].dtype
    memory = np.full(span, MARK, np.int8 if dtype == "bool" else dtype)
    view = np.lib.stride_tricks.as_strided(
        memory, random.group.types[v].dims, [s * memory.itemsize for s in strides], writeable=False
    )
    return memory, view


def run_gpu(random: RandomGroup, schedule: Any) -> str | None:
    """What is wrong with the group's kernel under a schedule on the simulator, or None."""
    group = _with_layouts(random.group, weight_layouts(random.group, schedule))
    program = tile_program(group, schedule)
    storages = {v: Storage(*random.storage(v)) for v in group.outputs}
    with context():
        text = str(emit_gpu_kernel(program, "kernel", storages))
    operands = [to_memory(a, group.types[v]) for a, v in zip(random.operands, group.inputs, strict=True)]
    outputs = [_output(random, v) for v in group.outputs]
    buffers = [_signless(b) for b in (*operands, *(memory for memory, _ in outputs))]
    counts = Kernel.from_text(text, "kernel").launch(program.tiles, (program.workers, 1, 1), buffers, mode="check")
    return complaint(random, outputs) or _miscounted(random, group, schedule, counts.argument_bytes)


def _miscounted(random: RandomGroup, group: Any, schedule: Any, counted: Sequence[int]) -> str | None:
    """How the bytes of each argument that were counted differ from what indexing says, or None.

    Less may be read by gathers, which fetch the same place twice, of what arithmetic does without (x - x), and by an
    anchor of whose result only a slice is wanted, which need not compute the rest.
    """
    lying = {v: Lying(random.storage(v)[0]) for v in group.outputs}
    traffic = launch_traffic(group, lying, getattr(schedule, "tile", None), getattr(schedule, "walk", 1))
    less = any(m.node.op in ("gather", "scatter", "sort", "slice") for m in group.members)
    for v, found, said in zip((*group.inputs, *group.outputs), counted, (*traffic.read, *traffic.written), strict=True):
        if found > said or (found < said and found and not less):
            return f"v{v}: {found} bytes of sectors are touched, {said} by indexing"
    return None


def _signless(array: Any) -> Any:
    """The buffer as kernels see it: their integers have no sign."""
    return array.view(array.dtype.name.removeprefix("u")) if array.dtype.kind == "u" else array


def run_host(random: RandomGroup, schedules: Sequence[Any]) -> dict[Any, str | None]:
    """The same for native code, by schedule; all are compiled together."""
    groups = [_with_layouts(random.group, host_weight_layouts(random.group, s)) for s in schedules]
    programs = [host_program(g, s) for g, s in zip(groups, schedules, strict=True)]
    strides = {v: random.storage(v)[0] for v in random.group.outputs}
    names = [f"kernel{i}" for i in range(len(schedules))]
    with context():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            for name, program in zip(names, programs, strict=True):
                emit_cpu_kernel(program, name, output_strides=strides)
        assert module.operation.verify()
        library = compile_module(module, names)
    return {
        schedule: _run_native(random, library.function(name, len(group.inputs) + len(group.outputs)), group, program)
        for name, schedule, group, program in zip(names, schedules, groups, programs, strict=True)
    }


def _run_native(random: RandomGroup, entry: Any, group: Any, program: Any) -> str | None:
    packings = weight_packings(group, program.schedule)
    operands = []
    for array, v in zip(random.operands, group.inputs, strict=True):
        if v in packings:
            operands.append(np.ascontiguousarray(apply_steps(array, packings[v].recipe(), dict)).reshape(-1))
        else:
            operands.append(to_memory(array, group.types[v]))
    outputs = [_output(random, v) for v in group.outputs]
    pointers = [ctypes.c_void_p(b.ctypes.data) for b in (*operands, *(memory for memory, _ in outputs))]
    for tile in range(program.tile_count):
        entry(*pointers, tile)
    return complaint(random, outputs)


def complaint(random: RandomGroup, outputs: Sequence[tuple[Any, Any]]) -> str | None:
    """How the outputs differ from what is expected, or None."""
    limit = 2e-2 if random.loose else 2e-4
    for v, (memory, found), expected in zip(random.group.outputs, outputs, random.expected, strict=True):
        wanted = np.asarray(expected).astype(np.float64)
        difference = np.abs(found.astype(np.float64) - wanted)
        exact = np.asarray(expected).dtype.kind != "f"
        allowed = 0.0 if exact else limit * max(1e-2, float(np.abs(wanted).max(initial=0)))
        off = ~(difference <= allowed)
        if off.any():
            worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
            at = tuple(map(int, np.unravel_index(worst, found.shape)))
            return f"v{v}{list(at)} is {found[at]}, not {wanted[at]} ({off.sum()} of {found.size} are off)"
        if int((memory != MARK).sum()) > found.size:
            return f"v{v}: elements of its buffer that are not its own were written"
    return None
