"""The rule of scatter: each element looks for itself among the indices."""

from __future__ import annotations

from typing import Any

from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.site import Site, lane_by_lane, rule
from mlirfuse.mlir import arith, ir

Value = Any


@rule("scatter")
def _scatter(site: Site) -> Value:
    """Fold the updates whose index is this place into the element, in order."""
    axis, kind, dtype = site.node.attrs["axis"], site.node.attrs["kind"], site.node.inputs[0].dtype
    evaluator, builder = site.evaluator, site.builder
    place = site.resolve(site.indexing.out[axis])
    conditions = [site.resolve(c.value) for access in site.indexing.operands for c in access.conditions]
    if any(evaluator.depends_on_lane(e) for e in (place, *conditions)):
        return lane_by_lane(site)
    i64 = ir.IntegerType.get_signless(64)
    here = arith.IndexCastOp(i64, builder.index(place)).result

    def step(at: Site, carried: list[Value]) -> list[Value]:
        so_far, new, chosen = at.evaluator.unify(carried[0], at.operand(2), at.operand(1))
        target = at.builder.spread(here, chosen.type.shape[0]) if isinstance(chosen.type, ir.VectorType) else here
        hit = arith.CmpIOp(arith.CmpIPredicate.eq, chosen, target).result
        combined = new if kind == "replace" else scalar.combine(at.builder, kind, so_far, new, dtype)
        return [scalar.select(hit, combined, so_far)]

    wide = site.carried_type()
    start = site.operand(0)
    return site.reduce([evaluator.vectorized(start) if isinstance(wide, ir.VectorType) else start], step)[0]
