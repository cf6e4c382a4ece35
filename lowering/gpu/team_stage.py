"""A team of threads reduces one output element.

for each team:  o = its output element
    partial = reduce(operand(o, r) for r = lane, lane + team, ...)
    out[o] = epilogue(team_reduce(partial))
"""

from __future__ import annotations

import math
from typing import Any

from mlirfuse.dialect import Access, semantics
from mlirfuse.dialect.indexing import Condition, Expr, Var, delinearize
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.gpu.teams import WARP, team_reduce
from mlirfuse.lowering.groups.group import Member
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.builder import compute_type
from mlirfuse.lowering.kernel.landing import store_landings
from mlirfuse.lowering.kernel.point import Evaluator
from mlirfuse.lowering.schedule.simt import TeamTiles
from mlirfuse.mlir import ir, vector

__all__ = ["emit_team", "in_range", "reduce_element", "store_from_registers"]


def emit_team(frame: Frame, schedule: TeamTiles) -> None:
    """Emit the body of a team-reduction kernel."""
    anchor = frame.group.anchor
    assert anchor is not None
    dims = anchor.node.out.dims
    team, teams = schedule.team, schedule.threads // schedule.team
    element = frame.block[0] * teams + frame.thread // team
    outputs = math.prod(dims)

    def reduce_one() -> None:
        reduce_element(frame, schedule, anchor, delinearize(in_range(frame, element, outputs), dims))

    if team > WARP:  # one team a block: all threads are active, barriers are uniform
        reduce_one()
    else:
        frame.builder.when([Condition(element, 0, outputs - 1)], reduce_one)


def reduce_element(frame: Frame, schedule: TeamTiles, anchor: Member, index: tuple[Expr, ...]) -> None:
    """The anchor's element at `index`, reduced by this thread's team, and the epilogue."""
    node = anchor.node
    total = _partial(frame, anchor, index, schedule)
    kind = node.attrs.get("kind", "sum") if node.op == "reduce" else "sum"
    total = team_reduce(frame, kind, total, schedule.team, 0)
    if kind == "mean":
        count = math.prod(semantics(node.op).indexing(node).reduction_sizes)
        total = scalar.mul(total, frame.builder.constant(1.0 / count, total.type))
    frame.builder.when(
        [Condition(frame.thread % schedule.team, 0, 0)], lambda: store_from_registers(frame, anchor, index, total)
    )


def in_range(frame: Frame, element: Expr, count: int) -> Expr:
    """`element` under a name whose range is what the guard leaves of it."""
    if element.range[1] < count:
        return element
    if count == 1:
        return Expr(0)
    narrowed = Expr(0, ((Var(frame.builder.fresh_name("element"), 0, count - 1), 1),))
    frame.builder.bind(narrowed, frame.builder.index(element), affine=False)
    return narrowed


def _partial(frame: Frame, anchor: Member, index: tuple[Expr, ...], schedule: TeamTiles) -> Any:
    """This thread's share of the reduction."""
    node, builder, width = anchor.node, frame.builder, schedule.vector
    indexing = semantics(node.op).indexing(node)
    sizes = indexing.reduction_sizes
    length = math.prod(sizes)
    kind = node.attrs.get("kind", "sum") if node.op == "reduce" else "sum"
    scalar_type = compute_type(node.inputs[0].dtype)
    carried_type = ir.VectorType.get([width], scalar_type) if width > 1 else scalar_type
    identity = scalar.identity_of(kind, node.inputs[0].dtype)
    steps = -(-length // (schedule.team * width))
    lane = Expr(0, ((Var("lane", 0, width - 1), 1),)) if width > 1 else None
    values = {e.terms[0][0]: i for e, i in zip(indexing.out, index, strict=True) if e.terms}

    def step(i: Expr, carried: list[Any]) -> list[Any]:
        first = (i * schedule.team + frame.thread % schedule.team) * width
        here = first + lane if lane is not None else first
        reduced = {
            e.terms[0][0]: p for e, p in zip(indexing.reduction, delinearize(here, sizes), strict=True) if e.terms
        }

        def term() -> Any:
            evaluator = frame.evaluator(lane=lane, width=width)
            terms = [
                evaluator.vectorized(_read(evaluator, anchor, p, a, {**values, **reduced}))
                for p, a in enumerate(indexing.operands)
            ]
            if len(terms) == 2:
                return scalar.fused_multiply_add(terms[0], terms[1], carried[0])
            return scalar.combine(builder, kind, carried[0], terms[0], node.inputs[0].dtype)

        return [builder.when([Condition(first, 0, length - width)], term, lambda: carried[0])]

    total = builder.loop(steps, "step", [builder.constant(identity, carried_type)], step)[0]
    if width == 1:
        return total
    parts = [vector.ExtractOp(total, [], [i]).result for i in range(width)]
    total = parts[0]
    for part in parts[1:]:
        total = scalar.combine(builder, kind, total, part, node.inputs[0].dtype)
    return total


def _read(evaluator: Evaluator, anchor: Member, position: int, access: Access, values: dict[Any, Expr]) -> Any:
    index = tuple(e.substitute(values) for e in access.index)
    conditions = [c.substitute(values) for c in access.conditions]
    return evaluator.guarded(conditions, index, anchor.operands[position], access.fill)


def store_from_registers(
    frame: Frame, anchor: Member, index: tuple[Expr, ...], value: Any, lane: Expr | None = None, width: int = 1
) -> None:
    """Run the epilogue on the anchor's element (or vector) at `index` and store every output."""
    store_landings(frame.group, anchor, frame.evaluator, frame.store_outputs, index, value, lane, width)
