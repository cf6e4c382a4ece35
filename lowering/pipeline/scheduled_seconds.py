"""The predicted time of a launch, from the scheduled stage."""

from __future__ import annotations

from typing import Any

from mlirfuse.device import Device
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.launch_cost import launch_seconds
from mlirfuse.lowering.schedule.families import Family

__all__ = ["scheduled_seconds"]


def scheduled_seconds(group: Group, schedule: Any, family: Family, dram_bytes: int, device: Device) -> float:
    """What the cost model says of a group's kernel, which moves so many bytes from and to DRAM.

    Its tile, parts and walk are the schedule's; threads, clusters and register tiles are those that the model takes.
    """
    tile = family.tile_of(schedule)
    parts = () if tile is None else family.parts_of(schedule)
    return launch_seconds(group, dram_bytes, device, tile, parts, family.walk_of(schedule))
