"""What is known of one group: its operators, what it reads, writes and computes, what it takes, and why it is one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlirfuse.device import Device
from mlirfuse.dialect import attribute_value, from_attribute, onnx_nodes
from mlirfuse.explain.facts import GroupFacts, Reuse, SideBySideReuse
from mlirfuse.explain.program import Program, operator_name, shape_of
from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.groups.group import Group, group_of
from mlirfuse.lowering.pipeline.launch_bytes import launch_bytes
from mlirfuse.lowering.pipeline.locations import Location
from mlirfuse.lowering.pipeline.scheduled_seconds import scheduled_seconds
from mlirfuse.lowering.plan.recomputation import recomputed_flops
from mlirfuse.lowering.plan.resources import bytes_read, bytes_written
from mlirfuse.lowering.plan.verdict import Proof
from mlirfuse.lowering.schedule.assign import read_schedule
from mlirfuse.lowering.schedule.families import Family, family_of
from mlirfuse.lowering.schedule.reuse import reuse_of
from mlirfuse.lowering.schedule.side_by_side import SideBySide
from mlirfuse.lowering.schedule.side_by_side_reuse import side_by_side_reuse_of
from mlirfuse.mlir import ir

__all__ = ["facts_of"]


@dataclass(frozen=True)
class _Placed:
    """A group with its schedule, and where its operands and results lie."""

    group: Group
    schedule: Any
    family: Family
    located: dict[int, Location]
    device: Device

    @cached_property
    def moved(self) -> dict[int, int]:
        """Bytes from and to DRAM, by value."""
        return launch_bytes(self.group, self.schedule, self.family, self.located)

    @property
    def seconds(self) -> float:
        """By the cost model."""
        return scheduled_seconds(self.group, self.schedule, self.family, sum(self.moved.values()), self.device)


def facts_of(program: Program, number: int) -> GroupFacts:
    """All of them, of the group of this number."""
    op, members = program.groups[number]
    entries = [program.entries[m] for m in members]
    schedule = _schedule(op)
    read, written = bytes_read(program.graph, members), bytes_written(program.graph, members)
    between = _values_between_nodes(program, members)
    placed = _placed(program, op)
    reuse = None if placed is None else _reuse(program, op, placed)
    flops = sum(e.flops for e in entries)
    tiles = reuse if isinstance(reuse, Reuse) else None
    beside = reuse if isinstance(reuse, SideBySideReuse) else None
    added = recomputed_flops(program.graph, members) if reuse is None else round(reuse.flops_added)
    anchors = [e for e in entries if e.is_anchor]
    empty = all(0 in shape_of(result) for result in op.results)  # nothing is launched for no elements
    results = list(op.results)
    return GroupFacts(
        number=number,
        nodes=tuple(onnx_nodes(op)),
        ops=tuple(operator_name(e.node) for e in entries),
        operators=tuple(members),
        anchor=max(anchors, key=lambda e: e.flops).label if anchors else None,
        anchors=tuple(e.label for e in anchors),
        mapping=attribute_value(op, "mapping", ""),
        mode=attribute_value(op, "mode", ""),
        kernel=None if schedule is None else schedule.get("kind"),
        schedule=schedule,
        shape=shape_of(results[-1]) if results else (),
        flops=flops,
        flops_added=added,
        bytes_read=read,
        bytes_written=written,
        bytes_not_stored=sum(program.entries[m].bytes for m in between),
        bytes_saved=sum(program.entries[m].bytes * (1 + readers) for m, readers in between.items()),
        seconds=0.0 if empty else program.model.kernel_seconds(read + written, flops + added),
        launches=0 if empty else 1,
        predicted_seconds=0.0 if empty else None if placed is None else placed.seconds,
        proof=next(map(Proof.from_json, attribute_value(op, "proofs", ())), None),
        reuse=tiles,
        side_by_side=beside,
    )


def _placed(program: Program, op: ir.Operation) -> _Placed | None:
    """A group with its schedule and where its operands and results lie, once that is known."""
    if program.device is None or not program.locations or "schedule" not in op.attributes:
        return None
    family, group = family_of(program.device), group_of(op)
    values = zip((*group.inputs, *group.outputs), (*op.operands, *op.results), strict=True)
    located = {n: program.locations[v] for n, v in values}
    return _Placed(group, read_schedule(op, family), family, located, program.device)


def _reuse(program: Program, op: ir.Operation, placed: _Placed) -> Reuse | SideBySideReuse | None:
    """What the tiles or the parts of a group share."""
    group, schedule, device = placed.group, placed.schedule, placed.device
    beside = isinstance(schedule, SideBySide)
    if not beside and (len(group.anchors) < 2 or placed.family.tile_of(schedule) is None):
        return None
    names = [program.name(v) for v in op.operands]
    if not beside:
        return reuse_of(group, schedule, device, names, placed.moved)
    parts = zip(components(group), schedule.stages, strict=True)
    of_parts = [launch_bytes(part, tiles, placed.family, placed.located) for part, tiles in parts]
    by_value = dict(zip(group.inputs, names, strict=True))
    return side_by_side_reuse_of(group, schedule, device, by_value, of_parts, sum(placed.moved.values()))


def _values_between_nodes(program: Program, members: list[int]) -> dict[int, int]:
    """Values that do not leave the group and pass from one ONNX node to another: how many others read them."""
    inside = set(members)
    found: dict[int, int] = {}
    for m in members:
        entry = program.entries[m]
        if entry.returned or not inside.issuperset(entry.users):
            continue
        others = {program.entries[u].onnx_nodes for u in entry.users} - {entry.onnx_nodes}
        if others:
            found[m] = len(others)
    return found


def _schedule(op: ir.Operation) -> dict[str, Any] | None:
    if "schedule" not in op.attributes:
        return None
    return {item.name: from_attribute(item.attr) for item in ir.DictAttr(op.attributes["schedule"])}
