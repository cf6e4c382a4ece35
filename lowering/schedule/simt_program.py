"""Tile programs of SIMT schedules."""

from __future__ import annotations

import math

from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.schedule.families import Family, register_family
from mlirfuse.lowering.schedule.problem import contract_problem
from mlirfuse.lowering.schedule.program import Box, Stage, TileProgram
from mlirfuse.lowering.schedule.side_by_side import SideBySide
from mlirfuse.lowering.schedule.simt import (
    WARP,
    ContractTiles,
    MapTiles,
    RowTiles,
    TeamTiles,
    row_length,
)
from mlirfuse.lowering.schedule.simt_choice import choose_schedule, weight_layouts
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles, SimtCrossLayerPlan
from mlirfuse.lowering.schedule.simt_deep import DeepTiles, SimtDeepPlan
from mlirfuse.lowering.schedule.simt_forms import SimtSchedule, schedule_from_dict, schedule_to_dict
from mlirfuse.lowering.schedule.sorting import SortPlan, SortTiles

__all__ = ["SIMT", "tile_program"]

_HOW = {ContractTiles: ("contract", "register-tile"), TeamTiles: ("reduce", "team"), MapTiles: ("map", "scalar")}


def tile_program(group: Group, schedule: SimtSchedule) -> TileProgram:
    """The tile program of a group under a schedule."""
    anchor = group.anchor
    match schedule:
        case MapTiles():
            most = max(group.types[o].size for o in group.outputs)
            tiles = (math.ceil(most / (schedule.threads * schedule.vector)), 1, 1)
            how = "vector" if schedule.vector > 1 else "scalar"
            return TileProgram(
                group,
                schedule,
                tiles,
                schedule.threads,
                _global_boxes(group),
                tuple(Stage("map", o, how) for o in group.outputs),
            )
        case TeamTiles():
            assert anchor is not None
            tiles = (math.ceil(anchor.node.out.size * schedule.team / schedule.threads), 1, 1)
            stages = (Stage("reduce", anchor.result, "team"), *_copy_out(group))
            shared = 4 * (schedule.threads // WARP) if schedule.team > WARP else 0
            return TileProgram(group, schedule, tiles, schedule.threads, _global_boxes(group), stages, shared)
        case RowTiles():
            assert anchor is not None
            rows = anchor.node.out.size // row_length(anchor)
            tiles = (math.ceil(rows * schedule.team / schedule.threads), 1, 1)
            row = Box(
                anchor.operands[0],
                (row_length(anchor),),
                "shared" if schedule.resident else "global",
                4 * row_length(anchor),
            )
            stages = (
                Stage("copy_in", anchor.operands[0], "shared row"),
                Stage("row", anchor.result, "team"),
                *_copy_out(group),
            )
            return TileProgram(
                group,
                schedule,
                tiles,
                schedule.threads,
                (row, *_global_boxes(group)),
                stages,
                schedule.shared_bytes(group),
            )
        case SortTiles():
            assert anchor is not None
            plan = SortPlan(anchor.node)
            run = Box(anchor.operands[0], (plan.length,), "shared", plan.scratch_bytes)
            stages = (
                Stage("copy_in", anchor.operands[0], "shared run"),
                Stage("sort", anchor.result, "bitonic network"),
                *_copy_out(group),
            )
            return TileProgram(
                group,
                schedule,
                (plan.units, 1, 1),
                schedule.threads,
                (run, *_global_boxes(group)),
                stages,
                plan.scratch_bytes,
            )
        case ContractTiles():
            assert anchor is not None
            p = contract_problem(anchor.node)
            tiles = (math.ceil(p.m / schedule.block_m), math.ceil(p.n / schedule.block_n), p.batch)
            a = Box(
                anchor.operands[0],
                (schedule.block_k, schedule.block_m),
                "shared",
                4 * schedule.block_k * schedule.block_m,
            )
            b = Box(
                anchor.operands[1],
                (schedule.block_k, schedule.block_n),
                "shared",
                4 * schedule.block_k * schedule.block_n,
            )
            held = (schedule.thread_n, schedule.thread_m)
            c = Box(anchor.result, held, "register", 4 * schedule.thread_m * schedule.thread_n)
            boxes = [a, b, c]
            if schedule.result_in_shared(group):
                whole = (schedule.k_groups * schedule.block_n, schedule.block_m)
                boxes.append(Box(anchor.result, whole, "shared", 4 * math.prod(whole)))
            stages = (
                Stage("copy_in", a.value, "streamed"),
                Stage("copy_in", b.value, "streamed"),
                Stage("contract", anchor.result, "register-tile"),
                *_copy_out(group, "shared tile" if schedule.result_in_shared(group) else "registers"),
            )
            return TileProgram(
                group,
                schedule,
                tiles,
                schedule.threads,
                (*boxes, *_global_boxes(group)),
                stages,
                schedule.shared_bytes(group),
            )
        case DeepTiles():
            return _deep_program(group, schedule)
        case SideBySide():
            return _side_by_side_program(group, schedule)
        case CrossLayerTiles():
            return _cross_layer_program(group, schedule)


def _deep_program(group: Group, schedule: DeepTiles) -> TileProgram:
    plan = SimtDeepPlan(group, schedule)
    kept = [Box(s.link.kept, s.box.sizes, "shared", 4 * math.prod(s.box.sizes)) for s in plan.stages[:-1]]
    hows = [("row", "team") if isinstance(how, RowTiles) else ("contract", "register-tile") for how in schedule.stages]
    stages = [Stage(kind, s.link.kept, how) for s, (kind, how) in zip(plan.stages, hows, strict=True)]
    return TileProgram(
        group,
        schedule,
        plan.grid,
        schedule.threads,
        (*kept, *_global_boxes(group)),
        (*stages, *_copy_out(group)),
        plan.shared_bytes,
    )


def _cross_layer_program(group: Group, schedule: CrossLayerTiles) -> TileProgram:
    plan = SimtCrossLayerPlan(group, schedule)
    kept = [Box(v, box.sizes, "shared", 4 * plan.kept_span(v)) for v, box in plan.kept.items()]
    kept += [Box(v, box.sizes, "shared", 4 * box.elements) for v, box in plan.lines.items()]
    hows = [_HOW[type(how)] for how in schedule.stages]
    stages = [Stage(kind, s.root.result, how) for s, (kind, how) in zip(plan.stages, hows, strict=True)]
    return TileProgram(
        group,
        schedule,
        (plan.blocks, 1, 1),
        schedule.threads,
        (*kept, *_global_boxes(group)),
        (*stages, *_copy_out(group)),
        plan.shared_bytes,
    )


def _side_by_side_program(group: Group, schedule: SideBySide) -> TileProgram:
    parts = [tile_program(part, tiles) for part, tiles in zip(components(group), schedule.stages, strict=True)]
    own = [box for part in parts for box in part.boxes if box.place != "global"]
    return TileProgram(
        group,
        schedule,
        (sum(part.tile_count for part in parts), 1, 1),
        schedule.threads,
        (*own, *_global_boxes(group)),
        tuple(stage for part in parts for stage in part.stages),
        max(part.shared_bytes for part in parts),
    )


def _global_boxes(group: Group) -> tuple[Box, ...]:
    return tuple(Box(v, group.types[v].dims, "global", group.types[v].bytes) for v in (*group.inputs, *group.outputs))


def _copy_out(group: Group, source: str = "registers") -> tuple[Stage, ...]:
    return tuple(Stage("copy_out", o, source) for o in group.outputs)


SIMT = register_family(
    Family("gpu", choose_schedule, tile_program, schedule_to_dict, schedule_from_dict, weight_layouts=weight_layouts)
)
