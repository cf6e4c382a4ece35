"""From a tile program to a gpu.func: the one place that kernels of GPUs are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, Var, delinearize, maximum, minimum
from mlirfuse.lowering.gpu.border_stage import emit_borders
from mlirfuse.lowering.gpu.contract_stage import emit_contract
from mlirfuse.lowering.gpu.cross_layer_stage import prepare_cross_layer
from mlirfuse.lowering.gpu.deep_stage import emit_deep
from mlirfuse.lowering.gpu.frame import Frame, SharedPart, SharedShape, Storage, kernel_frame
from mlirfuse.lowering.gpu.map_stage import emit_map
from mlirfuse.lowering.gpu.row_stage import emit_row
from mlirfuse.lowering.gpu.sort_stage import emit_sort
from mlirfuse.lowering.gpu.team_stage import emit_team
from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.schedule.program import TileProgram
from mlirfuse.lowering.schedule.side_by_side import SideBySide
from mlirfuse.lowering.schedule.simt import BUFFERS, WARP, ContractTiles, MapTiles, RowTiles, TeamTiles, row_length
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles, SimtCrossLayerPlan
from mlirfuse.lowering.schedule.simt_deep import DeepTiles, SimtDeepPlan
from mlirfuse.lowering.schedule.simt_forms import SimtSchedule
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.lowering.schedule.sorting import SortPlan, SortTiles, key_bytes
from mlirfuse.mlir import ir, passmanager

__all__ = ["emit_kernel"]

_CLEAN_UP = "builtin.module(gpu.module(gpu.func(canonicalize,cse,loop-invariant-code-motion,canonicalize,cse)))"


def emit_kernel(program: TileProgram, name: str, storages: Mapping[int, Storage] | None = None) -> ir.Module:
    """A module with the kernel `name`, in the context that is entered.

    `storages` says how operands and outputs lie in their buffers where that is not their type's own layout.
    """
    group, schedule = program.group, program.schedule
    where = {v: Storage(group.types[v].strides(), max(1, group.types[v].size)) for v in (*group.inputs, *group.outputs)}
    where.update(storages or {})
    registers = _registers(schedule)
    shapes = _shared_shapes(program)
    with kernel_frame(
        name,
        group,
        where,
        threads=program.workers,
        grid=program.tiles,
        shared_shapes=shapes,
        registers=registers,
        cluster=schedule.cluster if isinstance(schedule, CrossLayerTiles) else 1,
    ) as (module, frame):
        _prepare(frame, program)()
    passmanager.PassManager.parse(_CLEAN_UP).run(module.operation)
    return module


def _prepare(frame: Frame, program: TileProgram) -> Callable[[], None]:
    """Emit what has to stand outside of any branch; the body of the kernel is what this gives."""
    match program.schedule:
        case MapTiles() as s:
            return partial(emit_map, frame, s)
        case TeamTiles() as s:
            return partial(_with_borders, frame, partial(emit_team, frame, s))
        case RowTiles() as s:
            return partial(_with_borders, frame, partial(emit_row, frame, s))
        case ContractTiles() as s:
            return partial(_with_borders, frame, partial(emit_contract, frame, s))
        case SortTiles() as s:
            return partial(emit_sort, frame, s)
        case DeepTiles() as s:
            return partial(emit_deep, frame, s)
        case CrossLayerTiles() as s:
            return prepare_cross_layer(frame, s)
        case SideBySide():
            return _prepare_parts(frame, program)
    raise AssertionError(program.schedule)


def _with_borders(frame: Frame, emit: Callable[[], None]) -> None:
    emit()
    emit_borders(frame)


def _prepare_parts(frame: Frame, program: TileProgram) -> Callable[[], None]:
    """Each part for the blocks that are its own; all use the same shared memory."""
    branches: list[tuple[Condition, Callable[[], None]]] = []
    first = 0
    for number, (part, schedule) in enumerate(zip(components(program.group), program.schedule.stages, strict=True)):
        own = tile_program(part, schedule)
        at = frame.block[0] - first
        block = _own_block(frame, f"part{number}", at, own.tiles)
        shared = _own_arrays(frame, _shared_shapes(own))
        branches.append(
            (
                Condition(at, 0, own.tile_count - 1),
                _prepare(replace(frame, group=part, block=block, shared=shared), own),
            )
        )
        first += own.tile_count

    def parts() -> None:
        for condition, body in branches:
            frame.builder.when([condition], body)
            frame.builder.forget()

    return parts


def _own_block(frame: Frame, name: str, at: Expr, tiles: Sequence[int]) -> tuple[Expr, Expr, Expr]:
    """The number of a block in its part's own grid, inside it also for blocks of other parts."""
    count = math.prod(tiles)
    inside = minimum(maximum(at, 0), count - 1)
    z, y, x = delinearize(inside, tuple(reversed((*tiles, *(1 for _ in range(3 - len(tiles)))))))
    found = []
    for axis, e in zip("xyz", (x, y, z), strict=True):
        if e.is_constant:
            found.append(e)
            continue
        named = Expr(0, ((Var(frame.builder.fresh_name(f"{name}.{axis}"), *e.range), 1),))
        frame.builder.bind(named, frame.builder.index(e), affine=True)
        found.append(named)
    return found[0], found[1], found[2]


def _own_arrays(frame: Frame, shapes: Sequence[SharedShape]) -> list[Any]:
    """A part's arrays in the shared memory of the kernel, one after the other."""
    found: list[Any] = []
    offset = 0
    for shape in shapes:
        sizes = [size for size in shape if isinstance(size, int)]
        found.append(SharedPart(frame.shared[0], offset, sizes[-1]) if len(sizes) == 2 else frame.shared[0])
        offset += _padded(math.prod(sizes))
    return found


def _padded(elements: int) -> int:
    return -(-elements // 4) * 4


def _registers(schedule: SimtSchedule) -> int | None:
    """How many registers a thread may have, if its schedule says."""
    if isinstance(schedule, DeepTiles | CrossLayerTiles | SideBySide):
        return max((r for r in map(_registers, schedule.stages) if r), default=None)
    return schedule.registers if isinstance(schedule, ContractTiles) else None


def _shared_shapes(program: TileProgram) -> tuple[SharedShape, ...]:
    """Rows and columns of each shared array, and its element type where that is not f32; or the size of a flat one."""
    match program.schedule:
        case ContractTiles() as s:
            operands = (BUFFERS * s.block_k, s.block_m), (BUFFERS * s.block_k, s.block_n)
            return (*operands, (s.k_groups * s.block_n, s.block_m)) if s.result_in_shared(program.group) else operands
        case SortTiles():
            assert program.group.anchor is not None
            plan = SortPlan(program.group.anchor.node)
            key = f"i{8 * key_bytes(plan.node.inputs[0].dtype)}"
            return (1, plan.length, key), (1, plan.length, "i32")
        case RowTiles() as s:
            assert program.group.anchor is not None
            scratch = (1, s.threads // WARP)
            return (scratch, (s.threads // s.team, row_length(program.group.anchor))) if s.resident else (scratch,)
        case TeamTiles() as s:
            return ((1, s.threads // WARP),) if s.team > WARP else ()
        case DeepTiles() as s:
            return ((SimtDeepPlan(program.group, s).shared_elements,),)
        case SideBySide() as s:
            parts = [tile_program(g, how) for g, how in zip(components(program.group), s.stages, strict=True)]
            most = max(
                sum(_padded(math.prod(n for n in shape if isinstance(n, int))) for shape in _shared_shapes(part))
                for part in parts
            )
            return ((most,),) if most else ()
        case CrossLayerTiles() as s:
            elements = SimtCrossLayerPlan(program.group, s).shared_elements
            return ((elements,),) if elements else ()
    return ()
