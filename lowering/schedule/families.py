"""Schedule families: what kind of machine a schedule is for decides which schedules there are.

A family registers itself under the kind of its devices; passes look it up by the device and never ask
which target they compile for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlirfuse.device import Device
from mlirfuse.lowering.schedule.group import Group
from mlirfuse.lowering.schedule.program import TileProgram

__all__ = ["FAMILIES", "Family", "family_of", "register_family"]


@dataclass(frozen=True)
class Family:
    """How groups are scheduled on one kind of device.

    `choose` picks a schedule, `program` makes the tile program, `weight_layouts` says in which memory order
    the schedule wants constant operands; `to_dict` and `from_dict` carry schedules through attributes and databases.
    """

    kind: str
    choose: Callable[[Group, Device], Any]
    program: Callable[[Group, Any], TileProgram]
    weight_layouts: Callable[[Group, Any], Mapping[int, tuple[int, ...]]]
    to_dict: Callable[[Any], dict[str, Any]]
    from_dict: Callable[[dict[str, Any]], Any]


FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> Family:
    FAMILIES[family.kind] = family
    return family


def family_of(device: Device) -> Family:
    """The family of a device's kind."""
    return FAMILIES[device.kind]
