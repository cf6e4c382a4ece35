"""Rules of element-wise operations and of data movement."""

from __future__ import annotations

from functools import partial
from typing import Any

from mlirfuse.dialect import Access
from mlirfuse.dialect.indexing import Condition
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.builder import compute_type
from mlirfuse.lowering.kernel.site import LaneDependentFetch, Site, lane_by_lane, rule
from mlirfuse.mlir import ir

Value = Any


@rule("movement")
def _movement(site: Site) -> Value:
    try:
        return site.operand(0)
    except LaneDependentFetch:
        return lane_by_lane(site)


@rule("unary")
def _unary(site: Site) -> Value:
    node = site.node
    return scalar.unary(
        site.builder,
        node.attrs["kind"],
        site.operand(0),
        node.inputs[0].dtype,
        node.get("alpha", 0.0),
        node.get("beta", 0.0),
    )


@rule("binary")
def _binary(site: Site) -> Value:
    kind, dtype = site.node.attrs["kind"], site.node.inputs[0].dtype
    splats = site.evaluator.group.splats
    exponent = splats.get(site.member.operands[1])
    if kind == "pow" and exponent is not None and dtype.startswith("float"):
        x = site.operand(0)
        if (short := scalar.power_by_constant(site.builder, x, float(exponent))) is not None:
            return short
    a, b = site.evaluator.unify(site.operand(0), site.operand(1))
    return scalar.binary(site.builder, kind, a, b, dtype)


@rule("select")
def _select(site: Site) -> Value:
    condition, a, b = (site.operand(i) for i in range(3))
    if isinstance(condition.type, ir.VectorType):
        condition, a, b = site.evaluator.unify(condition, a, b)
    else:
        a, b = site.evaluator.unify(a, b)
    return scalar.select(condition, a, b)


@rule("cast")
def _cast(site: Site) -> Value:
    return scalar.cast(site.builder, site.operand(0), site.node.inputs[0].dtype, site.node.attrs["to"])


@rule("concat")
def _concat(site: Site) -> Value:
    """Nested conditionals over the operands: exactly one of them holds the element."""
    accesses = site.indexing.operands
    conditions = [[Condition(site.resolve(c.value), c.lo, c.hi) for c in access.conditions] for access in accesses]
    if any(site.evaluator.depends_on_lane(c.value) and not (c.always or c.never) for each in conditions for c in each):
        return lane_by_lane(site)
    scalar_type = compute_type(site.node.out.dtype)
    vector_type = ir.VectorType.get([site.evaluator.width], scalar_type)
    wide = any(site.evaluator.depends_on_lane(e.substitute(site.values)) for e in site.indexing.out)

    def read(position: int) -> Value:
        value = site.read(position, Access(accesses[position].index))
        return site.evaluator.vectorized(value) if wide else value

    result = site.builder.constant(scalar.fill_value(0.0, site.node.out.dtype), vector_type if wide else scalar_type)
    for position in reversed(range(len(accesses))):
        if any(c.never for c in conditions[position]):
            continue
        result = site.builder.when(conditions[position], partial(read, position), partial(_same, result))
    return result


def _same(value: Value) -> Value:
    return value
