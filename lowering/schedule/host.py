"""Schedules of CPU kernels and the choice among them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mlirfuse.device import Device
from mlirfuse.lowering.schedule.group import Group
from mlirfuse.lowering.schedule.host_map import MapLoops, choose_map, map_sections
from mlirfuse.lowering.schedule.program import Box, Stage, TileProgram

__all__ = ["HostSchedule", "choose_host_schedule", "host_program", "host_schedule_from_dict", "host_schedule_to_dict"]

HostSchedule = MapLoops
_KINDS: dict[str, type[HostSchedule]] = {"map": MapLoops}


def host_schedule_to_dict(schedule: HostSchedule) -> dict[str, Any]:
    """The schedule as plain data, with its kind."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(schedule, cls))
    return {"kind": kind, **asdict(schedule)}


def host_schedule_from_dict(data: dict[str, Any]) -> HostSchedule:
    fields = {k: v for k, v in data.items() if k != "kind"}
    return _KINDS[data["kind"]](**fields)


def choose_host_schedule(group: Group, device: Device) -> HostSchedule:
    """The schedule of a group on a CPU; every group has one, since any value can be computed point by point."""
    return choose_map(group, device)


def host_program(group: Group, schedule: HostSchedule) -> TileProgram:
    """The tile program of a group under a schedule."""
    boxes = tuple(Box(v, group.types[v].dims, "global", group.types[v].bytes) for v in (*group.inputs, *group.outputs))
    tiles = sum(section.tiles for section in map_sections(group, schedule))
    stages = tuple(Stage("map", v, "vector") for v in group.outputs)
    return TileProgram(group, schedule, (max(1, tiles),), 1, boxes, stages)
