"""What one launch moves of each of its arguments, from the scheduled stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlirfuse.element_types import element_bytes
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.sectors import whole_sectors
from mlirfuse.lowering.groups.traffic import Lying, launch_traffic
from mlirfuse.lowering.pipeline.locations import Location
from mlirfuse.lowering.schedule.families import Family

__all__ = ["launch_bytes"]


def launch_bytes(group: Group, schedule: Any, family: Family, located: Mapping[int, Location]) -> dict[int, int]:
    """Bytes from and to DRAM for each operand and output. Rearranged weights hold what the kernel reads, no more."""
    lying = {number: Lying(where.strides, where.offset) for number, where in located.items()}
    traffic = launch_traffic(group, lying, family.tile_of(schedule), family.walk_of(schedule))
    moved = dict(zip((*group.inputs, *group.outputs), (*traffic.read, *traffic.written), strict=True))
    packings = family.weight_packings(group, schedule)
    packed = {n: p.elements * element_bytes(group.types[n].dtype) for n, p in packings.items()}
    return {**moved, **{n: whole_sectors(size) for n, size in packed.items()}}
