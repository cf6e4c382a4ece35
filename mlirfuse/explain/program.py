"""A module at stage planned or scheduled as one graph of operators, its groups opened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mlirfuse.device import Device, planning_device
from mlirfuse.dialect import attribute_value, node_of, semantics, type_from_mlir
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.dialect.node import Node
from mlirfuse.explain.facts import Edge, JoinedEdge, Operator, Value
from mlirfuse.lowering.pipeline.locations import Location, locate_values
from mlirfuse.lowering.plan.graph import Graph, GraphNode, main_function, source_of
from mlirfuse.lowering.plan.resources import ResourceModel
from mlirfuse.lowering.plan.verdict import Verdict
from mlirfuse.mlir import ir

__all__ = ["Program", "operator_name", "shape_of"]

Ends = tuple[tuple[str, ...], tuple[str, ...], int, int]  # names and numbers of producer and consumer


@dataclass
class Program:
    """Every operation of the module, groups opened, as one graph; and where each is.

    `model` is the one that decided, for `device`; `locations` are known once buffers are assigned.
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
    def read(cls, module_op: ir.Operation) -> Program:
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
            op=operator_name(entry.node),
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
        return tuple(Value(name, shape_of(value), tuple(self.readers[value])) for name, value in self.arguments)

    def outputs(self) -> tuple[Value, ...]:
        return tuple(
            Value(name, shape_of(value), (self.makers[value],) if value in self.makers else ())
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

    def name(self, value: Any) -> str:
        """What people call a value that a group reads: its maker, or the network's input; a constant has no name."""
        if value in self.makers:
            return self.entries[self.makers[value]].label
        return next((name for name, argument in self.arguments if argument == value), "")


def _names(entry: GraphNode) -> tuple[str, ...]:
    return tuple(entry.onnx_nodes) or (entry.label,)


def shape_of(value: Any) -> tuple[int | None, ...]:
    return type_from_mlir(value.type).shape


def operator_name(node: Node) -> str:
    """conv, binary.add, reduce.sum: the op and its kind, where it has one."""
    kind = node.attrs.get("kind")
    return f"{node.op}.{kind}" if isinstance(kind, str) else node.op
