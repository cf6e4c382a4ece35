"""Where one element of the anchor ends up: indices pushed forward through a group's epilogue.

Only operations that keep the elements one to one can stand after an anchor inside its group: element-wise ones,
reshapes and transposes. For these the index of every downstream value follows from the anchor's.
"""

from __future__ import annotations

from mlirfuse.dialect.indexing import Expr, delinearize, linearize
from mlirfuse.lowering.schedule.group import Group, Member

__all__ = ["downstream_indices"]

_ELEMENTWISE = ("unary", "binary", "select", "cast")


def downstream_indices(group: Group, anchor: Member, index: tuple[Expr, ...]) -> dict[int, tuple[Expr, ...]] | str:
    """The index of every value computed from the anchor's element at `index`, or why there is none."""
    found: dict[int, tuple[Expr, ...]] = {anchor.result: index}
    for member in group.members:
        sources = [v for v in dict.fromkeys(member.operands) if v in found]
        if not sources or member is anchor:
            continue
        forwarded = {_forward(group, member, found[v], v) for v in sources}
        if None in forwarded:
            return f"fusion.{member.node.op} after the {anchor.node.op} does not keep elements one to one"
        if len(forwarded) > 1:
            return f"fusion.{member.node.op} combines elements of the {anchor.node.op} that different threads hold"
        found[member.result] = forwarded.pop()  # type: ignore[assignment]
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
