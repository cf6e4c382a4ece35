"""The reuse analysis in bytes: which sectors of every operand and output one launch of a group touches.

From the ops' indexing functions alone. A sector counts once for each launch and operand, however many tiles read it: an
ideal cache within the launch, none between launches. What anchors read follows from the elements of their results that
tiles compute, halos and tiles moved inwards at borders included, all else from the elements that are stored.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from mlirfuse.dialect import indexing_of
from mlirfuse.dialect.indexing import Condition, Expr, Var, var
from mlirfuse.dialect.node import out_variables
from mlirfuse.element_types import element_bytes
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.groups.sectors import Sectors
from mlirfuse.lowering.groups.stages import Stage, stages_of

__all__ = ["Lying", "Traffic", "launch_traffic"]

Index = tuple[Expr, ...]
Conditions = tuple[Condition, ...]


@dataclass(frozen=True, order=True)
class Lying:
    """How a value lies in its buffer: strides in elements, and the byte of its first element."""

    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True)
class Traffic:
    """Bytes of distinct sectors: read of each operand, written of each output, in the group's order."""

    read: tuple[int, ...]
    written: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return sum(self.read) + sum(self.written)


def launch_traffic(
    group: Group, lying: Mapping[int, Lying] | None = None, tile: Sequence[int] | None = None, walk: int = 1
) -> Traffic:
    """What one launch reads and writes.

    `lying` says how operands and outputs lie where that is not their type's own layout from a whole sector on. With a
    `tile` (its extents along the frame, see `boxes.TileBoxes`) the group is computed stage by stage, over boxes. Blocks
    that `walk` over several tiles read less where rows that only lie between others are not new.
    Operands whose elements are fetched (gather) count as if every fetch found another element: no launch reads more.
    """
    placed = tuple(sorted((lying or {}).items()))
    tiled = tuple(tile) if tile is not None else None
    return _traffic(_Question(group.structure, placed, tiled, walk, group))


@dataclass(frozen=True)
class _Question:
    """What `launch_traffic` was asked; equal for groups that differ in names alone."""

    structure: Hashable
    lying: tuple[tuple[int, Lying], ...]
    tile: tuple[int, ...] | None
    walk: int
    group: Group = field(compare=False)


@lru_cache(maxsize=1024)
def _traffic(question: _Question) -> Traffic:
    group, lying = question.group, dict(question.lying)
    touched: dict[int, Sectors] = {}
    for value in (*group.inputs, *group.outputs):
        tensor = group.types[value]
        lies = lying.get(value) or Lying(tensor.strides())
        touched[value] = Sectors(tensor.dims, lies.strides, element_bytes(tensor.dtype), lies.offset)
    for value, index, conditions in _reads(group, question.tile, question.walk):
        touched[value].touch(index, conditions)
    for value in group.outputs:
        touched[value].touch_all()
    return Traffic(tuple(touched[v].bytes for v in group.inputs), tuple(touched[v].bytes for v in group.outputs))


def _reads(group: Group, tile: tuple[int, ...] | None, walk: int) -> Iterator[tuple[int, Index, Conditions]]:
    """Every read of an operand."""
    operands = set(group.inputs)
    for part, wanted, kept in _whole(group) if tile is None else _tiled(group, tile, walk):
        back = _Walk(part, kept)
        for value, index in wanted.items():
            back.visit(value, index, ())
        yield from (read for read in back.reads if read[0] in operands)


def _whole(group: Group) -> Iterator[tuple[Group, dict[int, Index], frozenset[int]]]:
    """Anchors one by one, and then the outputs from them."""
    anchors = frozenset(m.result for m in group.anchors)
    for anchor in group.anchors:
        yield group, {anchor.result: _started(anchor, group)}, anchors - {anchor.result}
    yield group, {v: out_variables(group.types[v].dims) for v in group.outputs if v not in anchors}, anchors


def _started(anchor: Member, group: Group) -> Index:
    """The elements of an anchor's result: of the group's box, if it has one."""
    if group.box is None:
        return out_variables(anchor.node.out.dims)
    return _in_box(group.box.start, group.box.sizes)


def _in_box(start: Sequence[Expr], sizes: Sequence[int]) -> Index:
    return tuple(e + var(f"l{axis}", size) for axis, (e, size) in enumerate(zip(start, sizes, strict=True)))


def _tiled(group: Group, tile: tuple[int, ...], walk: int) -> Iterator[tuple[Group, dict[int, Index], frozenset[int]]]:
    """Stages one by one, each over the boxes of all tiles, and then what they store."""
    stages = stages_of(group)
    assert not isinstance(stages, str), stages
    boxes = TileBoxes(stages, tile, walk=walk)
    for stage in stages:
        for box in [boxes.root_box(stage)] if boxes.walk is None else boxes.walk.computed(stage):
            at = _in_box(box.start, box.sizes)
            yield stage.group, {stage.root.result: at}, frozenset()
            yield stage.group, _stored(stage, at), frozenset((stage.root.result,))


def _stored(stage: Stage, at: Index) -> dict[int, Index]:
    """Where the elements of the root's result at `at` end up."""
    dims = stage.root.node.out.dims
    values = {e.terms[0][0]: i for e, i in zip(out_variables(dims), at, strict=True) if e.terms}
    return {
        value: tuple(e.substitute(values) for e in index)  # type: ignore[arg-type]
        for value, index in stage.landing.items()
        if value != stage.root.result
    }


class _Walk:
    """Follows values back to operands; reads collect the conditions on their way."""

    def __init__(self, group: Group, kept: frozenset[int]) -> None:
        self.group, self.kept = group, kept
        self.reads: list[tuple[int, Index, Conditions]] = []
        self._seen: set[tuple[int, Index, Conditions]] = set()
        self._fresh = 0

    def visit(self, value: int, index: Index, conditions: Conditions) -> None:
        key = value, index, conditions
        if key in self._seen or value in self.group.splats or any(c.never for c in conditions):
            return
        self._seen.add(key)
        if value not in self.group.producers:
            self.reads.append(key)
        elif value not in self.kept:
            self._operands(self.group.producers[value], index, conditions)

    def _operands(self, member: Member, index: Index, conditions: Conditions) -> None:
        indexing = indexing_of(member.node)
        values = {e.terms[0][0]: i for e, i in zip(indexing.out, index, strict=True) if e.terms}
        self._fresh += 1
        for e in indexing.reduction:
            if e.terms:  # members use the same names
                variable = e.terms[0][0]
                assert isinstance(variable, Var)
                values[variable] = Expr(0, ((Var(f"{variable.name}@{self._fresh}", variable.lo, variable.hi), 1),))
        for operand, access in zip(member.operands, indexing.operands, strict=True):
            at = tuple(e.substitute(values) for e in access.index)  # type: ignore[arg-type]
            found = (c.substitute(values) for c in access.conditions)  # type: ignore[arg-type]
            joined = dict.fromkeys((*conditions, *(c for c in found if not c.always)))
            self.visit(operand, at, tuple(joined))
