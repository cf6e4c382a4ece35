"""Where one element of the anchor ends up: indices pushed forward through a group's epilogue.

element-wise, reshape, transpose    one place
broadcasting, expand                a place for each value of further variables (`repeats`)
slice, cropping                     a place or none (`guards`)
gather                              the positions that hold the element's index: guarded repeats
pad with a constant, concat         one place; the elements that no anchor reaches are written apart (`uncovered`)
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlirfuse.dialect import indexing_of
from mlirfuse.dialect.indexing import Condition, Expr, Fetch, Var, delinearize, fetch, linearize, var
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.groups.group import Group, Member

__all__ = ["Guard", "Landing", "downstream_indices", "forward", "landings", "same_landing", "same_place", "uncovered"]

_ELEMENTWISE = ("unary", "binary", "select", "cast")
_SAMPLES = 32
_LONGEST_SCAN = 4096  # positions of a gather that each element of the anchor may be compared with


@dataclass(frozen=True)
class Guard:
    """A condition; fetches in it are of `member`'s operands."""

    member: Member
    condition: Condition

    def substitute(self, values: Mapping[Var, Expr]) -> Guard:
        return Guard(self.member, self.condition.substitute(values))


@dataclass(frozen=True)
class Landing:
    """The places of a value that one element of the anchor reaches.

    They are `index` for all values of the variables `repeats`, where all `guards` hold.
    """

    index: tuple[Expr, ...]
    repeats: tuple[Expr, ...] = ()
    guards: tuple[Guard, ...] = ()

    @property
    def one_to_one(self) -> bool:
        return not self.repeats and not self.guards

    def substitute(self, values: Mapping[Var, Expr]) -> Landing:
        """With variables replaced; repeats that are bound so are no longer repeats."""
        return Landing(
            tuple(e.substitute(values) for e in self.index),
            tuple(r for r in self.repeats if r.terms[0][0] not in values),
            tuple(g.substitute(values) for g in self.guards),
        )


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
    """The one place of the anchor's element at `index` in every value computed from it, or why there is none."""
    found = landings(group, anchor, index)
    if isinstance(found, str):
        return found
    for value, landing in found.items():
        node = group.producers[value].node
        if not landing.one_to_one or node.op in ("pad", "concat"):
            return f"fusion.{node.op} after the {anchor.node.op} does not keep elements one to one"
    return {value: landing.index for value, landing in found.items()}


def landings(group: Group, anchor: Member, index: tuple[Expr, ...]) -> dict[int, Landing] | str:
    """Where the anchor's element at `index` ends up in every value computed from it, or why that cannot be said."""
    found: dict[int, Landing] = {anchor.result: Landing(index)}
    for member in group.members:
        sources = [p for p, v in enumerate(member.operands) if v in found]
        if not sources or member is anchor:
            continue
        if member.is_anchor:
            return f"fusion.{member.node.op} combines elements of the {anchor.node.op}"
        forwarded = [forward(group, member, found[member.operands[p]], p) for p in sources]
        first = forwarded[0]
        if first is None or None in forwarded:
            return f"the places of fusion.{member.node.op} do not follow from those of the {anchor.node.op}"
        if not all(same_landing(first, other) for other in forwarded[1:] if other is not None):
            return f"fusion.{member.node.op} combines elements of the {anchor.node.op} that different threads hold"
        found[member.result] = first
    for output in group.outputs:
        if output in found and _coverage(group, anchor, output, found) is None:
            return "what its padding leaves depends on gathered indices"
    return found


def uncovered(group: Group, anchor: Member, output: int) -> tuple[Condition, ...]:
    """Conditions on `out_variables` of an output: elements where one does not hold come from no element of the anchor.

    None are left where there are none.
    """
    index = out_variables(anchor.node.out.dims)
    found = landings(group, anchor, index)
    assert not isinstance(found, str), found
    conditions = _coverage(group, anchor, output, found)
    assert conditions is not None
    return conditions


def _coverage(group: Group, anchor: Member, output: int, found: Mapping[int, Landing]) -> tuple[Condition, ...] | None:
    """The conditions under which an output's element is computed from the anchor; None where it takes a fetch to say.

    Walks back from the output, along the first operand that depends on the anchor.
    """
    path = []
    value = output
    while value != anchor.result:
        member = group.producers[value]
        path.append(member)
        value = next(v for v in member.operands if v in found)
    if not any(m.node.op in ("pad", "concat") for m in path):
        return ()
    index, conditions = out_variables(group.types[output].dims), []
    for member in path:
        indexing = indexing_of(member.node)
        access = indexing.operands[next(p for p, v in enumerate(member.operands) if v in found)]
        values = {e.terms[0][0]: i for e, i in zip(indexing.out, index, strict=True) if e.terms}
        index = tuple(e.substitute(values) for e in access.index)  # type: ignore[arg-type]
        conditions += [c.substitute(values) for c in access.conditions]  # type: ignore[arg-type]
    if any(_has_fetch(c.value) for c in conditions):
        return None
    return tuple(c for c in conditions if not c.always)


def _has_fetch(e: Expr) -> bool:
    found: list[Fetch] = []

    def note(one: Fetch) -> Expr:
        found.append(one)
        return Expr(0)

    e.rewrite_fetches(note)
    return bool(found)


def same_landing(a: Landing, b: Landing) -> bool:
    """Whether two landings are of the same places."""
    return a.repeats == b.repeats and a.guards == b.guards and same_place(a.index, b.index)


def forward(group: Group, member: Member, landing: Landing, position: int) -> Landing | None:
    """Through one operation, from its operand at `position`."""
    node, index = member.node, landing.index
    have, want = group.types[member.operands[position]].dims, node.out.dims
    if not node.out.size:
        return None
    if node.op in _ELEMENTWISE or node.op == "expand":
        return _broadcast(member, landing, have, want)
    if node.op == "reshape":
        return _at(landing, delinearize(linearize(index, have), want))
    if node.op == "transpose":
        return _at(landing, (index[axis] for axis in node.attrs["perm"]))
    if node.op == "slice":
        return _sliced(member, landing)
    if node.op == "pad" and node.attrs["mode"] == "constant":
        moved = [e + low for e, low in zip(index, node.attrs["low"], strict=True)]
        return _at(landing, moved, _inside(member, moved, want))
    if node.op == "concat" and member.operands.count(member.operands[position]) == 1:
        axis = node.attrs["axis"]
        start = sum(t.dims[axis] for t in node.inputs[:position])
        return _at(landing, (e + start if a == axis else e for a, e in enumerate(index)))
    if node.op == "gather" and position == 0 and node.inputs[1].size <= _LONGEST_SCAN:
        return _gathered(member, landing)
    return None


def _at(landing: Landing, index: Iterable[Expr], guards: Iterable[Guard] = ()) -> Landing:
    return Landing(tuple(index), landing.repeats, (*landing.guards, *guards))


def _inside(member: Member, index: Sequence[Expr], dims: Sequence[int]) -> list[Guard]:
    """Guards that keep an index inside `dims`."""
    conditions = (Condition(e, 0, size - 1) for e, size in zip(index, dims, strict=True))
    return [Guard(member, c) for c in conditions if not c.always]


def _repeat(member: Member, axis: int, size: int) -> Expr:
    return var(f"again{member.result}.{axis}", size)


def _broadcast(member: Member, landing: Landing, have: Sequence[int], want: Sequence[int]) -> Landing:
    missing = len(want) - len(have)
    index, repeats = [], []
    for axis, size in enumerate(want):
        if axis < missing or have[axis - missing] != size:
            index.append(_repeat(member, axis, size))
            repeats.append(index[-1])
        else:
            index.append(landing.index[axis - missing])
    return Landing(tuple(index), (*landing.repeats, *(r for r in repeats if r.terms)), landing.guards)


def _sliced(member: Member, landing: Landing) -> Landing:
    node = member.node
    index, guards = [], []
    for e, start, step, size in zip(
        landing.index, node.attrs["starts"], node.attrs["steps"], node.out.dims, strict=True
    ):
        distance, stride = (e - start, step) if step > 0 else (e * -1 + start, -step)
        conditions = [Condition(distance, 0, (size - 1) * stride)]
        if stride > 1 and size > 1:
            conditions.append(Condition(distance % stride, 0, 0))
        index.append(distance // stride if size > 1 else Expr(0))
        guards += [Guard(member, c) for c in conditions if not c.always]
    return _at(landing, index, guards)


def _gathered(member: Member, landing: Landing) -> Landing:
    """Every position of the indices is compared with the element's own place."""
    node, axis = member.node, member.node.attrs["axis"]
    indices = node.inputs[1].dims
    where = tuple(_repeat(member, axis + i, size) for i, size in enumerate(indices))
    taken = fetch(1, where, node.inputs[0].dims[axis]) - landing.index[axis]
    index = (*landing.index[:axis], *where, *landing.index[axis + 1 :])
    repeats = (*landing.repeats, *(r for r in where if r.terms))
    same = Condition(taken, 0, 0)
    return Landing(index, repeats, (*landing.guards, *([] if same.always else [Guard(member, same)])))
