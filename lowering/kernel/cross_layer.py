"""Where the stages of a group find and leave what lies between them, whatever the machine.

Stages work in the coordinates of whole values: a box is a buffer whose offset takes the box's start away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, MaxOf, MinOf, Var, maximum, minimum
from mlirfuse.lowering.groups.box import Box, Span
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.stages import Stage
from mlirfuse.lowering.kernel.builder import Builder
from mlirfuse.lowering.kernel.point import Buffer, Evaluator, Registers
from mlirfuse.mlir import vector

__all__ = ["Copies", "Sink", "TilePlaces", "boxed"]

Index = tuple[Expr, ...]


def boxed(memory: Any, strides: Sequence[int], start: Sequence[Expr], offset: int, aligned: int) -> Buffer:
    """The buffer of a box that lies at `offset`: an index of the whole value falls into it."""
    at = Expr(offset)
    for e, stride in zip(start, strides, strict=True):
        at = at - e * stride
    return Buffer(memory, tuple(strides), "float32", at, aligned)


@dataclass(frozen=True)
class Copies:
    """The box of a value in the shared memory of each block of a cluster: what one stores, all have."""

    buffers: tuple[Buffer, ...]

    def store(self, evaluator: Evaluator, index: Sequence[Expr], value: Any) -> None:
        for buffer in self.buffers:
            buffer.store(evaluator, index, value)


@dataclass(frozen=True)
class Sink:
    """Where a stage leaves a value: in the box that is `kept` of it, in the `output` of the group, or in both.

    `own` is the part of the root's result (axis, first, size) that the tile alone stores in outputs.
    """

    root: int
    kept: Buffer | Copies | None
    output: Buffer | None
    own: tuple[tuple[int, Expr, int], ...]

    def store(self, evaluator: Evaluator, index: Sequence[Expr], value: Any) -> None:
        if self.kept is not None:
            self.kept.store(evaluator, index, value)
        if self.output is None:
            return
        held = evaluator.places[self.root]
        assert isinstance(held, Registers)
        conditions = [Condition(held.index[axis] - first, 0, size - 1) for axis, first, size in self.own]
        self._store(evaluator, tuple(index), value, [c for c in conditions if not c.always])

    def _store(self, evaluator: Evaluator, index: Index, value: Any, conditions: Sequence[Condition]) -> None:
        output, builder = self.output, evaluator.builder
        assert output is not None
        conditions = [_uniform(evaluator, c) for c in conditions]
        if not any(evaluator.depends_on_lane(c.value) for c in conditions):
            builder.when(conditions, lambda: output.store(evaluator, index, value))
            return
        for lane in range(evaluator.width):
            one, fix = evaluator.one_lane(lane)
            element = vector.ExtractOp(evaluator.vectorized(value), [], [lane]).result
            at = tuple(e.substitute(fix) for e in index)
            self._store(one, at, element, [c.substitute(fix) for c in conditions])


def _uniform(evaluator: Evaluator, condition: Condition) -> Condition:
    """The condition on the first lane alone, where it says the same of all lanes."""
    if not evaluator.depends_on_lane(condition.value):
        return condition
    assert evaluator.lane is not None
    lane, width = evaluator.lane.terms[0][0], evaluator.width
    first = condition.value.substitute({lane: Expr(0)})  # type: ignore[dict-item]
    steps = condition.value.coefficient(lane) == 1  # type: ignore[arg-type]
    if steps and all(n % width == 0 for n in (first.constant, condition.lo, condition.hi + 1, *_factors(first))):
        return Condition(first, condition.lo, condition.hi + 1 - width)
    return condition


def _factors(e: Expr) -> list[int]:
    return [factor for _, factor in e.terms]


class TilePlaces:
    """One tile: where boxes start, in variables of the kernel.

    `numbers` has the tile's number along each dimension of the frame, `rank` that of the block in its cluster. Starts
    become variables of their own, in units of what they are multiples of, so that addresses stay affine and vectors
    know that they are aligned. Those that change as the block goes on have theirs inside of its loops.
    """

    def __init__(self, builder: Builder, boxes: TileBoxes, numbers: Sequence[Expr], rank: Expr | None = None) -> None:
        self.builder, self.boxes = builder, boxes
        self.values: dict[Var, Expr] = {
            _variable(e): number
            for e, number in zip((*boxes.numbers, boxes.rank), (*numbers, rank or Expr(0)), strict=True)
            if e.terms
        }
        self._named: dict[Expr, Expr] = {}
        self._name_starts(self._moving)

    def _name_starts(self, moving: frozenset[Var]) -> None:
        """Here, where their values are there for all that follows: those that none of these variables move."""
        boxes = self.boxes
        found = [*(boxes.share(s) for s in boxes.stages), *boxes.kept.values()]
        starts = [e for box in found for e in box.start]
        starts += [first for sink in boxes.stages.sinks for _, first, _ in boxes.own(sink)]
        for e in starts:
            if not e.variables() & moving:
                self.named(e)

    def is_of_part(self, box: Box) -> bool:
        """Whether a box is another one for each part of some reduction."""
        return any(e.variables() & self._parts for e in box.start)

    def at_part(self, stage: Stage, number: Expr) -> None:
        """From here on, the tile is at one part of a stage's reduction."""
        variable = self.boxes.part_number(stage)
        if variable.terms:
            self.values[_variable(variable)] = number

    def at_tile(self, walk: Expr, step: Expr) -> None:
        """From here on, the block is at a step of its walk, the walk of this number along its dimension."""
        assert self.boxes.walk is not None
        walked = self.boxes.walk
        self.values[_variable(walked.number)] = walk * walked.length + step
        self._name_starts(self._parts | self._strips)
        for box in walked.line_boxes.values():
            self.start(box)
            self.start(walked.of_next(box))

    def at_strip(self, stage: Stage, number: Expr) -> None:
        """From here on, the tile is at one strip of a stage's box."""
        assert self.boxes.walk is not None
        self.values[_variable(self.boxes.walk.strip_number(stage))] = number

    def start(self, box: Box) -> Index:
        """Where a box starts."""
        return tuple(self.named(e) for e in box.start)

    def box(self, box: Box) -> Box:
        """The box in variables of the kernel."""
        return Box(self.start(box), box.sizes)

    def own(self, stage: Stage) -> tuple[tuple[int, Expr, int], ...]:
        """(axis, first, size) of the part of a sink's result that this tile alone stores."""
        return tuple((axis, self.named(first), size) for axis, first, size in self.boxes.own(stage))

    def named(self, e: Expr) -> Expr:
        """An expression of the tile's numbers as (a multiple of) a variable that affine maps may use."""
        if e not in self._named:
            self._named[e] = self._name(e)
        return self._named[e]

    def _name(self, e: Expr) -> Expr:
        here = e.substitute(self.values)
        moves = bool(e.variables() & self._moving)
        if here.is_constant or (moves and self.builder.is_affine(here)):
            return here
        grain = _grain(here)
        scaled = _scaled(here, grain)
        lo, hi = scaled.range
        if lo == hi:
            return Expr(lo * grain)
        variable = Expr(0, ((Var(self.builder.fresh_name("start"), lo, hi), 1),))
        self.builder.bind(variable, self.builder.index(scaled), affine=not moves)
        return variable * grain

    @cached_property
    def _parts(self) -> frozenset[Var]:
        return frozenset(v for s in self.boxes.stages for v in self.boxes.part_number(s).variables())

    @cached_property
    def _strips(self) -> frozenset[Var]:
        walk = self.boxes.walk
        return frozenset(v for s in self.boxes.stages if walk for v in walk.strip_number(s).variables())

    @cached_property
    def _moving(self) -> frozenset[Var]:
        """What changes as the block goes on."""
        walked = self.boxes.walk.number.variables() if self.boxes.walk else frozenset()
        return self._parts | self._strips | walked

    def span(self, stage: Stage) -> Span | None:
        """What a stage adds up at a time, if not all, in variables of the kernel."""
        part = self.boxes.part(stage)
        return None if part is None else Span(self.named(part.start), part.size)

    def sinks(
        self,
        group: Group,
        stage: Stage,
        kept: Mapping[int, Buffer | Copies],
        outputs: Mapping[int, Buffer],
        alone: bool = True,
    ) -> dict[int, Sink]:
        """Where a stage leaves each of its outputs; unless `alone`, tiles may store the same element of an output."""
        own = self.own(stage) if alone and stage in self.boxes.stages.sinks else ()
        return {
            v: Sink(stage.root.result, kept.get(v), outputs[v] if v in group.outputs else None, own)
            for v in stage.group.outputs
        }


def _variable(e: Expr) -> Var:
    """The variable that an expression is."""
    atom = e.terms[0][0]
    assert isinstance(atom, Var), e
    return atom


def _grain(e: Expr) -> int:
    """A number that the value is always a multiple of."""
    return math.gcd(e.constant, *(factor * _atom_grain(atom) for atom, factor in e.terms))


def _atom_grain(atom: Any) -> int:
    return math.gcd(_grain(atom.a), _grain(atom.b)) if isinstance(atom, MinOf | MaxOf) else 1


def _scaled(e: Expr, by: int) -> Expr:
    """The value divided by a number that it is a multiple of."""
    total = Expr(e.constant // by)
    for atom, factor in e.terms:
        if factor % by == 0:
            total = total + Expr(0, ((atom, factor // by),))
        else:  # gcd(by, factor) divides the factor, the rest divides both ends of the atom
            common = math.gcd(by, factor)
            join = minimum if isinstance(atom, MinOf) else maximum
            inner = join(_scaled(atom.a, by // common), _scaled(atom.b, by // common))  # type: ignore[union-attr]
            total = total + inner * (factor // common)
    return total
