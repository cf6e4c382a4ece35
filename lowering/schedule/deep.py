"""Groups of several anchors, cut into stages: what a tile computes one after the other, and what it keeps between.

for each tile of the last anchor's result:
    for each anchor:  its box = anchor(boxes of its operands), the epilogue applied     (one stage)

Each stage is a group of its own, of one anchor on boxes: the schedules and emitters of single anchors serve it as they
are. Its operands are what the stage before kept, boxes of tensors in memory (views: an offset and strides), or
boxes of values that are computed where they are read. What lies between anchors and what follows the last is evaluated
in the whole group's terms, as each stage stores its result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mlirfuse.dialect import Node, TensorType, semantics
from mlirfuse.dialect.indexing import Expr, Var, minimum, var
from mlirfuse.dialect.node import out_variables
from mlirfuse.element_types import SINGLE
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.forward import downstream_indices
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.groups.reads import address_of
from mlirfuse.lowering.plan.chain import (
    Chain,
    Link,
    Part,
    boxed_node,
    carried_length,
    chain_of,
    cut_axis,
    link_boxes,
    tile_box,
)

__all__ = [
    "DeepPlan",
    "StageGroup",
    "TileStage",
    "View",
    "allocate",
    "group_chain",
    "lifetimes",
    "part_problem",
    "view_of",
]

_MOVES = ("reshape", "transpose", "slice", "expand")


@dataclass(frozen=True)
class StageGroup(Group):
    """A stage's anchor on boxes. `lies` has the strides of operands and results; None where one is computed."""

    lies: tuple[tuple[int, tuple[int, ...] | None], ...] = ()

    @cached_property
    def _lies(self) -> dict[int, tuple[int, ...] | None]:
        return dict(self.lies)

    def strides(self, value: int) -> Sequence[int]:
        return self._lies.get(value) or super().strides(value)

    def in_memory(self, value: int) -> bool:
        return value in self.inputs and self._lies.get(value, ()) is not None


@dataclass(frozen=True)
class View:
    """A box of a value as it lies in the buffer of `source`, an operand of the group."""

    source: int
    offset: Expr
    strides: tuple[int, ...]


@dataclass(frozen=True)
class TileStage:
    """One stage: the link of the chain, the box of its result, and the boxes of its operands."""

    link: Link
    box: Box
    operands: tuple[Box, ...]

    @property
    def anchor(self) -> Member:
        assert isinstance(self.link.anchor, Member)
        return self.link.anchor

    @property
    def node(self) -> Node:
        return boxed_node(self.link.anchor.node, self.box, self.operands)

    @property
    def is_row(self) -> bool:
        """Whether the stage works on rows that it may overwrite as it goes."""
        return self.link.anchor.node.op != "contract"


def group_chain(group: Group) -> Chain | str:
    """The chain of a group's anchors, or why its outputs cannot be computed in stages."""
    chain = chain_of(group.members, group.outputs)
    if isinstance(chain, str):
        return chain
    last = chain.last.anchor
    assert isinstance(last, Member)
    found = downstream_indices(group, last, out_variables(last.node.out.dims))
    if isinstance(found, str):
        return found
    if any(v not in found for v in group.outputs):
        return f"an output does not depend on the last {last.node.op}"
    boxes = link_boxes(chain, tile_box(chain, 1))
    return boxes if isinstance(boxes, str) else chain


class DeepPlan:
    """What follows from a group and the number of `rows` of its tiles. No MLIR here.

    With `part`, the stages walk the rows that are reduced in parts of so many positions, carrying the reduction; the
    part's number is the variable `part`.
    """

    def __init__(self, group: Group, rows: int, part: int = 0) -> None:
        self.group, self.rows = group, rows
        chain = group_chain(group)
        assert isinstance(chain, Chain), chain
        self.chain: Chain = chain
        self.tile = tile_box(chain, rows)
        length = carried_length(chain) or 0
        self.parts = length // part if part else 1
        self.part = var("part", self.parts)
        boxes = link_boxes(chain, self.tile, Part(self.part * part, part) if part else None)
        assert not isinstance(boxes, str), boxes
        self.stages = [TileStage(link, box, operands) for link, (box, operands) in zip(chain.links, boxes, strict=True)]

    def row_of(self, index: Sequence[Expr]) -> tuple[Expr, ...]:
        """The index in the box that the last stage reads of the row behind an element of its result's box."""
        last = self.stages[-1]
        indexing = semantics(last.node.op).indexing(last.node)
        values: dict[Var, Expr] = {_variable(e): i for e, i in zip(indexing.out, index, strict=True) if e.terms}
        values |= {_variable(e): Expr(0) for e in indexing.reduction if e.terms}
        assert last.link.position is not None
        return tuple(e.substitute(values) for e in indexing.operands[last.link.position].index)

    @cached_property
    def cut(self) -> int | None:
        return cut_axis(self.chain)

    @cached_property
    def dims(self) -> tuple[int, ...]:
        """Of the last anchor's result."""
        return self.chain.last.anchor.node.out.dims

    @cached_property
    def tiles(self) -> tuple[int, ...]:
        """Tiles along each dimension of the last anchor's result."""
        return tuple(-(-d // s) for d, s in zip(self.dims, self.tile.sizes, strict=True))

    def starts(self, numbers: Sequence[Expr]) -> tuple[dict[Var, Expr], tuple[Expr, ...]]:
        """The variables of the tile for its number along each dimension, and where its own part starts.

        The last tile of a dimension that tiles do not divide starts earlier than its part and overlaps its neighbour.
        """
        values: dict[Var, Expr] = {}
        own = []
        for number, dim, size, start in zip(numbers, self.dims, self.tile.sizes, self.tile.start, strict=True):
            own.append(number * size)
            if start.terms:
                values[_variable(start)] = number if dim % size == 0 else minimum(number * size, dim - size)
        return values, tuple(own)

    def view(self, stage: TileStage, position: int, strides: Mapping[int, Sequence[int]] | None = None) -> View | None:
        """Where an operand's box lies, if it is in memory; `strides` of operands that lie unlike their type."""
        return view_of(self.group, stage.anchor.operands[position], stage.operands[position], strides or {})

    def stage_group(self, number: int, orders: Sequence[tuple[int, ...]]) -> StageGroup:
        """Stage `number` as a group: its operands are the values 0, 1, ..., its result the next.

        `orders` has the memory order of the box that each stage but the last keeps.
        """
        stage = self.stages[number]
        node = stage.node
        types: list[TensorType] = [*node.inputs, node.out]
        lies: list[tuple[int, tuple[int, ...] | None]] = []
        for position in range(len(node.inputs)):
            if position == stage.link.position:
                types[position] = replace(types[position], layout=orders[number - 1])
            else:
                view = self.view(stage, position)
                lies.append((position, None if view is None else view.strides))
        result = len(node.inputs)
        if number < len(self.stages) - 1:
            types[result] = replace(types[result], layout=orders[number])
        else:
            lies.append((result, self._output_strides(stage)))
        member = Member(node, tuple(range(result)), result)
        return StageGroup(tuple(types), tuple(range(result)), (member,), (result,), lies=tuple(lies))

    def _output_strides(self, stage: TileStage) -> tuple[int, ...]:
        """How the last anchor's elements lie in the first output, as far as its addresses are affine in their index."""
        local = tuple(var(f"l{axis}", size) for axis, size in enumerate(stage.box.sizes))
        at = tuple(s + i for s, i in zip(stage.box.start, local, strict=True))
        where = downstream_indices(self.group, stage.anchor, at)
        assert not isinstance(where, str)
        output = self.group.outputs[0]
        address = address_of(where[output], self.group.strides(output))
        return tuple((address.coefficient(_variable(e)) or 0) if e.terms else 0 for e in local)


def _variable(e: Expr) -> Var:
    variable = e.terms[0][0]
    assert isinstance(variable, Var)
    return variable


def part_problem(group: Group, part: int) -> str | None:
    """Why the rows that a group reduces cannot be walked in parts of so many positions, or None; 0 is the whole row."""
    if not part:
        return None
    chain = group_chain(group)
    length = None if isinstance(chain, str) else carried_length(chain)
    if length is None:
        return "the reduction of its rows cannot be carried from part to part"
    return f"parts of {part} do not divide rows of {length}" if length % part or part >= length else None


def view_of(group: Group, value: int, box: Box, strides: Mapping[int, Sequence[int]]) -> View | None:
    """The box of a value in the memory of a group's operand that the value is, moved about at most; else None."""
    local = tuple(var(f"l{axis}", size) for axis, size in enumerate(box.sizes))
    index = tuple(s + i for s, i in zip(box.start, local, strict=True))
    while value in group.producers:
        member = group.producers[value]
        if member.node.op not in _MOVES:
            return None
        indexing = semantics(member.node.op).indexing(member.node)
        values = {e.terms[0][0]: i for e, i in zip(indexing.out, index, strict=True) if e.terms}
        access = indexing.operands[0]
        if any(not c.substitute(values).always for c in access.conditions):  # type: ignore[arg-type]
            return None
        index = tuple(e.substitute(values) for e in access.index)  # type: ignore[arg-type]
        value = member.operands[0]
    if value not in group.inputs or group.types[value].dtype not in SINGLE:
        return None
    address = address_of(index, strides.get(value, group.strides(value)))
    steps = [address.coefficient(_variable(e)) if e.terms else 0 for e in local]
    if any(step is None for step in steps):
        return None
    offset = address.substitute({_variable(e): Expr(0) for e in local if e.terms})
    return View(value, offset, tuple(step or 0 for step in steps))


def allocate(wanted: Sequence[tuple[int, int, int]]) -> tuple[tuple[int, ...], int]:
    """Offsets of arrays (elements, first and last stage that use it), in multiples of four, and the elements in total.

    Arrays that live at the same time never overlap; the largest is placed first, each at the lowest free place.
    """
    offsets = [0] * len(wanted)
    placed: list[int] = []
    for i in sorted(range(len(wanted)), key=lambda i: (-wanted[i][0], i)):
        size, first, last = wanted[i]
        taken = sorted(
            (offsets[j], offsets[j] + wanted[j][0]) for j in placed if not (last < wanted[j][1] or wanted[j][2] < first)
        )
        at = 0
        for start, stop in taken:
            if at + size <= start:
                break
            at = max(at, -(-stop // 4) * 4)
        offsets[i] = at
        placed.append(i)
    return tuple(offsets), max((o + w[0] for o, w in zip(offsets, wanted, strict=True)), default=0)


def lifetimes(in_place: Sequence[bool]) -> tuple[tuple[int, int], ...]:
    """For the box that each stage but the last keeps, the first and last stage that use its memory.

    A stage that works `in_place` leaves its result where its operand was: both have one life.
    """
    owner = list(range(len(in_place)))
    for number in owner[1:]:
        if in_place[number]:
            owner[number] = owner[number - 1]
    return tuple((o, 1 + max(n for n, other in enumerate(owner) if other == o)) for o in owner)
