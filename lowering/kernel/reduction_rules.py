"""Rules of reductions: loops over the reduced domain with carried values."""

from __future__ import annotations

from typing import Any

from mlirfuse.dialect.indexing import Condition, as_expr, linearize, maximum, minimum
from mlirfuse.dialect.reduction import WindowOp
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.builder import compute_type
from mlirfuse.lowering.kernel.site import Site, lane_by_lane, rule
from mlirfuse.mlir import arith, ir

Value = Any


@rule("conv")
@rule("contract")
def _contraction(site: Site) -> Value:
    """Multiply-add over the reduction domain."""
    dtype = site.node.inputs[0].dtype
    wide = site.carried_type()
    zero = site.builder.constant(scalar.identity_of("sum", dtype), wide)

    def step(at: Site, carried: list[Value]) -> list[Value]:
        a, b, total = at.evaluator.unify(at.operand(0), at.operand(1), carried[0])
        if dtype.startswith(("float", "bfloat")):
            return [scalar.fused_multiply_add(a, b, total)]
        return [scalar.binary(at.builder, "add", scalar.binary(at.builder, "mul", a, b, dtype), total, dtype)]

    return site.reduce([zero], step)[0]


@rule("reduce")
def _reduce(site: Site) -> Value:
    kind, dtype = site.node.attrs["kind"], site.node.inputs[0].dtype
    if kind.startswith("arg"):
        return _arg_reduce(site)
    init = site.builder.constant(scalar.identity_of(kind, dtype), site.carried_type())

    def step(at: Site, carried: list[Value]) -> list[Value]:
        x, total = at.evaluator.unify(at.operand(0), carried[0])
        return [scalar.combine(at.builder, kind, total, x, dtype)]

    total = site.reduce([init], step)[0]
    if kind != "mean":
        return total
    count = 1
    for size in site.indexing.reduction_sizes:
        count *= size
    return _divided(site, total, count, dtype)


def _divided(site: Site, total: Value, count: int, dtype: str) -> Value:
    if dtype.startswith(("float", "bfloat")):
        return scalar.mul(total, site.builder.constant(1.0 / count, total.type))
    return scalar.binary(site.builder, "div", total, site.builder.constant(count, total.type), dtype)


def _arg_reduce(site: Site) -> Value:
    """The position of the extreme element: carried are the best value and its position."""
    if site.evaluator.lane is not None:
        return lane_by_lane(site)
    kind, dtype = site.node.attrs["kind"], site.node.inputs[0].dtype
    extreme = "max" if kind == "argmax" else "min"
    i64 = ir.IntegerType.get_signless(64)
    best = site.builder.constant(scalar.identity_of(extreme, dtype), compute_type(dtype))
    first = site.builder.constant(0, i64)
    better = {
        ("max", False): "greater",
        ("max", True): "greater_equal",
        ("min", False): "less",
        ("min", True): "less_equal",
    }[extreme, bool(site.node.get("select_last", False))]
    position = site.indexing.reduction[0]

    def step(at: Site, carried: list[Value]) -> list[Value]:
        x = at.operand(0)
        here = arith.IndexCastOp(i64, at.builder.index(at.resolve(position))).result
        wins = scalar.binary(at.builder, better, x, carried[0], dtype)
        return [scalar.select(wins, x, carried[0]), scalar.select(wins, here, carried[1])]

    return site.reduce([best, first], step)[1]


@rule("window")
def _window(site: Site) -> Value:
    node = site.node
    kind, dtype = node.attrs["kind"], node.inputs[0].dtype
    if kind == "argmax":
        return _first_maximum(site)
    counts = WindowOp.counts(node)
    uneven = kind == "mean" and any(len(set(c)) > 1 for c in counts)
    wide = site.carried_type()
    inits = [site.builder.constant(scalar.identity_of(kind, dtype), wide)]

    def step(at: Site, carried: list[Value]) -> list[Value]:
        x, total = at.evaluator.unify(at.operand(0), carried[0])
        return [scalar.combine(at.builder, kind, total, x, dtype)]

    total = site.reduce(inits, step)[0]
    if kind != "mean":
        return total
    if not uneven:
        count = 1
        for c in counts:
            count *= c[0]
        return _divided(site, total, max(1, count), dtype)
    return scalar.div(total, site.evaluator.unify(total, _window_count(site))[1])


def _first_maximum(site: Site) -> Value:
    """The position of the window's first maximum: carried are the best value and its position, -1 before any."""
    if site.evaluator.lane is not None:
        return lane_by_lane(site)
    node, i64 = site.node, ir.IntegerType.get_signless(64)
    x, axes = node.inputs[0], node.attrs["axes"]
    start = site.builder.constant(scalar.identity_of("max", x.dtype), compute_type(x.dtype))

    def step(at: Site, carried: list[Value]) -> list[Value]:
        builder, access = at.builder, at.indexing.operands[0]
        place = linearize([at.resolve(access.index[axis]) for axis in axes], [x.dims[axis] for axis in axes])
        position = arith.IndexCastOp(i64, builder.index(place)).result
        value = at.operand(0)
        none = arith.CmpIOp(arith.CmpIPredicate.slt, carried[1], builder.constant(0, i64)).result
        wins = arith.OrIOp(scalar.binary(builder, "greater", value, carried[0], x.dtype), none).result
        inside = builder.all_of([c for c in (Condition(at.resolve(c.value), c.lo, c.hi) for c in access.conditions)
                                 if not c.always])  # fmt: skip
        wins = wins if inside is None else arith.AndIOp(wins, inside).result
        return [scalar.select(wins, value, carried[0]), scalar.select(wins, position, carried[1])]

    found = site.reduce([start, site.builder.constant(-1, i64)], step)[1]
    return arith.MaxSIOp(found, site.builder.constant(0, i64)).result


def _window_count(site: Site) -> Value:
    """How many positions of this window count, as a float: the product of what each axis covers."""
    node, a = site.node, site.node.attrs
    if any(site.evaluator.depends_on_lane(site.resolve(site.indexing.out[axis])) for axis in a["axes"]):
        return lane_by_lane(site, _window_count)
    f32 = compute_type(node.inputs[0].dtype)
    rank, product = len(a["axes"]), None
    for i, axis in enumerate(a["axes"]):
        low, high = (a["pads"][i], a["pads"][rank + i]) if a["count_include_pad"] else (0, 0)
        start = site.resolve(site.indexing.out[axis]) * a["strides"][i] - a["pads"][i]
        step, taps = a["dilations"][i], a["kernel"][i]
        # taps k with -low <= start + k step < extent + high
        first = maximum((as_expr(-low) - start + (step - 1)) // step, 0)
        end = minimum((as_expr(node.inputs[0].dims[axis] + high) - start + (step - 1)) // step, taps)
        covered = maximum(end - first, 1)
        integer = arith.IndexCastOp(ir.IntegerType.get_signless(32), site.builder.index(covered)).result
        number = arith.SIToFPOp(f32, integer).result
        product = number if product is None else scalar.mul(product, number)
    return product


@rule("softmax")
def _softmax(site: Site) -> Value:
    """Three passes over the row, for groups without a row schedule."""
    dtype = site.node.inputs[0].dtype
    wide = site.carried_type()
    c = site.builder.constant

    def largest(at: Site, carried: list[Value]) -> list[Value]:
        x, best = at.evaluator.unify(at.operand(0), carried[0])
        return [scalar.combine(at.builder, "max", best, x, dtype)]

    top = site.reduce([c(scalar.identity_of("max", dtype), wide)], largest)[0]

    def total(at: Site, carried: list[Value]) -> list[Value]:
        x, peak, so_far = at.evaluator.unify(at.operand(0), top, carried[0])
        return [scalar.add(so_far, scalar.unary(at.builder, "exp", scalar.sub(x, peak), dtype, 0.0, 0.0))]

    denominator = site.reduce([c(0.0, wide)], total)[0]
    return softmax_element(site, top, denominator)


def softmax_element(site: Site, top: Value, denominator: Value) -> Value:
    """One element of the result, given the row's maximum and sum of exponentials."""
    dtype = site.node.inputs[0].dtype
    x, top, denominator = site.evaluator.unify(own_element(site), top, denominator)
    shifted = scalar.sub(x, top)
    if site.node.attrs["log"]:
        return scalar.sub(shifted, scalar.unary(site.builder, "log", denominator, dtype, 0.0, 0.0))
    return scalar.div(scalar.unary(site.builder, "exp", shifted, dtype, 0.0, 0.0), denominator)


def own_element(site: Site) -> Value:
    """The operand at the result's own index (row operations)."""
    return site.evaluator.value(site.member.operands[0], tuple(site.resolve(e) for e in site.indexing.out))


@rule("normalize")
def _normalize(site: Site) -> Value:
    wide = site.carried_type()
    count = 1
    for size in site.indexing.reduction_sizes:
        count *= size

    def total(at: Site, carried: list[Value]) -> list[Value]:
        x, so_far = at.evaluator.unify(at.operand(0), carried[0])
        return [scalar.add(so_far, x)]

    mean = None
    if site.node.get("centred", True):
        mean = _divided(site, site.reduce([site.builder.constant(0.0, wide)], total)[0], count, "float32")

    def squares(at: Site, carried: list[Value]) -> list[Value]:
        x, so_far = at.evaluator.unify(at.operand(0), carried[0])
        if mean is None:
            return [scalar.fused_multiply_add(x, x, so_far)]
        x, centre, so_far = at.evaluator.unify(x, mean, so_far)
        centred = scalar.sub(x, centre)
        return [scalar.fused_multiply_add(centred, centred, so_far)]

    variance = _divided(site, site.reduce([site.builder.constant(0.0, wide)], squares)[0], count, "float32")
    return normalize_element(site, mean, variance)


def normalize_element(site: Site, mean: Value | None, variance: Value) -> Value:
    """One element of the result, given the row's mean (none where it is not centred) and variance about it."""
    x, variance = site.evaluator.unify(own_element(site), variance)
    epsilon = site.builder.constant(site.node.attrs["epsilon"], variance.type)
    scale = scalar.unary(site.builder, "rsqrt", scalar.add(variance, epsilon), "float32", 0.0, 0.0)
    if mean is None:
        return scalar.mul(x, scale)
    x, mean, scale = site.evaluator.unify(x, mean, scale)
    return scalar.mul(scalar.sub(x, mean), scale)
