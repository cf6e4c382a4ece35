"""Comparing elements as integers, the bitonic network, and the merging of sorted runs.

An element becomes a signed integer that orders as the element does (`sort_key`). Together with its position, which
settles ties, no two are equal, so that a network sorts as stably as any other method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.builder import Builder
from mlirfuse.lowering.kernel.site import Site, lane_by_lane, rule
from mlirfuse.mlir import arith, ir, scf

__all__ = ["emit_comparator", "key_dtype", "network_phases", "next_phase", "sort_key"]

Value = Any
_EQUAL, _LESS, _LESS_EQUAL = arith.CmpIPredicate.eq, arith.CmpIPredicate.slt, arith.CmpIPredicate.sle


def key_dtype(dtype: str) -> str:
    """The integer that holds the key of an element: as wide as arithmetic on it is, 32 bits at least."""
    return "int64" if dtype in ("float64", "int64", "uint64") else "int32"


def sort_key(builder: Builder, x: Value, dtype: str, largest: bool) -> Value:
    """A signed integer that is smaller the earlier x comes; zeros are equal, NaNs larger than every number."""
    kind = ir.IntegerType.get_signless(64 if key_dtype(dtype) == "int64" else 32)
    top = (1 << (kind.width - 1)) - 1
    if dtype.startswith(("float", "bfloat")):
        bits = arith.BitcastOp(kind, scalar.add(x, builder.constant(0.0, x.type))).result  # -0 + 0 = 0
        sign = arith.ShRSIOp(bits, builder.constant(kind.width - 1, kind)).result
        ordered = arith.XOrIOp(bits, arith.AndIOp(sign, builder.constant(top, kind)).result).result
        key = scalar.select(arith.CmpFOp(arith.CmpFPredicate.UNO, x, x).result, builder.constant(top, kind), ordered)
    else:
        unsigned = dtype.startswith("uint") or dtype == "bool"
        key = x
        if x.type.width < kind.width:
            key = (arith.ExtUIOp if unsigned else arith.ExtSIOp)(kind, x).result
        elif unsigned:
            key = arith.XOrIOp(x, builder.constant(-top - 1, kind)).result
    return arith.XOrIOp(key, builder.constant(-1, kind)).result if largest else key


def comes_first(a: tuple[Value, Value], b: tuple[Value, Value]) -> Value:
    """Whether the pair (key, position) `a` comes before `b`."""
    tie = arith.AndIOp(arith.CmpIOp(_EQUAL, a[0], b[0]).result, arith.CmpIOp(_LESS, a[1], b[1]).result).result
    return arith.OrIOp(arith.CmpIOp(_LESS, a[0], b[0]).result, tie).result


def network_phases(length: int) -> int:
    """Phases of the bitonic network for up to `length` elements."""
    levels = max(0, length - 1).bit_length()
    return levels * (levels + 1) // 2


def next_phase(builder: Builder, half: Value, distance: Value) -> list[Value]:
    """From one phase to the next: halve the distance, and double the blocks when it is one."""
    one = builder.constant(1, half.type)
    last = arith.CmpIOp(_EQUAL, distance, one).result
    doubled = arith.ShLIOp(half, one).result
    return [scalar.select(last, doubled, half), scalar.select(last, doubled, arith.ShRUIOp(distance, one).result)]


def comparator(builder: Builder, number: Value, half: Value, distance: Value) -> tuple[Value, Value]:
    """The two places that comparator `number` of a phase puts in order, the lower first (all values i32).

    A block of 2 * half elements has two sorted halves; its first phase (distance = half) compares them in
    opposite directions, so that every comparator sorts upwards and places beyond the end never take part.
    """
    one = builder.constant(1, number.type)
    offset = arith.AndIOp(number, arith.SubIOp(distance, one).result).result
    base = arith.ShLIOp(arith.SubIOp(number, offset).result, one).result
    low = arith.AddIOp(base, offset).result
    mirrored = arith.SubIOp(arith.SubIOp(arith.ShLIOp(distance, one).result, one).result, offset).result
    straight = arith.AddIOp(offset, distance).result
    first = arith.CmpIOp(_EQUAL, half, distance).result
    return low, arith.AddIOp(base, scalar.select(first, mirrored, straight)).result


@rule("sort")
def _sort(site: Site) -> Value:
    """One position by counting, for groups without a network: the element that as many come before as its rank."""
    if site.evaluator.lane is not None:
        return lane_by_lane(site)
    builder, a, x = site.builder, site.node.attrs, site.node.inputs[0]
    access, axis = site.indexing.operands[0], a["axis"]
    rank = builder.index(site.resolve(site.indexing.out[axis]) % a["keep"])
    i64 = ir.IntegerType.get_signless(64)

    def pair(at: Site) -> tuple[Value, Value, Value | None]:
        """Key and position of an element of the run, and whether the run has it."""
        conditions = [Condition(at.resolve(c.value), c.lo, c.hi) for c in access.conditions]
        there = at.builder.all_of([c for c in conditions if not c.always])
        position = arith.IndexCastOp(i64, at.builder.index(at.resolve(access.index[axis]))).result
        return sort_key(at.builder, at.operand(0), x.dtype, bool(a["largest"])), position, there

    def candidate(at: Site, carried: list[Value]) -> list[Value]:
        key, position, there = pair(at)

        def count(other: Site, so_far: list[Value]) -> list[Value]:
            *rival, present = pair(other)
            before = comes_first((rival[0], rival[1]), (key, position))
            before = before if present is None else arith.AndIOp(before, present).result
            more = arith.AddIOp(so_far[0], other.builder.index_constant(1)).result
            return [scalar.select(before, more, so_far[0])]

        before = site.reduce([at.builder.index_constant(0)], count)[0]
        chosen = arith.CmpIOp(_EQUAL, before, rank).result
        chosen = chosen if there is None else arith.AndIOp(chosen, there).result
        return [scalar.select(chosen, position, carried[0])]

    return site.reduce([builder.constant(0, i64)], candidate)[0]


@rule("merge")
def _merge(site: Site) -> Value:
    """The element on this diagonal of the merge path, found by halving."""
    if site.evaluator.lane is not None:
        return lane_by_lane(site)
    return _Merge(site).element()


class _Merge:
    """One result position: `first` and `second` are where its two runs begin in `order`."""

    def __init__(self, site: Site) -> None:
        self.site, self.builder = site, site.builder
        a, (x, order) = site.node.attrs, site.node.inputs
        self.axis, self.run, self.total = a["axis"], a["run"], order.dims[a["axis"]]
        self.size, self.dtype, self.largest = x.dims[self.axis], x.dtype, bool(a["largest"])
        self.out = tuple(site.resolve(e) for e in site.indexing.out)
        place = self.out[self.axis]
        self.diagonal = place % a["keep"]
        self.first = place // a["keep"] * (2 * self.run)

    def element(self) -> Value:
        builder = self.builder
        second = self.first + self.run
        left = self._limited(Expr(self.total) - self.first)
        right = self._limited(Expr(self.total) - second)
        diagonal, zero = builder.index(self.diagonal), builder.index_constant(0)
        low = arith.MaxSIOp(arith.SubIOp(diagonal, right).result, zero).result
        high = arith.MinSIOp(diagonal, left).result

        def step(_: Expr, carried: list[Value]) -> list[Value]:
            low, high = carried
            open_ = arith.CmpIOp(_LESS, low, high).result
            total = arith.AddIOp(low, high).result
            middle = arith.DivUIOp(total, builder.index_constant(2)).result
            opposite = arith.SubIOp(arith.SubIOp(diagonal, middle).result, builder.index_constant(1)).result
            takes = comes_first(self._pair(self.first, middle, left), self._pair(second, opposite, right))
            above = arith.AddIOp(middle, builder.index_constant(1)).result
            low_next = scalar.select(takes, above, low)
            high_next = scalar.select(takes, high, middle)
            return [scalar.select(open_, low_next, low), scalar.select(open_, high_next, high)]

        steps = min(self.run, self.total).bit_length()
        taken = builder.loop(steps, "search", [low, high], step)[0]
        other = arith.SubIOp(diagonal, taken).result
        a, b = self._pair(self.first, taken, left), self._pair(second, other, right)
        some = arith.CmpIOp(_LESS, taken, left).result
        none = arith.CmpIOp(_LESS_EQUAL, right, other).result
        from_left = arith.AndIOp(some, arith.OrIOp(none, comes_first(a, b)).result).result
        return scalar.select(from_left, a[1], b[1])

    def _limited(self, length: Expr) -> Value:
        """The length of a run of which `length` elements are there."""
        zero = self.builder.index_constant(0)
        return arith.MaxSIOp(arith.MinSIOp(self.builder.index(length), self.builder.index_constant(self.run)).result,
                             zero).result  # fmt: skip

    def _pair(self, start: Expr, place: Value, length: Value) -> tuple[Value, Value]:
        """Key and position of the element at `place` of the run at `start`; inside the run, whatever `place` is."""
        last = arith.SubIOp(length, self.builder.index_constant(1)).result
        zero = self.builder.index_constant(0)
        inside = arith.MaxSIOp(arith.MinSIOp(place, last).result, zero).result
        at = self._named("place", arith.AddIOp(self.builder.index(start), inside).result, self.total)
        position = self._value(1, at)
        chosen = self._named("chosen", arith.IndexCastOp(ir.IndexType.get(), position).result, self.size)
        return sort_key(self.builder, self._value(0, chosen), self.dtype, self.largest), position

    def _named(self, stem: str, value: Value, size: int) -> Expr:
        """An index value as an expression in [0, size)."""
        last = self.builder.index_constant(size - 1)
        inside = arith.MinSIOp(arith.MaxSIOp(value, self.builder.index_constant(0)).result, last).result
        return self.builder.name(inside, stem, size)

    def _value(self, operand: int, place: Expr) -> Value:
        index = (*self.out[: self.axis], place, *self.out[self.axis + 1 :])
        return self.site.evaluator.value(self.site.member.operands[operand], index)


def emit_comparator(
    builder: Builder,
    number: Value,
    phase: tuple[Value, Value],
    length: Value,
    load: Callable[[Value], tuple[Value, Value]],
    store: Callable[[Value, tuple[Value, Value]], None],
) -> None:
    """Put one comparator's pair in order, where both its places are below `length` (i32 values)."""
    low, high = comparator(builder, number, *phase)
    inside = scf.IfOp(arith.CmpIOp(_LESS, high, length).result)
    with builder.scope(ir.InsertionPoint(inside.then_block)):
        places = [arith.IndexCastOp(ir.IndexType.get(), place).result for place in (low, high)]
        a, b = load(places[0]), load(places[1])
        swap = scf.IfOp(comes_first(b, a))
        with builder.scope(ir.InsertionPoint(swap.then_block)):
            store(places[0], b)
            store(places[1], a)
            scf.YieldOp([])
        scf.YieldOp([])
