"""Softmax, normalisation and reductions of whole rows, one pass for each statistic.

for each row, or vector of rows:
    softmax:    top = max x;  total = sum (e = exp(x - top));  out = epilogue(e / total)
    normalize:  mean = sum x / n;  variance = sum (x - mean)^2 / n;  out = epilogue((x - mean) rsqrt(variance + eps))
    reduce:     out = epilogue(reduction of x)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlirfuse.dialect.indexing import Expr, Var, delinearize, minimum
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.builder import Builder
from mlirfuse.lowering.kernel.landing import store_landings
from mlirfuse.lowering.kernel.point import Buffer, Scratch
from mlirfuse.lowering.schedule.host_rows import RowLoops, RowPlan
from mlirfuse.mlir import ir, vector

__all__ = ["Carried", "emit_rows"]

WIDE = 4  # vectors at a time, to hide the latency of one accumulator


@dataclass(frozen=True)
class Carried:
    """What a softmax carries from one part of its rows to the next, for each row.

    The largest element so far, the sum of exp(x - largest) so far, and what has to scale the sums made before.
    """

    largest: Buffer
    total: Buffer
    factor: Buffer


def emit_rows(frame: Frame, schedule: RowLoops, carried: Carried | None = None) -> None:
    """Emit the body of a row kernel; with `carried`, that of one part of the rows of a softmax."""
    plan = RowPlan(frame.group, schedule)
    in_place = isinstance(frame.operands.get(plan.operand), Scratch)
    scratch = frame.scratch(plan.scratch_elements, "float32") if schedule.kept and not in_place else None
    chunk = -(-plan.units // schedule.tiles)
    start = frame.tile * chunk
    emit = {"softmax": _softmax, "normalize": _normalize, "reduce": _reduce}[plan.anchor.node.op]
    if carried is not None:
        emit = partial(_part_of_softmax, carried)
    across = _Across if plan.across else _Along
    frame.span(start, minimum(start + chunk, plan.units), "row", lambda unit: emit(across(frame, plan, scratch, unit)))


class _Rows:
    """One row, or one vector of rows: how its elements are read, kept, reduced and written."""

    lane: Expr | None = None
    width = 1

    def __init__(self, frame: Frame, plan: RowPlan, scratch: Any, unit: Expr) -> None:
        self.frame, self.plan, self.builder = frame, plan, frame.builder
        place = frame.operands.get(plan.operand)
        self.own = place if isinstance(place, Scratch) else None  # the row is in scratch and may change there
        if self.own is not None:
            scratch = self.own.memory
        self.kept = Buffer(scratch, (1,), "float32", Expr(0), 0) if scratch is not None else None
        self.rows = self._rows(unit)

    def _rows(self, unit: Expr) -> tuple[Expr, ...]:
        raise NotImplementedError

    def _kept_at(self, position: Expr) -> Expr:
        raise NotImplementedError

    def kept_at(self, position: Expr) -> Expr:
        """Where an element is kept."""
        if self.own is not None:
            return self.own.address(self.plan.index(self.rows, position))
        return self._kept_at(position)

    def operand(self, position: Expr, lane: Expr | None, width: int) -> Any:
        """x at a position (a vector where there are lanes)."""
        evaluator = self.frame.evaluator(lane=lane, width=width)
        value = evaluator.value(self.plan.operand, self.plan.index(self.rows, position))
        return evaluator.vectorized(value) if lane is not None else value

    def element(self, position: Expr, lane: Expr | None, width: int) -> Any:
        """What the last pass kept, or x again."""
        if self.kept is None:
            return self.operand(position, lane, width)
        # loaded here and now: the evaluator would remember what an earlier pass kept
        return self.frame.evaluator(lane=lane, width=width).load(self.kept.memory, self.kept_at(position), 0)

    def hold(self, position: Expr, lane: Expr | None, width: int) -> Any:
        """Read x for the first time, and keep it for the passes to come."""
        x = self.operand(position, lane, width)
        if self.own is None:
            self.keep(position, lane, width, x)
        return x

    def keep(self, position: Expr, lane: Expr | None, width: int, value: Any) -> None:
        if self.kept is not None:
            self.kept.store(self.frame.evaluator(lane=lane, width=width), (self.kept_at(position),), value)

    def reduce(self, kind: str, body: Callable[[Expr, Expr | None, int], Any]) -> Any:
        """The reduction of body(position, lane, width) over the row: a scalar, or a vector across rows."""
        raise NotImplementedError

    def write(self, body: Callable[[Expr, Expr | None, int], Any]) -> None:
        """Store the outputs for body(position, lane, width) all along the row."""
        raise NotImplementedError

    def spread(self, value: Any, width: int) -> Any:
        return self.builder.spread(value, width)

    def store(self, index: tuple[Expr, ...], value: Any, lane: Expr | None, width: int) -> None:
        """Run the epilogue on the anchor's element at `index` and store every output."""
        frame = self.frame
        store_landings(frame.group, self.plan.anchor, frame.evaluator, frame.store_outputs, index, value, lane, width)

    def put(self, position: Expr, lane: Expr | None, width: int, value: Any) -> None:
        self.store(self.plan.index(self.rows, position), value, lane, width)


class _Along(_Rows):
    """Lanes along the row: accumulators are vectors, folded at the end; what fills no vector is done one by one."""

    def _rows(self, unit: Expr) -> tuple[Expr, ...]:
        return delinearize(unit, tuple(self.plan.dims[a] for a in self.plan.rows))

    def _kept_at(self, position: Expr) -> Expr:
        return position

    def reduce(self, kind: str, body: Callable[[Expr, Expr | None, int], Any]) -> Any:
        identity, done, total = scalar.identity_of(kind, "float32"), 0, None
        lanes = self.plan.schedule.lanes
        for width in (WIDE * lanes, lanes, 1):
            count = (self.plan.length - done) // width
            if not count:
                continue
            narrow = None if total is None else _fold(self.builder, kind, total, width)
            first = narrow if narrow is not None else self.builder.constant(identity, _vector(width))
            total = self._sweep(kind, done, count, width, first, body)
            done += count * width
        assert total is not None
        return _fold(self.builder, kind, total, 1)

    def _sweep(self, kind: str, start: int, count: int, width: int, init: Any, body: Callable[..., Any]) -> Any:
        lane = Expr(0, ((Var(self.builder.fresh_name("lane"), 0, width - 1), 1),)) if width > 1 else None

        def step(i: Expr, carried: list[Any]) -> list[Any]:
            position = i * width + start + (lane if lane is not None else 0)
            return [scalar.combine(self.builder, kind, carried[0], body(position, lane, width), "float32")]

        return self.builder.loop(count, "x", [init], step)[0]

    def write(self, body: Callable[[Expr, Expr | None, int], Any]) -> None:
        lanes, length = self.plan.schedule.lanes, self.plan.length
        width = next((w for w in (2 * lanes, lanes) if length % w == 0), lanes if length >= lanes else 1)
        # what is overwritten in place may not be done twice
        overlap = self.own is None
        self.frame.row(length, width, lambda p, lane, w: self.put(p, lane, w, body(p, lane, w)), overlap=overlap)


class _Across(_Rows):
    """Lanes across neighbouring rows: every statistic is a vector."""

    def _rows(self, unit: Expr) -> tuple[Expr, ...]:
        plan, self.width = self.plan, self.plan.schedule.lanes
        *outer, number = delinearize(unit, (*(plan.dims[a] for a in plan.rows[:-1]), plan.vectors))
        first = number * self.width
        if plan.lane_size % self.width:
            first = self.frame.named(minimum(first, plan.lane_size - self.width), "first")
        self.lane = Expr(0, ((Var(self.builder.fresh_name("lane"), 0, self.width - 1), 1),))
        return (*outer, first + self.lane)

    def _kept_at(self, position: Expr) -> Expr:
        assert self.lane is not None
        return position * self.width + self.lane

    def reduce(self, kind: str, body: Callable[[Expr, Expr | None, int], Any]) -> Any:
        init = self.builder.constant(scalar.identity_of(kind, "float32"), _vector(self.width))

        def step(i: Expr, carried: list[Any]) -> list[Any]:
            return [scalar.combine(self.builder, kind, carried[0], body(i, self.lane, self.width), "float32")]

        return self.builder.loop(self.plan.length, "x", [init], step)[0]

    def write(self, body: Callable[[Expr, Expr | None, int], Any]) -> None:
        def one(position: Expr) -> None:
            self.put(position, self.lane, self.width, body(position, self.lane, self.width))

        self.frame.span(Expr(0), Expr(self.plan.length), "x", one)


def _vector(width: int) -> ir.Type:
    f32 = ir.F32Type.get()
    return ir.VectorType.get([width], f32) if width > 1 else f32


def _fold(builder: Builder, kind: str, value: Any, width: int) -> Any:
    """Halve a vector by its reduction until it has `width` elements; one element is a scalar."""
    if not isinstance(value.type, ir.VectorType):
        return value
    have = value.type.shape[0]
    while have > max(width, 1):
        have //= 2
        parts = [vector.ExtractStridedSliceOp(_vector(have) if have > 1 else ir.VectorType.get([1], ir.F32Type.get()),
                                              value, [offset], [have], [1]).result for offset in (0, have)]  # fmt: skip
        value = scalar.combine(builder, kind, parts[0], parts[1], "float32")
    return vector.ExtractOp(value, [], [0]).result if width == 1 else value


def _softmax(row: _Rows) -> None:
    builder, log = row.builder, row.plan.anchor.node.attrs["log"]

    top = row.reduce("max", row.hold)

    def exponential(position: Expr, lane: Expr | None, width: int) -> Any:
        shifted = scalar.sub(row.element(position, lane, width), row.spread(top, width))
        e = scalar.unary(builder, "exp", shifted, "float32", 0.0, 0.0)
        row.keep(position, lane, width, shifted if log else e)
        return e

    total = row.reduce("sum", exponential)
    if log:
        logarithm = scalar.unary(builder, "log", total, "float32", 0.0, 0.0)
        if row.kept is None:
            logarithm = scalar.add(logarithm, top)
        row.write(lambda p, lane, width: scalar.sub(row.element(p, lane, width), row.spread(logarithm, width)))
        return

    def share(position: Expr, lane: Expr | None, width: int) -> Any:
        e = row.element(position, lane, width)
        if row.kept is None:
            e = scalar.unary(builder, "exp", scalar.sub(e, row.spread(top, width)), "float32", 0.0, 0.0)
        return scalar.div(e, row.spread(total, width))

    row.write(share)


def _part_of_softmax(carried: Carried, row: _Rows) -> None:
    """exp(x - largest so far) in the place of x; the quotient by the sum is left to what follows the last part.

    Where all elements so far are -inf, they count as 0 from 0: what is carried stays a number.
    """
    builder, here = row.builder, row.plan.index(row.rows, Expr(0))
    evaluator = row.frame.evaluator(lane=row.lane, width=row.width)

    def load(buffer: Buffer) -> Any:
        return evaluator.load(buffer.memory, buffer.address(here), buffer.aligned)

    before = load(carried.largest)
    largest = scalar.combine(builder, "max", before, row.reduce("max", row.hold), "float32")
    lowest = builder.constant(-math.inf, largest.type)
    empty = scalar.binary(builder, "equal", largest, lowest, "float32")
    base = scalar.select(empty, builder.constant(0.0, largest.type), largest)

    def exponential(position: Expr, lane: Expr | None, width: int) -> Any:
        shifted = scalar.sub(row.element(position, lane, width), row.spread(base, width))
        e = scalar.unary(builder, "exp", shifted, "float32", 0.0, 0.0)
        row.keep(position, lane, width, e)
        return e

    total = row.reduce("sum", exponential)
    factor = scalar.unary(builder, "exp", scalar.sub(before, base), "float32", 0.0, 0.0)
    for buffer, value in (
        (carried.total, scalar.fused_multiply_add(load(carried.total), factor, total)),
        (carried.factor, factor),
        (carried.largest, largest),
    ):
        buffer.store(evaluator, here, value)


def _normalize(row: _Rows) -> None:
    builder = row.builder

    def over_length(total: Any) -> Any:
        return scalar.mul(total, builder.constant(1.0 / row.plan.length, total.type))

    mean = over_length(row.reduce("sum", row.hold)) if row.plan.anchor.node.get("centred", True) else None

    def centred(position: Expr, lane: Expr | None, width: int) -> Any:
        value = row.element(position, lane, width)
        return value if mean is None else scalar.sub(value, row.spread(mean, width))

    def squared(position: Expr, lane: Expr | None, width: int) -> Any:
        value = (row.hold if mean is None else centred)(position, lane, width)
        return scalar.mul(value, value)

    variance = over_length(row.reduce("sum", squared))
    epsilon = builder.constant(row.plan.anchor.node.attrs["epsilon"], variance.type)
    scale = scalar.unary(builder, "rsqrt", scalar.add(variance, epsilon), "float32", 0.0, 0.0)
    row.write(lambda p, lane, width: scalar.mul(centred(p, lane, width), row.spread(scale, width)))


def _reduce(row: _Rows) -> None:
    kind = row.plan.anchor.node.attrs["kind"]
    total = row.reduce(kind, row.operand)
    if kind == "mean":
        total = scalar.mul(total, row.builder.constant(1.0 / row.plan.length, total.type))
    index = row.plan.out_index(row.plan.index(row.rows, Expr(0)))
    row.store(index, total, row.lane, row.width)
