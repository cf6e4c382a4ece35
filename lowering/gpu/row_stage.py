"""Softmax and normalisation: a team reads each row once, keeps it in shared memory, and reduces it twice.

for each team:  row = its row
    row_shared[...] = operand(row, ...);  first statistic (maximum, or sum)
    second statistic (sum of exponentials, or of squared deviations)
    out[row, ...] = epilogue(element)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, delinearize
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.gpu.team_stage import in_range, store_from_registers
from mlirfuse.lowering.gpu.teams import WARP, team_reduce
from mlirfuse.lowering.groups.group import Member
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.builder import compute_type
from mlirfuse.lowering.kernel.point import Buffer, Scratch
from mlirfuse.lowering.schedule.simt import RowTiles

__all__ = ["Carried", "emit_row"]

SCRATCH, ROW = 0, 1  # shared arrays


class _Row:
    """One team's row: where its elements are, and loops over this thread's share of them."""

    def __init__(self, frame: Frame, anchor: Member, schedule: RowTiles, row: Expr) -> None:
        self.frame, self.anchor, self.schedule = frame, anchor, schedule
        node = anchor.node
        dims, axes = node.inputs[0].dims, node.attrs["axes"]
        self.inner = tuple(dims[a] for a in axes)
        self.length = math.prod(self.inner)
        self.axes = axes
        outer = [a for a in range(len(dims)) if a not in axes]
        self.outer = dict(zip(outer, delinearize(row, tuple(dims[a] for a in outer)), strict=True))
        self.rank = len(dims)
        self.slot = frame.thread // schedule.team  # which of the block's rows
        self.type = compute_type("float32")
        place = frame.buffers.get(anchor.operands[0])
        self.own = place if isinstance(place, Scratch) else None  # the row is in shared memory and may change there
        self.keeps = schedule.resident or self.own is not None

    def index(self, position: Expr) -> tuple[Expr, ...]:
        along = dict(zip(self.axes, delinearize(position, self.inner), strict=True))
        return tuple(along[a] if a in along else self.outer[a] for a in range(self.rank))

    def operand(self, position: Expr) -> Any:
        """The element, read from the group's operand."""
        return self.frame.evaluator().value(self.anchor.operands[0], self.index(position))

    def element(self, position: Expr) -> Any:
        """The element as the last pass left it: from shared memory, or read again."""
        if self.own is not None:  # loaded here and now: an evaluator would remember what an earlier pass kept
            return self.frame.evaluator().load(self.own.memory, self.own.address(self.index(position)))
        if self.schedule.resident:
            return self.frame.shared_load(ROW, self.slot, position)
        return self.operand(position)

    def hold(self, position: Expr) -> Any:
        """Read the element for the first time, and keep it for the passes to come."""
        x = self.operand(position)
        if self.own is None:
            self.keep(position, x)
        return x

    def keep(self, position: Expr, value: Any) -> None:
        if self.own is not None:
            self.own.store(self.frame.evaluator(), self.index(position), value)
        elif self.schedule.resident:
            self.frame.shared_store(ROW, self.slot, position, value)

    def share(self, inits: list[Any], body: Callable[[Expr, list[Any]], list[Any]]) -> list[Any]:
        """This thread's positions, one after the other."""
        team = self.schedule.team
        steps = -(-self.length // team)
        builder = self.frame.builder

        def step(i: Expr, carried: list[Any]) -> list[Any]:
            position = i * team + self.frame.thread % team
            inside = Condition(position, 0, self.length - 1)
            if not carried:
                builder.when([inside], lambda: body(self._narrow(position), []) and None)
                return []
            return [builder.when([inside], lambda: body(self._narrow(position), carried)[0], lambda: carried[0])]

        return builder.loop(steps, "step", inits, step)

    def _narrow(self, position: Expr) -> Expr:
        return in_range(self.frame, position, self.length)

    def reduce(self, kind: str, body: Callable[[Expr], Any]) -> Any:
        """Reduce body(position) over the row; every thread of the team gets the result."""
        builder = self.frame.builder
        init = builder.constant(scalar.identity_of(kind, "float32"), self.type)
        total = self.share([init], lambda p, carried: [scalar.combine(builder, kind, carried[0], body(p), "float32")])[
            0
        ]
        return team_reduce(self.frame, kind, total, self.schedule.team, SCRATCH)


@dataclass(frozen=True)
class Carried:
    """What a softmax carries from one part of its rows to the next, for each row.

    The largest element so far and the sum of exp(x - largest) so far, one of each for every lane of the warp whose row
    it is; and what has to scale the sums made before, which other warps read.
    """

    largest: Buffer
    total: Buffer
    factor: Buffer


def emit_row(frame: Frame, schedule: RowTiles, carried: Carried | None = None) -> None:
    """Emit the body of a row kernel; with `carried`, that of one part of the rows of a softmax."""
    anchor = frame.group.anchor
    assert anchor is not None
    dims, axes = anchor.node.inputs[0].dims, anchor.node.attrs["axes"]
    rows = math.prod(d for a, d in enumerate(dims) if a not in axes)
    number = frame.block[0] * (schedule.threads // schedule.team) + frame.thread // schedule.team
    emit = {"softmax": _softmax, "normalize": _normalize}[anchor.node.op]
    if carried is not None:
        emit = partial(_part_of_softmax, carried)

    def one_row() -> None:
        emit(_Row(frame, anchor, schedule, in_range(frame, number, rows)))

    if schedule.team > WARP:
        one_row()
    else:
        frame.builder.when([Condition(number, 0, rows - 1)], one_row)


def _softmax(row: _Row) -> None:
    frame, builder = row.frame, row.frame.builder
    log = row.anchor.node.attrs["log"]

    top = row.reduce("max", row.hold)

    def exponential(position: Expr) -> Any:
        e = scalar.unary(builder, "exp", scalar.sub(row.element(position), top), "float32", 0.0, 0.0)
        if not log:
            row.keep(position, e)
        return e

    total = row.reduce("sum", exponential)
    logarithm = scalar.unary(builder, "log", total, "float32", 0.0, 0.0) if log else None

    def result(position: Expr, _: list[Any]) -> list[Any]:
        x = row.element(position)
        if log:
            value = scalar.sub(scalar.sub(x, top), logarithm)
        elif row.keeps:
            value = scalar.div(x, total)
        else:
            value = scalar.div(scalar.unary(builder, "exp", scalar.sub(x, top), "float32", 0.0, 0.0), total)
        store_from_registers(frame, row.anchor, row.index(position), value)
        return []

    row.share([], result)


def _part_of_softmax(carried: Carried, row: _Row) -> None:
    """exp(x - largest so far) in the place of x; the quotient by the sum is left to what follows the last part.

    Where all elements so far are -inf, they count as 0 from 0: what is carried stays a number.
    """
    frame, builder = row.frame, row.frame.builder
    evaluator, here = frame.evaluator(), row.index(Expr(0))
    lane = frame.thread % WARP

    def load(buffer: Buffer) -> Any:
        return evaluator.load(buffer.memory, buffer.address(here) + lane)

    before, sum_before = load(carried.largest), load(carried.total)
    largest = scalar.combine(builder, "max", before, row.reduce("max", row.hold), "float32")
    empty = scalar.binary(builder, "equal", largest, builder.constant(-math.inf, row.type), "float32")
    base = scalar.select(empty, builder.constant(0.0, row.type), largest)

    def exponential(position: Expr) -> Any:
        e = scalar.unary(builder, "exp", scalar.sub(row.element(position), base), "float32", 0.0, 0.0)
        row.keep(position, e)
        return e

    total = row.reduce("sum", exponential)
    factor = scalar.unary(builder, "exp", scalar.sub(before, base), "float32", 0.0, 0.0)
    evaluator.store(carried.largest.memory, carried.largest.address(here) + lane, largest)
    whole = scalar.fused_multiply_add(sum_before, factor, total)
    evaluator.store(carried.total.memory, carried.total.address(here) + lane, whole)
    builder.when([Condition(lane, 0, 0)], lambda: carried.factor.store(evaluator, here, factor))


def _normalize(row: _Row) -> None:
    frame, builder = row.frame, row.frame.builder
    per_element = builder.constant(1.0 / row.length, row.type)

    mean = scalar.mul(row.reduce("sum", row.hold), per_element) if row.anchor.node.get("centred", True) else None

    def centred(position: Expr) -> Any:
        value = row.element(position)
        return value if mean is None else scalar.sub(value, mean)

    def squared(position: Expr) -> Any:
        value = (row.hold if mean is None else centred)(position)
        return scalar.mul(value, value)

    variance = scalar.mul(row.reduce("sum", squared), per_element)
    epsilon = builder.constant(row.anchor.node.attrs["epsilon"], row.type)
    scale = scalar.unary(builder, "rsqrt", scalar.add(variance, epsilon), "float32", 0.0, 0.0)

    def result(position: Expr, _: list[Any]) -> list[Any]:
        value = scalar.mul(centred(position), scale)
        store_from_registers(frame, row.anchor, row.index(position), value)
        return []

    row.share([], result)
