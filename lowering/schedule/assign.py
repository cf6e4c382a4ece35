"""`fusion-schedule`: choose a schedule for every group and let its weights take the layout that it reads."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mlirfuse.device import Device, scheduling_device
from mlirfuse.dialect import attribute_value, from_attribute, to_attribute, type_from_mlir, type_to_mlir
from mlirfuse.dialect.mixed import segment_sizes
from mlirfuse.dialect.node import TensorType
from mlirfuse.lowering.groups.group import group_of
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.profile import ProfileDatabase, compiler_version, device_identity
from mlirfuse.lowering.schedule import host_family, simt_program  # noqa: F401  they register their families
from mlirfuse.lowering.schedule.families import Family, family_of
from mlirfuse.lowering.schedule.tuned import TunedSchedules
from mlirfuse.mlir import ir

__all__ = ["AssignSchedules", "read_schedule", "schedule_attribute"]


@register_pass
@dataclass(frozen=True)
class AssignSchedules:
    """Attach a `schedule` to every group, chosen for `device` (a chip such as sm_90, or host).

    A group that has a schedule keeps it. With a profile `database`, what a search found on this device (host: with
    `threads`; 0 is every core) comes before the choice, and the module says in `fusion.profile` which content was read.
    Constant operands get the layout that the schedule wants, as a weight op of their own.
    """

    name: ClassVar[str] = "fusion-schedule"
    device: str = "host"
    database: str = ""
    threads: int = 0

    def __call__(self, op: ir.Operation, /) -> None:
        device = scheduling_device(self.device)
        family = family_of(device)
        tuned = self._tuned(device)
        if tuned is not None:
            op.attributes["fusion.profile"] = to_attribute(tuned.profile.digest)
        chosen: dict[Hashable, Any] = {}  # equal groups are scheduled once
        for group in _groups(op):
            data = group_of(group)
            schedule = read_schedule(group, family)
            if schedule is None:
                key = data.structure, tuple(m.node.constant for m in data.members)
                if key not in chosen:
                    found = None if tuned is None else tuned.schedule(data, family, device)
                    chosen[key] = family.choose(data, device) if found is None else found
                schedule = chosen[key]
                group.attributes["schedule"] = schedule_attribute(family.to_dict(schedule))
            for operand, layout in family.weight_layouts(data, schedule).items():
                _use_layout(group, data.inputs.index(operand), layout)

    def _tuned(self, device: Device) -> TunedSchedules | None:
        if not self.database:
            return None
        identity = device_identity(device, self.threads)
        return TunedSchedules(ProfileDatabase(Path(self.database)).profile(identity, compiler_version()))


def read_schedule(group: Any, family: Family) -> Any:
    """The schedule attached to a group, or None."""
    if "schedule" not in group.attributes:
        return None
    attribute = ir.DictAttr(group.attributes["schedule"])
    return family.from_dict({item.name: from_attribute(item.attr) for item in attribute})


def schedule_attribute(data: dict[str, Any]) -> ir.DictAttr:
    """The attribute of a schedule as a family's `to_dict` gives it."""
    return ir.DictAttr.get({name: to_attribute(value) for name, value in data.items()})


def _groups(module: ir.Operation) -> list[Any]:
    """Every group of every function of a module."""
    functions = [f for f in module.regions[0].blocks[0].operations if f.operation.name == "func.func"]
    return [
        op.operation
        for f in functions
        for block in f.regions[0]
        for op in block.operations
        if op.operation.name == "fusion.group"
    ]


def _use_layout(group: Any, position: int, layout: tuple[int, ...]) -> None:
    """Let operand `position` come from a weight op with this layout."""
    value = group.operands[position]
    tensor = type_from_mlir(value.type)
    wanted = type_to_mlir(
        TensorType(tensor.shape, tensor.dtype, None if layout == tuple(range(tensor.rank)) else layout)
    )
    if value.type == wanted:
        return
    owner = value.owner
    with ir.InsertionPoint(owner), owner.operation.location:
        packed = ir.Operation.create(
            "fusion.weight", results=[wanted], attributes={"key": to_attribute(attribute_value(owner, "key"))}
        )
    group.operands[position] = packed.results[0]
    group.regions[0].blocks[0].arguments[position].set_type(wanted)
    for name, sizes in segment_sizes([v.type for v in group.operands], [r.type for r in group.results]).items():
        group.attributes[name] = sizes
    if not list(value.uses):
        owner.operation.erase()
