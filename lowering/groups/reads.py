"""What one element of a value reads, symbolically: the addresses and conditions that its code will have.

Schedules judge a loop order by it before any code exists: which operands advance by one along the
vector lanes, which have to be gathered, and how many times each is read.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mlirfuse.dialect import indexing_of
from mlirfuse.dialect.indexing import Condition, Expr, Var
from mlirfuse.lowering.groups.group import Group, Member

__all__ = ["Read", "address_of", "element_reads", "first_reduced"]

_PASSES = {"softmax": 3, "normalize": 3}  # readings of a row for one element, where nothing is kept


@dataclass(frozen=True)
class Read:
    """A value read at `index` where `conditions` hold, `trips` times for one element of the output."""

    value: int
    index: tuple[Expr, ...]
    conditions: tuple[Condition, ...]
    trips: int


def element_reads(group: Group, wanted: Mapping[int, tuple[Expr, ...]], kept: Collection[int] = ()) -> list[Read]:
    """Every read behind the values `wanted` at their indices; `kept` values are read and not computed."""
    walk = _Walk(group, frozenset(kept))
    for value, index in wanted.items():
        walk.visit(value, index, (), 1)
    return walk.reads


def first_reduced(member: Member) -> Var | None:
    """The variable by which `element_reads` of a member's result names the first dimension that the member reduces."""
    reduction = indexing_of(member.node).reduction
    return _numbered(reduction[0], 1) if reduction and reduction[0].terms else None


def _numbered(e: Expr, number: int) -> Var:
    variable = e.terms[0][0]
    assert isinstance(variable, Var)
    return Var(f"{variable.name}@{number}", variable.lo, variable.hi)


class _Walk:
    def __init__(self, group: Group, kept: frozenset[int]) -> None:
        self.group, self.kept = group, kept
        self.reads: list[Read] = []
        self._seen: set[tuple[int, tuple[Expr, ...], int]] = set()
        self._fresh = 0

    def visit(self, value: int, index: tuple[Expr, ...], conditions: tuple[Condition, ...], trips: int) -> None:
        key = value, index, trips
        if key in self._seen or value in self.group.splats:
            return
        self._seen.add(key)
        if value in self.kept or value not in self.group.producers:
            self.reads.append(Read(value, index, conditions, trips))
        else:
            self._operands(self.group.producers[value], index, trips)

    def _operands(self, member: Member, index: tuple[Expr, ...], trips: int) -> None:
        node = member.node
        indexing = indexing_of(node)
        values = {e.terms[0][0]: i for e, i in zip(indexing.out, index, strict=True) if e.terms}
        values |= {e.terms[0][0]: self._renamed(e) for e in indexing.reduction if e.terms}
        trips *= max(1, math.prod(indexing.reduction_sizes)) * _PASSES.get(node.op, 1)
        for operand, access in zip(member.operands, indexing.operands, strict=True):
            at = tuple(e.substitute(values) for e in access.index)  # type: ignore[arg-type]
            conditions = (c.substitute(values) for c in access.conditions)  # type: ignore[arg-type]
            self.visit(operand, at, tuple(c for c in conditions if not c.always), trips)

    def _renamed(self, e: Expr) -> Expr:
        """A reduction variable under a name of its own: members use the same names."""
        self._fresh += 1
        return Expr(0, ((_numbered(e, self._fresh), 1),))


def address_of(index: Sequence[Expr], strides: Sequence[int]) -> Expr:
    """The position in memory of an element."""
    total = Expr(0)
    for e, stride in zip(index, strides, strict=True):
        total = total + e * stride
    return total
