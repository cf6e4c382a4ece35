"""Compute several convolutions or contractions of one value as one."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlirfuse.device import planning_device
from mlirfuse.dialect import attribute_value, build, node_of, onnx_nodes, type_from_mlir
from mlirfuse.lowering.graph.constants import constant_array, make_constant
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.duplicate_movement import MOVEMENT
from mlirfuse.lowering.plan.graph import Graph, main_function, nodes_of, read_graph
from mlirfuse.lowering.plan.placement import Placement
from mlirfuse.lowering.plan.plan import node_names
from mlirfuse.lowering.plan.reachability import Reachability
from mlirfuse.lowering.plan.resources import ResourceModel, bytes_read, bytes_written
from mlirfuse.lowering.plan.tails import Step, common_steps, places
from mlirfuse.mlir import ir

__all__ = ["JoinSiblings"]


@register_pass
@dataclass(frozen=True)
class JoinSiblings:
    """conv(x, v), conv(x, w)  =>  slices of conv(x, [v; w]), and the same for contractions with constant operands.

    What follows each of them (constant terms and factors, activations) follows them together; where only some have a
    term or factor, it is zero or one for the others. The slices are index arithmetic of those who read them: a sibling
    is left out where its result must lie in memory by itself, or where something ends its kernel that could end no
    joined one. The others are joined where the model of `device` finds one launch faster than several; not convolutions
    of more than `max_channels` channels, which fill a device alone, nor nodes that `no-fuse` names. Needs the bytes of
    the weights.
    """

    name: ClassVar[str] = "fusion-join-siblings"
    max_channels: int = 512
    no_fuse: str = ""
    device: str = "host"

    def __call__(self, module_op: ir.Operation) -> None:
        function = main_function(module_op)
        graph = read_graph(function)
        numbers = {op: index for index, op in enumerate(nodes_of(function))}
        placement = Placement(graph, Reachability(graph))
        model = ResourceModel.of(planning_device(self.device))
        alone = set(node_names(self.no_fuse))
        families: dict[Hashable, list[_Sibling]] = {}
        for op in numbers:
            sibling = self._sibling(op)
            if sibling is None or any(alone.intersection(onnx_nodes(member)) for member in sibling.tail):
                continue
            sibling.members = tuple(numbers[member] for member in sibling.tail)
            if _readers_take_slices(graph, placement, sibling.members[0], sibling.members[-1]):
                families.setdefault(sibling.key, []).append(sibling)
        for family in families.values():
            if len(family) > 1 and _pays(graph, [sibling.members for sibling in family], model):
                _join(family)

    def _sibling(self, op: ir.Operation) -> _Sibling | None:
        if op.name not in ("fusion.conv", "fusion.contract"):
            return None
        weight = constant_array(op.operands[1])
        if weight is None or constant_array(op.operands[0]) is not None:
            return None
        axes = (0, 1) if op.name == "fusion.conv" else _free_letter(op)
        if axes is None or (op.name == "fusion.conv" and attribute_value(op, "groups") != 1):
            return None
        if op.name == "fusion.conv" and weight.shape[0] > self.max_channels:
            return None
        tail = _tail(op, axes[1])
        node = node_of(op)
        shape = tuple(n for i, n in enumerate(weight.shape) if i != axes[0])
        steps = tuple(step for member in tail[1:] if (step := _step(member, axes[1])))
        needed = tuple(step for step in steps if step.neutral is None)
        key = (op.name, op.operands[0], tuple(sorted(node.attrs.items())), shape, str(weight.dtype), needed)
        return _Sibling(key, tail, steps, weight, *axes)


def _readers_take_slices(graph: Graph, placement: Placement, anchor: int, value: int) -> bool:
    """Whether all readers of `value` can find its elements in a larger tensor, and none would lose its kernel."""
    if graph[value].returned:
        return False
    for user in map(graph.__getitem__, graph[value].users):
        if user.boundary or user.node.op == "concat":
            return False
        moves = user.node.op in MOVEMENT
        if moves and not _readers_take_slices(graph, placement, anchor, user.index):
            return False
        if not moves and not user.is_anchor and placement.home[user.index] == anchor:
            return False
    return True


def _pays(graph: Graph, parts: list[tuple[int, ...]], model: ResourceModel) -> bool:
    """Whether one kernel, which reads what all read once, is faster than one for each of `parts`."""
    common = graph[parts[0][0]].node.inputs[0]
    traffic = sum(bytes_read(graph, part) + bytes_written(graph, part) for part in parts)
    work = sum(graph[m].flops for part in parts for m in part)
    together = model.kernel_seconds(traffic - (len(parts) - 1) * (common.bytes if common.static else 0), work)
    return together < sum(model.seconds(graph, part) for part in parts)


@dataclass
class _Sibling:
    """An op, what follows it alone (`tail`, itself first), and the axes of its channels in weight and result.

    `steps` are those of the tail behind the op; siblings have equal keys.
    """

    key: Hashable
    tail: list[ir.Operation]
    steps: tuple[Step, ...]
    weight: Any
    weight_axis: int
    axis: int
    members: tuple[int, ...] = ()  # the numbers of the tail's ops in the graph


def _free_letter(op: ir.Operation) -> tuple[int, int] | None:
    """Where the last dimension that only the second operand and the result have stands in both."""
    operands, result = attribute_value(op, "equation").split("->")
    a, b = operands.split(",")
    free = [letter for letter in result if letter in b and letter not in a]
    return (b.index(free[-1]), result.index(free[-1])) if free else None


def _tail(op: ir.Operation, axis: int) -> list[ir.Operation]:
    """The op and the chain of element-wise ops with constants that are its only readers."""
    tail = [op]
    while True:
        uses = list(tail[-1].results[0].uses)
        if len(uses) != 1 or _step(uses[0].owner.operation, axis) is None:
            return tail
        follower = uses[0].owner.operation
        if follower.results[0].type != op.results[0].type:
            return tail
        tail.append(follower)


def _step(op: ir.Operation, axis: int) -> Step | None:
    """The op as one that can follow several siblings at once; None if it cannot."""
    if op.name not in ("fusion.unary", "fusion.binary"):
        return None
    attrs = tuple(sorted(node_of(op).attrs.items()))
    if op.name == "fusion.unary":
        return Step(op.name, attrs)
    for i, value in enumerate(op.operands):
        c = constant_array(value)
        if c is not None and constant_array(op.operands[1 - i]) is None:
            aligned = _aligned(c, type_from_mlir(op.results[0].type).rank)
            return Step(op.name, attrs, i, tuple(n for j, n in enumerate(aligned.shape) if j != axis))
    return None


def _aligned(c: Any, rank: int) -> Any:
    return c.reshape([1] * (rank - c.ndim) + list(c.shape))


def _join(family: list[_Sibling]) -> None:
    first = family[0]
    op, axis = first.tail[0], first.axis
    sizes = [type_from_mlir(s.tail[0].results[0].type).dims[axis] for s in family]
    with ir.InsertionPoint(op):
        weight = make_constant(np.concatenate([s.weight for s in family], axis=first.weight_axis), op.location)
        value = _repeat(op, [op.operands[0], weight], [s.tail[0] for s in family])
        steps = common_steps(s.steps for s in family)
        rows = zip(*(places(s.steps, steps) for s in family), strict=True)
        for step, row in zip(steps, rows, strict=True):
            members = [None if i is None else s.tail[i + 1] for i, s in zip(row, family, strict=True)]
            present = [m for m in members if m is not None]
            value = _repeat(present[0], _operands(step, members, value, sizes, axis), present)
        tensor = type_from_mlir(value.type)
        start = 0
        for sibling, size in zip(family, sizes, strict=True):
            last = sibling.tail[-1]
            attrs = {
                "starts": tuple(start if i == axis else 0 for i in range(tensor.rank)),
                "sizes": tuple(size if i == axis else n for i, n in enumerate(tensor.dims)),
                "steps": (1,) * tensor.rank,
            }
            part = build("slice", [value], attrs, onnx_nodes=onnx_nodes(last), loc=last.location)
            last.results[0].replace_all_uses_with(part)
            start += size
    for sibling in family:
        for member in reversed(sibling.tail):
            member.erase()


def _operands(step: Step, members: list[ir.Operation | None], value: Any, sizes: list[int], axis: int) -> list[Any]:
    """The operands of an element-wise op that follows all siblings: their common value, and their constants."""
    if step.place < 0:
        return [value]
    first = next(m for m in members if m is not None)
    constant, rank = first.operands[step.place], type_from_mlir(value.type).rank
    given = [None if m is None else _aligned(constant_array(m.operands[step.place]), rank) for m in members]
    dtype = next(p.dtype for p in given if p is not None)
    neutral = np.full((*step.dims[:axis], 1, *step.dims[axis:]), 0 if step.neutral is None else step.neutral, dtype)
    parts = [neutral if p is None else p for p in given]
    if any(p.shape[axis] > 1 for p in parts) or any(p.tobytes() != parts[0].tobytes() for p in parts):
        wide = [
            np.broadcast_to(p, [*p.shape[:axis], size, *p.shape[axis + 1 :]])
            for p, size in zip(parts, sizes, strict=True)
        ]
        constant = make_constant(np.concatenate(wide, axis=axis), first.location)
    return [constant, value] if step.place == 0 else [value, constant]


def _repeat(op: ir.Operation, operands: list[Any], merged: list[ir.Operation]) -> Any:
    """The op on other operands, standing for all of `merged`."""
    names = tuple(dict.fromkeys(name for m in merged for name in onnx_nodes(m)))
    node = node_of(op)
    return build(node.op, operands, dict(node.attrs), onnx_nodes=names, loc=op.location)
