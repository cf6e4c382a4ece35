"""A pass that pretends to have searched: another schedule than the chosen one was fastest for every group."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mlirfuse.device import host_device
from mlirfuse.lowering.groups.group import group_of
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.lowering.profile import (
    FoundSchedule,
    ProfileDatabase,
    compiler_version,
    device_identity,
    structure_key,
)
from mlirfuse.lowering.schedule.families import family_of
from mlirfuse.lowering.schedule.tuned import group_structure, schedule_to_json


@register_pass
@dataclass(frozen=True)
class PlantSchedule:
    """Store the last alternative of every group."""

    name: ClassVar[str] = "plant-schedule"
    file: str = ""

    def __call__(self, module_op):
        device = host_device()
        family = family_of(device)
        where = {"device": device_identity(device), "compiler": compiler_version(), "date": "", "tool": ""}
        for op in main_function(module_op).regions[0].blocks[0].operations:
            if op.operation.name != "fusion.group":
                continue
            group = group_of(op.operation)
            text = group_structure(group)
            last = schedule_to_json(family.alternatives(group, device)[-1], family)
            found = {"schedule": last, "seconds": 1e-6, "chosen_seconds": 2e-6, "trials": 1}
            row = FoundSchedule(key=structure_key(text), structure=text, **found, **where)
            ProfileDatabase(Path(self.file)).store(row)
