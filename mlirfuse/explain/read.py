"""The explanation of a module at stage planned or scheduled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mlirfuse.device import Device, planning_device
from mlirfuse.dialect import attribute_value, from_attribute, node_of, onnx_nodes, semantics, type_from_mlir
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.dialect.node import Node
from mlirfuse.explain.facts import (
    Edge,
    Explanation,
    GroupFacts,
    JoinedEdge,
    Operator,
    Reuse,
    SideBySideReuse,
    Totals,
    Value,
)
from mlirfuse.lowering.algebra.rewrite_algebra import rewrites_of
from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.groups.group import Group, group_of
from mlirfuse.lowering.pipeline.launch_bytes import launch_bytes
from mlirfuse.lowering.pipeline.locations import Location, locate_values
from mlirfuse.lowering.pipeline.scheduled_seconds import scheduled_seconds
from mlirfuse.lowering.plan.graph import Graph, GraphNode, main_function, source_of
from mlirfuse.lowering.plan.recomputation import recomputed_flops
from mlirfuse.lowering.plan.resources import ResourceModel, bytes_read, bytes_written
from mlirfuse.lowering.plan.verdict import Proof, Verdict
from mlirfuse.lowering.schedule.assign import read_schedule
from mlirfuse.lowering.schedule.families import Family, family_of
from mlirfuse.lowering.schedule.reuse import reuse_of
from mlirfuse.lowering.schedule.side_by_side import SideBySide
from mlirfuse.lowering.schedule.side_by_side_reuse import side_by_side_reuse_of
from mlirfuse.mlir import context, ir

__all__ = ["explain_module", "explain_text"]

Ends = tuple[tuple[str, ...], tuple[str, ...], int, int]  # names and numbers of producer and consumer


def explain_text(text: str, target: str = "") -> Explanation:
    """The explanation of a module at stage planned or scheduled, as `--emit` prints it."""
    with context():
        return explain_module(ir.Module.parse(text), target)


def explain_module(module: ir.Module, target: str = "") -> Explanation:
    """As `explain_text`, in the context of the module."""
    program = _Program.read(module.operation)
    groups = tuple(program.facts(number) for number in range(len(program.groups)))
    edges, joined = program.edges()
    stored = {e.producer_number: program.entries[e.producer_number].bytes for e in edges}
    return Explanation(
        model=attribute_value(module.operation, "fusion.model", ""),
        target=target,
        operators=tuple(map(program.operator, program.entries)),
        groups=groups,
        edges=tuple(edges),
        joined=tuple(joined),
        inputs=program.inputs(),
        outputs=program.outputs(),
        rewrites=rewrites_of(module),
        device=attribute_value(module.operation, "fusion.device", ""),
        totals=_totals(program, groups, edges, joined, sum(stored.values())),
    )


def _totals(
    program: _Program, groups: tuple[GroupFacts, ...], edges: list[Edge], joined: list[JoinedEdge], stored: int
) -> Totals:
    copied = program.host_copy_bytes()
    return Totals(
        operators=len(program.entries),
        groups=len(groups),
        launches=sum(g.launches for g in groups) + sum(place == "host" for place in program.places),
        edges_fused=len(joined),
        edges_not_fused=len(edges),
        flops=sum(g.flops for g in groups),
        flops_added=sum(g.flops_added for g in groups),
        bytes_moved=sum(g.bytes_read + g.bytes_written for g in groups),
        bytes_not_stored=sum(g.bytes_not_stored for g in groups),
        bytes_saved=sum(g.bytes_saved for g in groups),
        intermediate_bytes=stored,
        host_copy_bytes=copied,
        seconds=sum(g.seconds for g in groups) + program.model.copy_seconds(copied),
        predicted_seconds=sum(g.predicted_seconds or 0.0 for g in groups) + program.model.copy_seconds(copied),
    )


@dataclass
class _Program:
    """Every operation of the module, groups opened, as one graph; and where each is.

    `operands[i]` has, for operator i and each value that it reads, the operator that makes it, or None; `model` is the
    one that decided, for `device`; `locations` are known once buffers are assigned.
    """

    entries: list[GraphNode] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    group_of: list[int | None] = field(default_factory=list)
    groups: list[tuple[ir.Operation, list[int]]] = field(default_factory=list)
    verdicts: dict[tuple[Any, ...], Verdict] = field(default_factory=dict)  # by names, and by names and bytes
    makers: dict[Any, int] = field(default_factory=dict)  # value outside of groups -> operator
    arguments: list[tuple[str, Any]] = field(default_factory=list)
    readers: dict[Any, list[int]] = field(default_factory=dict)  # argument of the function -> operators
    returned: list[tuple[str, Any]] = field(default_factory=list)
    model: ResourceModel = field(default_factory=ResourceModel)
    device: Device | None = None
    locations: dict[Any, Location] = field(default_factory=dict)

    @classmethod
    def read(cls, module_op: ir.Operation) -> _Program:
        function = main_function(module_op)
        body = function.regions[0].blocks[0]
        name = attribute_value(module_op, "fusion.device")
        device = planning_device(name) if name else None
        program = cls(model=ResourceModel() if device is None else ResourceModel.of(device), device=device)
        if "fusion.arena_bytes" in function.attributes:
            program.locations = locate_values(function)
        names = attribute_value(function, "fusion.inputs", ())
        program.arguments = list(zip(names, body.arguments, strict=False))
        program.readers = {argument: [] for argument in body.arguments}
        for view in body.operations:
            program._add(view.operation)
        terminator = list(body.operations)[-1].operation
        program.returned = list(zip(attribute_value(function, "fusion.outputs", ()), terminator.operands, strict=False))
        program._link({program.makers[v] for v in terminator.operands if v in program.makers})
        return program

    def _add(self, op: ir.Operation) -> None:
        for line in attribute_value(op, "verdicts", ()):
            verdict = Verdict.from_json(line)
            ends = (verdict.producer, verdict.consumer)
            self.verdicts.setdefault(ends, verdict)
            self.verdicts.setdefault((*ends, verdict.numbers.get("bytes")), verdict)
        if op.name == "fusion.group":
            self._add_group(op)
        elif op.name not in (*CONSTANTS, "func.return"):
            place = "host" if op.name == "fusion.fallback" else "in place"
            operands = [self._operand(v, len(self.entries)) for v in op.operands]
            number = self._append(op, operands, place, None)
            self.makers |= dict.fromkeys(op.results, number)

    def _add_group(self, op: ir.Operation) -> None:
        block = op.regions[0].blocks[0]
        outer = dict(zip(block.arguments, op.operands, strict=True))
        inside: dict[Any, int] = {}
        members: list[int] = []
        for view in block.operations:
            inner = view.operation
            if inner.name == "fusion.yield":
                self.makers |= {r: inside[v] for v, r in zip(inner.operands, op.results, strict=True)}
            elif inner.name not in CONSTANTS:
                operands = [
                    (inside[v], "") if v in inside else self._operand(outer.get(v, v), len(self.entries))
                    for v in inner.operands
                ]
                number = self._append(inner, operands, "group", len(self.groups))
                inside |= dict.fromkeys(inner.results, number)
                members.append(number)
        self.groups.append((op, members))

    def _operand(self, value: Any, reader: int) -> tuple[int | None, str]:
        """What makes a value outside of groups, or its source; a reader of the network's input is noted."""
        if value in self.readers and reader not in self.readers[value]:
            self.readers[value].append(reader)
        return (self.makers[value], "") if value in self.makers else (None, source_of(value))

    def _append(self, op: ir.Operation, operands: list[tuple[int | None, str]], place: str, group: int | None) -> int:
        node = node_of(op)
        mapping = attribute_value(op, "mapping") or semantics(node.op).mapping(node)
        entry = GraphNode(
            len(self.entries),
            node,
            mapping,
            tuple(producer for producer, _ in operands),
            onnx_nodes=attribute_value(op, "onnx_nodes", ()),
            sources=tuple(source for _, source in operands),
            boundary="" if place == "group" else place,
        )
        self.entries.append(entry)
        self.places.append(place)
        self.group_of.append(group)
        return entry.index

    def _link(self, returned: set[int]) -> None:
        """Fill in the users, and which operators' results are seen by the caller."""
        self.entries = [replace(n, returned=n.index in returned) for n in Graph.of(self.entries)]

    @cached_property
    def graph(self) -> Graph:
        return Graph(tuple(self.entries))

    def host_copy_bytes(self) -> int:
        """What nodes on the host read from kernels and write for them, where that is in another memory."""
        here = [entry for entry in self.entries if self.places[entry.index] == "host"] if self.model.host else []
        read = sum(self.entries[p].bytes for e in here for p in e.inputs if self.places[p] != "host")
        return read + sum(e.bytes for e in here if any(self.places[u] != "host" for u in e.users))

    # --- what it says ----------------------------------------------------------------------------

    def operator(self, entry: GraphNode) -> Operator:
        return Operator(
            number=entry.index,
            op=_operator(entry.node),
            nodes=tuple(entry.onnx_nodes),
            mapping=entry.mapping,
            shape=entry.node.out.shape if entry.node.outputs else (),
            dtype=entry.node.out.dtype if entry.node.outputs else "",
            bytes=entry.bytes,
            flops=entry.flops,
            place=self.places[entry.index],
            group=self.group_of[entry.index],
            reads=tuple(reversed(entry.inputs)),
        )

    def inputs(self) -> tuple[Value, ...]:
        return tuple(Value(name, _shape(value), tuple(self.readers[value])) for name, value in self.arguments)

    def outputs(self) -> tuple[Value, ...]:
        return tuple(
            Value(name, _shape(value), (self.makers[value],) if value in self.makers else ())
            for name, value in self.returned
        )

    def edges(self) -> tuple[list[Edge], list[JoinedEdge]]:
        """Every edge between two operators: those that are not fused, with the verdict; and those that are."""
        apart: list[Edge] = []
        joined: list[JoinedEdge] = []
        for consumer in self.entries:
            for number in reversed(consumer.inputs):
                producer = self.entries[number]
                group = self.group_of[number]
                ends: Ends = (_names(producer), _names(consumer), number, consumer.index)
                if group is None or group != self.group_of[consumer.index]:
                    apart.append(self._apart(producer, ends))
                else:
                    stored = producer.returned or any(self.group_of[u] != group for u in producer.users)
                    joined.append(JoinedEdge(*ends, group, producer.bytes, stored))
        return apart, joined

    def _apart(self, producer: GraphNode, ends: Ends) -> Edge:
        verdict = self.verdicts.get((*ends[:2], producer.bytes)) or self.verdicts.get(ends[:2])
        numbers: dict[str, float | int | str] = {"bytes": producer.bytes}
        if verdict is None:
            return Edge(*ends, "unrecorded", "planning left no verdict for this edge", numbers)
        return Edge(*ends, verdict.kind, verdict.reason, {**numbers, **verdict.numbers})

    def facts(self, number: int) -> GroupFacts:
        op, members = self.groups[number]
        entries = [self.entries[m] for m in members]
        schedule = _schedule(op)
        read, written = bytes_read(self.graph, members), bytes_written(self.graph, members)
        between = self._values_between_nodes(members)
        placed = self._placed(op)
        reuse = None if placed is None else self._reuse(op, *placed)
        flops = sum(e.flops for e in entries)
        tiles = reuse if isinstance(reuse, Reuse) else None
        beside = reuse if isinstance(reuse, SideBySideReuse) else None
        added = recomputed_flops(self.graph, members) if reuse is None else round(reuse.flops_added)
        anchors = [e for e in entries if e.is_anchor]
        empty = all(0 in _shape(result) for result in op.results)  # nothing is launched for no elements
        results = list(op.results)
        return GroupFacts(
            number=number,
            nodes=tuple(onnx_nodes(op)),
            ops=tuple(_operator(e.node) for e in entries),
            operators=tuple(members),
            anchor=max(anchors, key=lambda e: e.flops).label if anchors else None,
            anchors=tuple(e.label for e in anchors),
            mapping=attribute_value(op, "mapping", ""),
            mode=attribute_value(op, "mode", ""),
            kernel=None if schedule is None else schedule.get("kind"),
            schedule=schedule,
            shape=_shape(results[-1]) if results else (),
            flops=flops,
            flops_added=added,
            bytes_read=read,
            bytes_written=written,
            bytes_not_stored=sum(self.entries[m].bytes for m in between),
            bytes_saved=sum(self.entries[m].bytes * (1 + readers) for m, readers in between.items()),
            seconds=0.0 if empty else self.model.kernel_seconds(read + written, flops + added),
            launches=0 if empty else 1,
            predicted_seconds=0.0 if empty else None if placed is None else self._predicted_seconds(*placed),
            proof=next(map(Proof.from_json, attribute_value(op, "proofs", ())), None),
            reuse=tiles,
            side_by_side=beside,
        )

    def _predicted_seconds(self, group: Group, schedule: Any, family: Family, located: dict[int, Location]) -> float:
        """By the cost model."""
        assert self.device is not None
        moved = sum(launch_bytes(group, schedule, family, located).values())
        return scheduled_seconds(group, schedule, family, moved, self.device)

    def _placed(self, op: ir.Operation) -> tuple[Group, Any, Family, dict[int, Location]] | None:
        """A group with its schedule and where its operands and results lie, once that is known."""
        if self.device is None or not self.locations or "schedule" not in op.attributes:
            return None
        family, group = family_of(self.device), group_of(op)
        values = zip((*group.inputs, *group.outputs), (*op.operands, *op.results), strict=True)
        return group, read_schedule(op, family), family, {n: self.locations[v] for n, v in values}

    def _reuse(
        self, op: ir.Operation, group: Group, schedule: Any, family: Family, located: dict[int, Location]
    ) -> Reuse | SideBySideReuse | None:
        """What the tiles or the parts of a group share."""
        assert self.device is not None
        beside = isinstance(schedule, SideBySide)
        if not beside and (len(group.anchors) < 2 or family.tile_of(schedule) is None):
            return None
        moved = launch_bytes(group, schedule, family, located)
        names = [self._name(v) for v in op.operands]
        if not beside:
            return reuse_of(group, schedule, self.device, names, moved)
        parts = zip(components(group), schedule.stages, strict=True)
        of_parts = [launch_bytes(part, tiles, family, located) for part, tiles in parts]
        by_value = dict(zip(group.inputs, names, strict=True))
        return side_by_side_reuse_of(group, schedule, self.device, by_value, of_parts, sum(moved.values()))

    def _name(self, value: Any) -> str:
        """What people call a value that a group reads: its maker, or the network's input; a constant has no name."""
        if value in self.makers:
            return self.entries[self.makers[value]].label
        return next((name for name, argument in self.arguments if argument == value), "")

    def _values_between_nodes(self, members: list[int]) -> dict[int, int]:
        """Values that do not leave the group and pass from one ONNX node to another: how many others read them."""
        inside = set(members)
        found: dict[int, int] = {}
        for m in members:
            entry = self.entries[m]
            if entry.returned or not inside.issuperset(entry.users):
                continue
            others = {self.entries[u].onnx_nodes for u in entry.users} - {entry.onnx_nodes}
            if others:
                found[m] = len(others)
        return found


def _names(entry: GraphNode) -> tuple[str, ...]:
    return tuple(entry.onnx_nodes) or (entry.label,)


def _shape(value: Any) -> tuple[int | None, ...]:
    return type_from_mlir(value.type).shape


def _operator(node: Node) -> str:
    """conv, binary.add, reduce.sum: the op and its kind, where it has one."""
    kind = node.attrs.get("kind")
    return f"{node.op}.{kind}" if isinstance(kind, str) else node.op


def _schedule(op: ir.Operation) -> dict[str, Any] | None:
    if "schedule" not in op.attributes:
        return None
    return {item.name: from_attribute(item.attr) for item in ir.DictAttr(op.attributes["schedule"])}
