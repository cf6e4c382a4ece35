"""Schedule families: what kind of machine a schedule is for decides which schedules there are.

A family registers itself under the kind of its devices; passes look it up by the device and never ask
which target they compile for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlirfuse.device import Device
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.schedule.packing import Packing
from mlirfuse.lowering.schedule.program import TileProgram

__all__ = ["FAMILIES", "Family", "family_of", "register_family"]


@dataclass(frozen=True)
class Family:
    """How groups are scheduled on one kind of device.

    `choose` picks a schedule, `program` makes the tile program; `to_dict` and `from_dict` carry schedules through
    attributes and databases. Constant operands may be wanted in a memory order of their own (`weight_layouts`, read
    by index) or rearranged altogether (`weight_packings`, read flat). `alternatives` are the legal schedules that a
    search may measure, the most promising first. `tile_of` gives a tile's extents along the frame of a group that a
    schedule computes in stages over boxes (`groups.boxes`), else None; `parts_of` the channels that each adds up at a
    time, where it does not add up all; `walk_of` how many tiles are computed one after the other, `cluster_of` how many
    blocks share one.
    """

    kind: str
    choose: Callable[[Group, Device], Any]
    program: Callable[[Group, Any], TileProgram]
    to_dict: Callable[[Any], dict[str, Any]]
    from_dict: Callable[[dict[str, Any]], Any]
    weight_layouts: Callable[[Group, Any], Mapping[int, tuple[int, ...]]] = lambda group, schedule: {}
    weight_packings: Callable[[Group, Any], Mapping[int, Packing]] = lambda group, schedule: {}
    alternatives: Callable[[Group, Device], Sequence[Any]] = lambda group, device: ()
    tile_of: Callable[[Any], tuple[int, ...] | None] = lambda schedule: getattr(schedule, "tile", None)
    parts_of: Callable[[Any], tuple[int, ...]] = lambda schedule: getattr(schedule, "parts", ())
    walk_of: Callable[[Any], int] = lambda schedule: getattr(schedule, "walk", 1)
    cluster_of: Callable[[Any], int] = lambda schedule: getattr(schedule, "cluster", 1)


FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> Family:
    FAMILIES[family.kind] = family
    return family


def family_of(device: Device) -> Family:
    """The family of a device's kind."""
    return FAMILIES[device.kind]
