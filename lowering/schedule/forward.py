"""Where one element of the anchor ends up: indices pushed forward through a group's epilogue.

Only operations that keep the elements one to one can stand after an anchor inside its group: element-wise ones,
reshapes and transposes. For these the index of every downstream value follows from the anchor's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from mlirfuse.dialect.indexing import Expr, delinearize, linearize
from mlirfuse.lowering.schedule.group import Group, Member

__all__ = ["downstream_indices", "same_place"]

_ELEMENTWISE = ("unary", "binary", "select", "cast")
_SAMPLES = 32


def same_place(a: Sequence[Expr], b: Sequence[Expr]) -> bool:
    """Whether two indices that may be written differently are equal for all values of their variables.

    Simplification has no normal form for nested divisions, so this evaluates both: at the ends of the variables' ranges
    and at fixed pseudo-random points. Indices through a group's epilogue are mixed-radix digits of the same numbers;
    if they differ at all, they differ nearly everywhere.
    """
    if tuple(a) == tuple(b):
        return True
    if len(a) != len(b):
        return False
    variables = sorted({v for e in (*a, *b) for v in e.variables()}, key=lambda v: v.name)
    draw = random.Random(0)
    points = [{v: v.lo for v in variables}, {v: v.hi for v in variables}]
    points += [{v: draw.randint(v.lo, v.hi) for v in variables} for _ in range(_SAMPLES)]
    return all(x.evaluate(point) == y.evaluate(point) for point in points for x, y in zip(a, b, strict=True))


def downstream_indices(group: Group, anchor: Member, index: tuple[Expr, ...]) -> dict[int, tuple[Expr, ...]] | str:
    """The index of every value computed from the anchor's element at `index`, or why there is none."""
    found: dict[int, tuple[Expr, ...]] = {anchor.result: index}
    for member in group.members:
        sources = [v for v in dict.fromkeys(member.operands) if v in found]
        if not sources or member is anchor:
            continue
        forwarded = [_forward(group, member, found[v], v) for v in sources]
        first = forwarded[0]
        if first is None or None in forwarded:
            return f"fusion.{member.node.op} after the {anchor.node.op} does not keep elements one to one"
        if not all(same_place(first, other) for other in forwarded[1:] if other is not None):
            return f"fusion.{member.node.op} combines elements of the {anchor.node.op} that different threads hold"
        found[member.result] = first
    return found


def _forward(group: Group, member: Member, index: tuple[Expr, ...], source: int) -> tuple[Expr, ...] | None:
    node = member.node
    have, want = group.types[source].dims, node.out.dims
    if group.types[source].size != node.out.size:
        return None
    if node.op in _ELEMENTWISE:
        return (*(Expr(0) for _ in range(len(want) - len(have))), *index)
    if node.op == "reshape":
        return delinearize(linearize(index, have), want)
    if node.op == "transpose":
        return tuple(index[axis] for axis in node.attrs["perm"])
    return None
