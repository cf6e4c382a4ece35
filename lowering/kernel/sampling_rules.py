"""Rules of ops that read between elements: regions of interest, and grids of coordinates.

Only the channel may differ between lanes: coordinates and weights are then scalars, and elements vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlirfuse.dialect.indexing import Expr, Var
from mlirfuse.dialect.sampling import tap_weights
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.builder import compute_type
from mlirfuse.lowering.kernel.real import Real, Test
from mlirfuse.lowering.kernel.site import Site, lane_by_lane, rule
from mlirfuse.mlir import arith, ir, scf

Value = Any
MOST_SAMPLES = float(1 << 24)  # along a side of a bin whose region says how many: what floats count exactly


@dataclass(frozen=True)
class _Tap:
    """An element beside a place on one axis, and its weight (a float of x's type)."""

    place: Expr
    weight: Value


class _Planes:
    """Weighted elements of planes: vectors where the channel differs between lanes."""

    def __init__(self, site: Site, image: Expr, channel: Expr) -> None:
        self.site, self.evaluator, self.dtype = site, site.evaluator, site.node.inputs[0].dtype
        self.image, self.channel = image, channel
        self.kind = compute_type(self.dtype)
        wide = self.evaluator.depends_on_lane(channel)
        self.wide = ir.VectorType.get([self.evaluator.width], self.kind) if wide else self.kind

    def term(self, taps: tuple[_Tap, ...]) -> Value:
        """The element where the taps cross, times the product of their weights."""
        weight = taps[0].weight
        for tap in taps[1:]:
            weight = scalar.mul(weight, tap.weight)
        index = (self.image, self.channel, *(tap.place for tap in taps))
        x = self.evaluator.value(self.site.member.operands[0], index)
        return scalar.mul(*self.spread(x, weight))

    def spread(self, *values: Value) -> list[Value]:
        width = self.evaluator.width if isinstance(self.wide, ir.VectorType) else 1
        return [self.site.builder.spread(v, width) for v in values]

    def constant(self, number: float) -> Value:
        return self.site.builder.constant(number, self.wide)


def _only_channel_differs(site: Site, out: tuple[Expr, ...]) -> bool:
    return not any(site.evaluator.depends_on_lane(e) for i, e in enumerate(out) if i != 1)


@rule("roi_align")
def _roi_align(site: Site) -> Value:
    out = tuple(site.resolve(e) for e in site.indexing.out)
    return _RoiAlign(site, out).element() if _only_channel_differs(site, out) else lane_by_lane(site)


class _RoiAlign:
    """One element of one bin."""

    def __init__(self, site: Site, out: tuple[Expr, ...]) -> None:
        self.site, self.builder, self.attrs = site, site.builder, site.node.attrs
        self.roi, channel, self.row, self.column = out
        image = site.resolve(site.indexing.operands[0].index[0])
        self.planes = _Planes(site, image, channel)
        self.kind = compute_type(site.node.inputs[1].dtype)

    def element(self) -> Value:
        _, _, height, width = self.site.node.inputs[0].dims
        across = _Side(self, 0, self.column, self.attrs["sizes"][1], width)
        down = _Side(self, 1, self.row, self.attrs["sizes"][0], height)
        maximum = self.attrs["kind"] == "max"
        start = self.planes.constant(float("-inf") if maximum else 0.0)

        def row(i: Real, carried: Value) -> Value:
            above = down.taps(i)

            def column(j: Real, so_far: Value) -> Value:
                for pair in itertools.product(above, across.taps(j)):
                    term = self.planes.term(pair)
                    so_far = arith.MaximumFOp(so_far, term).result if maximum else scalar.add(so_far, term)
                return so_far

            return across.each_sample(column, carried)

        total = down.each_sample(row, start)
        count = down.count * across.count
        if maximum:  # no samples, no maximum: zero
            some = (count > 0.0).value
            return scalar.select(some, *self.planes.spread(total, self.builder.constant(0.0, self.planes.kind)))
        inverse = scalar.div(self.builder.constant(1.0, self.kind), count.at_least(1.0).value)
        return scalar.mul(*self.planes.spread(total, _in_type_of_x(self.site, inverse)))

    def coordinate(self, corner: int) -> Real:
        """One number of the region, in elements."""
        index = self.roi, Expr(corner)
        value = self.site.evaluator.value(self.site.member.operands[1], index)
        return Real(self.builder, value) * self.attrs["scale"] - (0.5 if self.attrs["half_pixel"] else 0.0)


class _Side:
    """Columns (axis 0) or rows (axis 1) of a region: where its samples lie, and how many there are."""

    def __init__(self, align: _RoiAlign, axis: int, number: Expr, bins: int, size: int) -> None:
        self.align, self.builder, self.size = align, align.builder, size
        start, extent = align.coordinate(axis), align.coordinate(axis + 2) - align.coordinate(axis)
        if not align.attrs["half_pixel"]:
            extent = extent.at_least(1.0)
        self.step = extent / float(bins)
        self.start = start + Real.of_index(self.builder, number, align.kind) * self.step
        given = align.attrs["samples"]
        self.samples: int | None = given or None
        if given:
            self.count = Real(self.builder, self.builder.constant(float(given), align.kind))
        else:
            count = self.step.ceil()
            self.count = (count >= 0.0).choose(count, 0.0).at_most(MOST_SAMPLES)

    def each_sample(self, body: Callable[[Real, Value], Value], init: Value) -> Value:
        """body(number of the sample, carried) for every sample, one after the other."""
        builder, kind = self.builder, self.align.kind
        if self.samples is not None:
            return builder.loop(
                self.samples, "sample", [init], lambda i, c: [body(Real.of_index(builder, i, kind), c[0])]
            )[0]
        end = arith.FPToSIOp(ir.IntegerType.get_signless(32), self.count.value).result
        bound = arith.IndexCastOp(ir.IndexType.get(), end).result
        loop = scf.ForOp(builder.index_constant(0), bound, builder.index_constant(1), [init])
        number = Expr(0, ((Var(builder.fresh_name("sample"), 0, int(MOST_SAMPLES)), 1),))
        with builder.scope(ir.InsertionPoint(loop.body)):
            builder.bind(number, loop.induction_variable, affine=False)
            scf.YieldOp([body(Real.of_index(builder, number, kind), loop.inner_iter_args[0])])
        return loop.results[0]

    def taps(self, sample: Real) -> tuple[_Tap, _Tap]:
        """The two elements beside a sample; outside of the plane their weights are zero."""
        where = self.start + (sample + 0.5) * self.step / self.count
        inside: Test = (where >= -1.0) & (where <= float(self.size))
        where = inside.choose(where, 0.0).at_least(0.0)
        low = where.floor().at_most(float(self.size - 1))
        part = (low < float(self.size - 1)).choose(where - low, 0.0)
        weights = inside.choose(1.0 - part, 0.0), inside.choose(part, 0.0)
        first, second = low.index("low", self.size), (low + 1.0).index("high", self.size)
        near, far = (_in_type_of_x(self.align.site, w.value) for w in weights)
        return _Tap(first, near), _Tap(second, far)


@rule("grid_sample")
def _grid_sample(site: Site) -> Value:
    """The sum of taps x weights over every combination of the axes' taps."""
    out = tuple(site.resolve(e) for e in site.indexing.out)
    if not _only_channel_differs(site, out):
        return lane_by_lane(site)
    planes = _Planes(site, out[0], out[1])
    rank = len(out) - 2
    axes = []
    for axis, size in enumerate(site.node.inputs[0].dims[2:]):
        place = (out[0], *out[2:], Expr(rank - 1 - axis))
        value = site.evaluator.value(site.member.operands[1], place)
        axes.append(_axis_taps(site, Real(site.builder, value), size))
    total = planes.constant(0.0)
    for taps in itertools.product(*axes):
        total = scalar.add(total, planes.term(taps))
    return total


def _axis_taps(site: Site, grid: Real, size: int) -> list[_Tap]:
    """The elements that a coordinate takes part of along one axis."""
    a = site.node.attrs
    padding, corners = a["padding"], a["align_corners"]
    where = (grid + 1.0) / 2.0 * float(size - 1) if corners else ((grid + 1.0) * float(size) - 1.0) / 2.0
    low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
    if a["mode"] == "nearest":
        where = where.round_even()
    if padding != "zeros":
        kept = _into(where, size, low, high, padding)
        where = ((where >= low) & (where <= high)).choose(where, kept)
    base = where.floor()
    weights = tap_weights(where - base, a["mode"])
    taps = []
    for i, weight in enumerate(weights):
        place = base + float(i - (len(weights) == 4))
        if padding == "zeros":
            weight = ((place >= 0.0) & (place <= float(size - 1))).choose(weight, 0.0)
        else:
            place = _into(place, size, low, high, padding).truncate()
        taps.append(_Tap(place.index("tap", size), _in_type_of_x(site, weight.value)))
    return taps


def _into(where: Real, size: int, low: float, high: float, padding: str) -> Real:
    """A place outside of an axis as the place inside that stands for it."""
    span = high - low
    if padding == "border" or span == 0:
        return where.at_least(0.0).at_most(float(size - 1))
    within = (where - low).modulo(2 * span)
    return (within <= span).choose(within, 2 * span - within) + low


def _in_type_of_x(site: Site, value: Value) -> Value:
    """A float of the coordinates' type (operand 1) in that of the elements."""
    wide = {"float64": "float64"}
    have, want = (wide.get(site.node.inputs[i].dtype, "float32") for i in (1, 0))
    return scalar.cast(site.builder, value, have, want)
