"""Schedules of CPU kernels and the choice among them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mlirfuse.device import Device
from mlirfuse.dialect import semantics
from mlirfuse.lowering.groups.cpu_rates import cycles_per_second
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.schedule.choose_contract import choose_contract, contract_alternatives
from mlirfuse.lowering.schedule.host_contract import ContractPlan, ContractTiles
from mlirfuse.lowering.schedule.host_cross_layer import (
    CrossLayerLoops,
    HostCrossLayerPlan,
    choose_cross_layer,
    ranked_schedules,
)
from mlirfuse.lowering.schedule.host_deep import DeepLoops, HostDeepPlan, StageLoops, choose_deep
from mlirfuse.lowering.schedule.host_map import MapLoops, map_sections, map_weight_layouts
from mlirfuse.lowering.schedule.host_map_choice import choose_map, even_tiles, map_alternatives, tile_target
from mlirfuse.lowering.schedule.host_rows import RowLoops, RowPlan, choose_rows
from mlirfuse.lowering.schedule.packing import Packing
from mlirfuse.lowering.schedule.program import Box, Stage, TileProgram
from mlirfuse.lowering.schedule.sorting import SortLoops, SortPlan

__all__ = [
    "HostSchedule",
    "choose_host_schedule",
    "host_alternatives",
    "host_program",
    "host_schedule_from_dict",
    "host_schedule_to_dict",
    "host_weight_layouts",
    "weight_packings",
]

CYCLES_PER_COMPARATOR = 8.0
HostSchedule = StageLoops | SortLoops | DeepLoops | CrossLayerLoops
_KINDS: dict[str, type[HostSchedule]] = {
    "map": MapLoops,
    "contract": ContractTiles,
    "row": RowLoops,
    "sort": SortLoops,
    "deep": DeepLoops,
    "cross-layer": CrossLayerLoops,
}


def host_schedule_to_dict(schedule: HostSchedule) -> dict[str, Any]:
    """The schedule as plain data, with its kind."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(schedule, cls))
    if isinstance(schedule, DeepLoops):
        orders = [",".join(map(str, order)) for order in schedule.orders]
        stages = [json.dumps(host_schedule_to_dict(stage)) for stage in schedule.stages]
        return {"kind": kind, "rows": schedule.rows, "part": schedule.part, "orders": orders, "stages": stages}
    if isinstance(schedule, CrossLayerLoops):
        orders = [",".join(map(str, order)) for order in schedule.orders]
        stages = [json.dumps(host_schedule_to_dict(stage)) for stage in schedule.stages]
        return {"kind": kind, "tile": schedule.tile, "orders": orders, "stages": stages, "walk": schedule.walk}
    return {"kind": kind, **asdict(schedule)}


def host_schedule_from_dict(data: dict[str, Any]) -> HostSchedule:
    fields = {k: v for k, v in data.items() if k != "kind"}
    if "stages" in data:
        fields["orders"] = tuple(tuple(int(axis) for axis in order.split(",")) for order in data["orders"])
        fields["stages"] = tuple(_stage_from_json(text) for text in data["stages"])
    return _KINDS[data["kind"]](**fields)


def _stage_from_json(text: str) -> HostSchedule:
    """The inverse of what `host_schedule_to_dict` writes for a stage; JSON knows lists alone."""
    data = json.loads(text)
    return host_schedule_from_dict({k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


def choose_host_schedule(group: Group, device: Device) -> HostSchedule:
    """The schedule of a group on a CPU; every group has one, since any value can be computed point by point."""
    if group.anchor is not None and group.anchor.node.op == "sort":
        return choose_sort(group, device)
    staged = (choose_deep(group, device) or choose_cross_layer(group, device)) if len(group.anchors) > 1 else None
    return staged or choose_contract(group, device) or choose_rows(group, device) or choose_map(group, device)


def choose_sort(group: Group, device: Device) -> SortLoops:
    """A sort's runs shared out by the time that its network takes."""
    assert group.anchor is not None
    node = group.anchor.node
    seconds = semantics(node.op).flops(node) * CYCLES_PER_COMPARATOR / cycles_per_second(device)
    return SortLoops(even_tiles(SortPlan(node).units, tile_target(seconds, device)))


def host_alternatives(group: Group, device: Device) -> list[HostSchedule]:
    """Legal schedules of the kind that is chosen; none of rows."""
    chosen = choose_host_schedule(group, device)
    if isinstance(chosen, ContractTiles):
        return [*contract_alternatives(group, device)]
    if isinstance(chosen, CrossLayerLoops):
        return [*ranked_schedules(group, device)]
    return [*map_alternatives(group, device)] if isinstance(chosen, MapLoops) else []


def host_weight_layouts(group: Group, schedule: HostSchedule) -> Mapping[int, tuple[int, ...]]:
    """Memory orders that constant operands should have; those that are packed keep theirs."""
    if isinstance(schedule, CrossLayerLoops):
        return HostCrossLayerPlan(group, schedule).weight_layouts
    return map_weight_layouts(group, schedule) if isinstance(schedule, MapLoops) else {}


def weight_packings(group: Group, schedule: HostSchedule) -> Mapping[int, Packing]:
    """How constant operands must be rearranged for the schedule; the kernel reads the result as a flat buffer."""
    if isinstance(schedule, CrossLayerLoops):
        packings = HostCrossLayerPlan(group, schedule).packings
        assert not isinstance(packings, str), packings
        return packings
    if not isinstance(schedule, ContractTiles):
        return {}
    plan = ContractPlan(group, schedule)
    return {} if plan.packing is None else {plan.w_value: plan.packing}


def host_program(group: Group, schedule: HostSchedule) -> TileProgram:
    """The tile program of a group under a schedule."""
    boxes = tuple(Box(v, group.types[v].dims, "global", group.types[v].bytes) for v in (*group.inputs, *group.outputs))
    if isinstance(schedule, ContractTiles):
        return _contract_program(group, schedule, boxes)
    if isinstance(schedule, RowLoops):
        return _row_program(group, schedule, boxes)
    if isinstance(schedule, SortLoops):
        return _sort_program(group, schedule, boxes)
    if isinstance(schedule, DeepLoops):
        return _deep_program(group, schedule, boxes)
    if isinstance(schedule, CrossLayerLoops):
        return _cross_layer_program(group, schedule, boxes)
    tiles = sum(section.tiles for section in map_sections(group, schedule))
    stages = tuple(Stage("map", v, "vector") for v in group.outputs)
    return TileProgram(group, schedule, (max(1, tiles),), 1, boxes, stages)


def _contract_program(group: Group, schedule: ContractTiles, boxes: tuple[Box, ...]) -> TileProgram:
    plan = ContractPlan(group, schedule)
    stages = [
        Stage("contract", plan.member.result, "register-tile"),
        *(Stage("copy_out", v, "vector") for v in group.outputs),
    ]
    if schedule.staged:
        boxes = (*boxes, Box(plan.a_value, plan.box, "shared", plan.scratch_bytes))
        stages.insert(0, Stage("copy_in", plan.a_value, "vector"))
    return TileProgram(group, schedule, plan.tiles, 1, boxes, tuple(stages), plan.scratch_bytes)


def _sort_program(group: Group, schedule: SortLoops, boxes: tuple[Box, ...]) -> TileProgram:
    assert group.anchor is not None
    plan, anchor = SortPlan(group.anchor.node), group.anchor
    run = Box(anchor.operands[0], (plan.length,), "shared", plan.scratch_bytes)
    stages = (Stage("sort", anchor.result, "bitonic network"), *(Stage("copy_out", v, "scalar") for v in group.outputs))
    return TileProgram(group, schedule, (schedule.tiles,), 1, (*boxes, run), stages, plan.scratch_bytes)


def _row_program(group: Group, schedule: RowLoops, boxes: tuple[Box, ...]) -> TileProgram:
    plan = RowPlan(group, schedule)
    stages = (Stage("row", plan.anchor.result, "vector"), *(Stage("copy_out", v, "vector") for v in group.outputs))
    scratch = plan.scratch_bytes if schedule.kept else 0
    if scratch:
        boxes = (*boxes, Box(plan.operand, (plan.scratch_elements,), "shared", scratch))
    return TileProgram(group, schedule, (schedule.tiles,), 1, boxes, stages, scratch)


def _deep_program(group: Group, schedule: DeepLoops, boxes: tuple[Box, ...]) -> TileProgram:
    plan = HostDeepPlan(group, schedule)
    kinds = {MapLoops: "map", ContractTiles: "contract", RowLoops: "row"}
    stages = [
        Stage(kinds[type(how)], stage.link.kept, "register-tile" if isinstance(how, ContractTiles) else "vector")
        for stage, how in zip(plan.stages, schedule.stages, strict=True)
    ]
    stages += [Stage("copy_out", v, "vector") for v in group.outputs]
    kept = [Box(s.link.kept, s.box.sizes, "shared", 4 * math.prod(s.box.sizes)) for s in plan.stages[:-1]]
    return TileProgram(group, schedule, plan.tiles, 1, (*boxes, *kept), tuple(stages), plan.scratch_bytes)


def _cross_layer_program(group: Group, schedule: CrossLayerLoops, boxes: tuple[Box, ...]) -> TileProgram:
    plan = HostCrossLayerPlan(group, schedule)
    stages = [
        Stage("contract" if isinstance(how, ContractTiles) else "map", stage.root.result, _how(how))
        for stage, how in zip(plan.stages.stages, schedule.stages, strict=True)
    ]
    stages += [Stage("copy_out", v, "vector") for v in group.outputs]
    kept = [Box(v, box.sizes, "shared", 4 * box.elements) for v, box in plan.kept.items()]
    kept += [Box(v, box.sizes, "shared", 4 * box.elements) for v, box in plan.lines.items()]
    return TileProgram(group, schedule, plan.walks, 1, (*boxes, *kept), tuple(stages), plan.scratch_bytes)


def _how(schedule: StageLoops) -> str:
    return "register-tile" if isinstance(schedule, ContractTiles) else "vector"
