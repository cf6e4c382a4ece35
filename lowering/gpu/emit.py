"""From a tile program to a gpu.func: the one place that kernels of GPUs are made."""

from __future__ import annotations

from collections.abc import Mapping

from mlirfuse.lowering.gpu.border_stage import emit_borders
from mlirfuse.lowering.gpu.contract_stage import emit_contract
from mlirfuse.lowering.gpu.cross_layer_stage import emit_cross_layer
from mlirfuse.lowering.gpu.deep_stage import emit_deep
from mlirfuse.lowering.gpu.frame import SharedShape, Storage, kernel_frame
from mlirfuse.lowering.gpu.map_stage import emit_map
from mlirfuse.lowering.gpu.row_stage import emit_row
from mlirfuse.lowering.gpu.sort_stage import emit_sort
from mlirfuse.lowering.gpu.team_stage import emit_team
from mlirfuse.lowering.schedule.program import TileProgram
from mlirfuse.lowering.schedule.simt import BUFFERS, WARP, ContractTiles, MapTiles, RowTiles, TeamTiles, row_length
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles, SimtCrossLayerPlan
from mlirfuse.lowering.schedule.simt_deep import DeepTiles, SimtDeepPlan
from mlirfuse.lowering.schedule.simt_forms import SimtSchedule
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
        name, group, where, threads=program.workers, grid=program.tiles, shared_shapes=shapes, registers=registers
    ) as (module, frame):
        match schedule:
            case MapTiles():
                emit_map(frame, schedule)
            case TeamTiles():
                emit_team(frame, schedule)
            case RowTiles():
                emit_row(frame, schedule)
            case SortTiles():
                emit_sort(frame, schedule)
            case ContractTiles():
                emit_contract(frame, schedule)
            case DeepTiles():
                emit_deep(frame, schedule)
            case CrossLayerTiles():
                emit_cross_layer(frame, schedule)
        if isinstance(schedule, TeamTiles | RowTiles | ContractTiles):
            emit_borders(frame)
    passmanager.PassManager.parse(_CLEAN_UP).run(module.operation)
    return module


def _registers(schedule: SimtSchedule) -> int | None:
    """How many registers a thread may have, if its schedule says."""
    if isinstance(schedule, DeepTiles | CrossLayerTiles):
        return max((r for r in map(_registers, schedule.stages) if r), default=None)
    return schedule.registers if isinstance(schedule, ContractTiles) else None


def _shared_shapes(program: TileProgram) -> tuple[SharedShape, ...]:
    """Rows and columns of each shared array, and its element type where that is not f32; or the size of a flat one."""
    match program.schedule:
        case ContractTiles() as s:
            operands = (BUFFERS * s.block_k, s.block_m), (BUFFERS * s.block_k, s.block_n)
            return (*operands, (s.block_n, s.block_m)) if s.result_in_shared(program.group) else operands
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
        case CrossLayerTiles() as s:
            elements = SimtCrossLayerPlan(program.group, s).shared_elements
            return ((elements,),) if elements else ()
    return ()
