"""A fusion group as frozen data: what schedules, tile programs and emitters work on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mlirfuse.dialect import (
    MappingType,
    Node,
    TensorType,
    attribute_value,
    is_constant,
    node_of,
    semantics,
    type_from_mlir,
)
from mlirfuse.lowering.groups.box import Box, Span
from mlirfuse.mlir import ir

__all__ = ["Group", "Member", "group_of"]


@dataclass(frozen=True)
class Member:
    """One operation of a group: its node, the values it reads and the value it makes."""

    node: Node
    operands: tuple[int, ...]
    result: int
    onnx_nodes: tuple[str, ...] = ()

    @property
    def is_anchor(self) -> bool:
        """Whether one result element needs many operand elements."""
        return semantics(self.node.op).mapping_type == MappingType.MANY_TO_MANY


@dataclass(frozen=True)
class Group:
    """Values 0..len(inputs)-1 are the group's operands; each member makes one more value.

    `types` has the type of every value (operands and outputs with their layouts), `immediates` the number of
    every value that is a splat. With a `box`, that part of the result of `root` alone
    is computed, and what follows from it; indices stay those of whole values. With a `part`, those positions alone of
    the first dimension that the root reduces are added up.
    """

    types: tuple[TensorType, ...]
    inputs: tuple[int, ...]
    members: tuple[Member, ...]
    outputs: tuple[int, ...]
    immediates: tuple[tuple[int, float | int], ...] = ()
    box: Box | None = None
    root: int = -1
    part: Span | None = None

    @cached_property
    def producers(self) -> dict[int, Member]:
        return {m.result: m for m in self.members}

    @cached_property
    def splats(self) -> dict[int, float | int]:
        return dict(self.immediates)

    @cached_property
    def anchors(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if m.is_anchor)

    @cached_property
    def anchor(self) -> Member | None:
        """The only Many-to-Many member, if there is one."""
        return self.anchors[0] if len(self.anchors) == 1 else None

    @cached_property
    def structure(self) -> Hashable:
        """The group without what does not change its kernel: names, and which operands are constant."""
        members = tuple(
            (
                m.node.op,
                tuple(sorted((k, str(v)) for k, v in m.node.attrs.items())),
                m.node.inputs,
                m.node.outputs,
                m.operands,
                m.result,
            )
            for m in self.members
        )
        return self.types, self.inputs, members, self.outputs, self.immediates, self.box, self.root, self.part

    def upstream(self, value: int) -> frozenset[int]:
        """Every value that `value` is computed from, itself included."""
        seen: set[int] = set()
        todo = [value]
        while todo:
            current = todo.pop()
            if current not in seen:
                seen.add(current)
                todo.extend(self.producers[current].operands if current in self.producers else ())
        return frozenset(seen)

    @property
    def flops(self) -> int:
        return sum(semantics(m.node.op).flops(m.node) for m in self.members)

    def strides(self, value: int) -> Sequence[int]:
        """Elements between neighbours along each dimension, where the value lies in memory."""
        return self.types[value].strides()

    def in_memory(self, value: int) -> bool:
        """Whether a kernel finds the value in memory, and does not compute it."""
        return value in self.inputs


def group_of(op: Any) -> Group:
    """Read a `fusion.group` op."""
    block = op.operation.regions[0].blocks[0]
    numbers: dict[Any, int] = {}
    types: list[TensorType] = []
    members: list[Member] = []
    immediates: list[tuple[int, float | int]] = []

    def number(value: ir.Value) -> int:
        numbers[value] = len(types)
        types.append(type_from_mlir(value.type))
        return numbers[value]

    inputs = tuple(number(argument) for argument in block.arguments)
    weights = {a for a, v in zip(block.arguments, op.operation.operands, strict=True) if is_constant(v)}
    outputs: tuple[int, ...] = ()
    for inner in block.operations:
        operation = inner.operation
        if operation.name == "fusion.yield":
            outputs = tuple(numbers[v] for v in operation.operands)
        elif operation.name == "fusion.splat":
            immediates.append((number(operation.results[0]), attribute_value(inner, "value")))
        else:
            operands = tuple(numbers[v] for v in operation.operands)
            result = number(operation.results[0])
            node = replace(node_of(inner), constant=tuple(v in weights or is_constant(v) for v in operation.operands))
            members.append(Member(node, operands, result, attribute_value(inner, "onnx_nodes", ())))
    for value, result in zip(outputs, op.operation.results, strict=True):
        types[value] = type_from_mlir(result.type)
    return Group(tuple(types), inputs, tuple(members), outputs, tuple(immediates))
