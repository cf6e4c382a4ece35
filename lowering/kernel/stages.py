"""What the stages of a deep group read and store, whatever the machine: their places.

A stage's emitter sees a group of one anchor on boxes. Its operands are boxes that an earlier stage kept, boxes as they
lie in memory, or boxes computed where they are read; what it stores goes through the epilogue in the whole group's
terms, into the box that the next stage reads or into the outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, Var
from mlirfuse.lowering.groups.forward import downstream_indices
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.builder import Builder
from mlirfuse.lowering.kernel.point import Buffer, Evaluator, Part, Registers, Scratch
from mlirfuse.lowering.schedule.deep import DeepPlan, TileStage
from mlirfuse.mlir import vector

__all__ = ["Sink", "StagePlaces", "Sum", "kept_box"]

Index = tuple[Expr, ...]


class StagePlaces:
    """The places of one tile: `values` says where it is, `own` where its own part of the result starts.

    `inputs` and `outputs` are the group's buffers, `kept` has the box of every stage but the last.
    """

    def __init__(
        self,
        builder: Builder,
        plan: DeepPlan,
        inputs: Mapping[int, Buffer],
        outputs: Mapping[int, Buffer],
        kept: Sequence[Buffer],
        values: Mapping[Var, Expr],
        own: Sequence[Expr],
    ) -> None:
        self.builder, self.plan, self.group = builder, plan, plan.group
        self.inputs, self.outputs, self.kept, self.values = dict(inputs), outputs, kept, values
        self.own = [
            (axis, first, size)
            for axis, (first, size) in enumerate(zip(own, plan.tile.sizes, strict=True))
            if plan.dims[axis] % size
        ]

    def at_part(self, number: Expr) -> StagePlaces:
        """The same tile, at one part of the rows that it reduces."""
        moved = copy.copy(self)
        if self.plan.part.terms:
            variable = self.plan.part.terms[0][0]
            assert isinstance(variable, Var)
            moved.values = {**self.values, variable: number}
        return moved

    def operands(self, number: int) -> dict[int, Any]:
        """Where stage `number` finds its operands."""
        stage = self.plan.stages[number]
        return {position: self._operand(number, stage, position) for position in range(len(stage.operands))}

    def _operand(self, number: int, stage: TileStage, position: int) -> Any:
        if position == stage.link.position:
            return self.kept[number - 1]
        view = self.plan.view(stage, position, {v: b.strides for v, b in self.inputs.items()})
        if view is not None:
            buffer = self.inputs[view.source]
            offset = buffer.offset + view.offset.substitute(self.values)
            return Buffer(buffer.memory, view.strides, buffer.dtype, offset, buffer.aligned)
        value = stage.anchor.operands[position]

        def evaluate(evaluator: Evaluator, index: Index) -> Any:
            return self.evaluator(evaluator, {}).value(value, index)

        return Part(self._start(stage.operands[position].start), evaluate)

    def sink(self, number: int) -> Sink:
        """Where stage `number` stores."""
        return Sink(self, number, self._start(self.plan.stages[number].box.start))

    def evaluator(self, like: Evaluator, places: Mapping[int, Any]) -> Evaluator:
        """An evaluator of the whole group's values, with the lanes of another."""
        return Evaluator(self.builder, self.group, {**self.inputs, **places}, like.lane, like.width)

    def _start(self, start: Sequence[Expr]) -> Index:
        return tuple(e.substitute(self.values) for e in start)


@dataclass(frozen=True)
class Sink:
    """Stores a stage's elements: index i of its box is element `start` + i of the anchor's result.

    The last stage drops what is not the tile's own.
    """

    places: StagePlaces
    number: int
    start: Index

    def store(self, evaluator: Evaluator, index: Sequence[Expr], value: Any) -> None:
        """Run the epilogue on an element, or on a vector of them, and store what it gives."""
        at = tuple(s + i for s, i in zip(self.start, index, strict=True))
        if self.number < len(self.places.kept):
            self._keep(evaluator, tuple(index), at, value)
            return
        conditions = [Condition(at[axis] - first, 0, size - 1) for axis, first, size in self.places.own]
        conditions = [c for c in conditions if not c.always]
        if any(evaluator.depends_on_lane(c.value) for c in conditions):
            for lane in range(evaluator.width):
                one, fix = evaluator.one_lane(lane)
                element = vector.ExtractOp(evaluator.vectorized(value), [], [lane]).result
                self.store(one, tuple(e.substitute(fix) for e in index), element)
        else:
            evaluator.builder.when(conditions, lambda: self._finish(evaluator, at, value))

    def _keep(self, evaluator: Evaluator, index: Index, at: Index, value: Any) -> None:
        link = self.places.plan.stages[self.number].link
        inner = self.places.evaluator(evaluator, {link.anchor.result: Registers(at, value)})
        self.places.kept[self.number].store(inner, index, inner.value(link.kept, at))

    def _finish(self, evaluator: Evaluator, at: Index, value: Any) -> None:
        anchor = self.places.plan.stages[self.number].anchor
        where = downstream_indices(self.places.group, anchor, at)
        assert not isinstance(where, str), where
        inner = self.places.evaluator(evaluator, {anchor.result: Registers(at, value)})
        made = [(v, inner.value(v, where[v])) for v in self.places.group.outputs]
        for v, result in made:
            self.places.outputs[v].store(inner, where[v], result)


@dataclass(frozen=True)
class Sum:
    """What the last stage adds up from part to part: sum * factor of the row + what this part gives."""

    plan: DeepPlan
    total: Buffer
    factor: Buffer

    def store(self, evaluator: Evaluator, index: Sequence[Expr], value: Any) -> None:
        at = tuple(index)
        old = evaluator.load(self.total.memory, self.total.address(at), self.total.aligned)
        factor = evaluator.load(self.factor.memory, self.factor.address(self.plan.row_of(at)), self.factor.aligned)
        old, factor, value = evaluator.unify(old, factor, value)
        self.total.store(evaluator, at, scalar.fused_multiply_add(old, factor, value))


def kept_box(memory: Any, strides: Sequence[int], offset: int, aligned: int, in_place: bool) -> Buffer:
    """The buffer of a box between stages; `in_place`: the stage that reads it leaves its result there."""
    kind = Scratch if in_place else Buffer
    return kind(memory, tuple(strides), "float32", Expr(offset), aligned)
