"""Schedules that a search found faster than the chosen one, read from a profile database."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlirfuse.device import Device
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.profile import Operation, Profile, structure_key, structure_of
from mlirfuse.lowering.schedule.families import Family

__all__ = ["TunedSchedules", "group_structure", "schedule_from_json", "schedule_to_json"]


@dataclass(frozen=True)
class TunedSchedules:
    """What a database says of the groups of one module."""

    profile: Profile

    def schedule(self, group: Group, family: Family, device: Device) -> Any | None:
        """The fastest schedule that was measured, if it is still one of this group; else None."""
        text = self.profile.schedules.get(structure_key(group_structure(group))) if self.profile.schedules else None
        if not text:  # not measured, or nothing was faster than what is chosen anyway
            return None
        schedule = schedule_from_json(text, family)
        return None if schedule.why_illegal(group, device) else schedule


def group_structure(group: Group) -> str:
    """The canonical text of a group whose values have their memory order."""
    operations = []
    for m in group.members:
        inputs = tuple(group.types[v] for v in m.operands)
        node = replace(m.node, inputs=inputs, outputs=(group.types[m.result],))
        operations.append(Operation(node, m.operands, m.result))
    kinds: dict[Hashable, str] = {value: f"splat {number}" for value, number in group.immediates}
    return structure_of(operations, group.outputs, kinds)


def schedule_to_json(schedule: Any, family: Family) -> str:
    """A schedule as one line."""
    return json.dumps(family.to_dict(schedule), sort_keys=True)


def schedule_from_json(text: str, family: Family) -> Any:
    """The inverse; JSON knows lists alone, schedules tuples."""
    data: Mapping[str, Any] = json.loads(text)
    return family.from_dict({k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})
