"""The graph as hash-consed expressions, without MLIR: what rules match, and what their work is measured on.

Every value is an `Expression`. Those whose function rules know are made of others; the rest (arguments, constants,
results of operations without the properties) are leaves, at which the graph is cut into partitions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlirfuse.dialect import Node, TensorType, semantics
from mlirfuse.lowering.algebra.functions import COMMUTATIVE, FUNCTIONS

__all__ = ["Cost", "Expression", "Expressions", "Key"]

Key = tuple[str, tuple[int, ...], tuple[tuple[str, Any], ...]]


class Cost(NamedTuple):
    """What rewriting has to lower, in this order: FLOPs, bytes read from leaves, operations."""

    flops: int
    bytes: int
    operations: int

    def plus(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: Cost) -> Cost:
        return Cost(*(a - b for a, b in zip(self, other, strict=True)))


NOTHING = Cost(0, 0, 0)


@dataclass(frozen=True)
class Expression:
    """A value: `function` of `operands` (indices), or a leaf where that is empty.

    `constant` values are known when compiling and cost nothing; `splat` is the number of a leaf that has the same one
    everywhere.
    """

    index: int
    function: str
    operands: tuple[int, ...]
    attrs: tuple[tuple[str, Any], ...]
    type: TensorType
    cost: Cost = NOTHING
    constant: bool = False
    splat: bool | int | float | None = None

    @property
    def read_bytes(self) -> int:
        """Bytes that a reader moves from memory: those of a leaf that is no immediate."""
        return self.type.bytes if (self.constant or not self.function) and self.splat is None else 0


@dataclass
class Expressions:
    """All live values. `uses[i]` counts the places that read value i, results of the graph included."""

    all: dict[int, Expression] = field(default_factory=dict)
    users: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    uses: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    outside: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # uses that no expression makes
    replaced: dict[int, int] = field(default_factory=dict)  # a value that is gone -> the one in its place
    commutative: frozenset[str] = COMMUTATIVE  # functions whose operands are equal in either order
    _by_key: dict[Key, int] = field(default_factory=dict)
    _next: int = 0

    def __getitem__(self, index: int) -> Expression:
        return self.all[index]

    def __contains__(self, index: int) -> bool:
        return index in self.all

    def current(self, index: int) -> int:
        """What stands for a value now."""
        while index in self.replaced:
            index = self.replaced[index]
        return index

    def leaf(self, type_: TensorType, constant: bool = False, splat: bool | int | float | None = None) -> int:
        """A new leaf."""
        index = self._number()
        self.all[index] = Expression(index, "", (), (), type_, NOTHING, constant, splat)
        return index

    def find(self, function: str, operands: tuple[int, ...], attrs: tuple[tuple[str, Any], ...]) -> int | None:
        """The live value that this is already, operands of commutative functions in either order."""
        return self._by_key.get(self._key(function, operands, attrs))

    def add(self, expression: Expression) -> int:
        """Make an expression live (its index is given here)."""
        index = self._number()
        expression = Expression(
            index, expression.function, expression.operands, expression.attrs, expression.type, expression.cost,
            expression.constant,
        )  # fmt: skip
        self.all[index] = expression
        self._by_key.setdefault(self._key_of(expression), index)
        for operand in expression.operands:
            self._use(operand, index)
        return index

    def hold(self, index: int) -> None:
        """Count a use that no expression makes."""
        self.outside[index] += 1
        self.uses[index] += 1

    def replace(self, old: int, new: int) -> list[int]:
        """Let all uses of `old` read `new`, merge values that become equal, drop what is dead; what was removed.

        Nothing is dropped before all is merged: a value that only dead ones read may be what a live one is equal to.
        """
        dead: list[int] = []
        pending = [(old, new)]
        while pending:
            a, b = (self.current(i) for i in pending.pop())
            if a == b or a not in self.all:
                continue
            self.replaced[a] = b
            self._forget_key(a)
            dead.append(a)
            self.outside[b] += self.outside.pop(a, 0)
            self.uses[b] += self.uses[a] - sum(self[u].operands.count(a) for u in self.users[a])
            self.uses[a] = 0
            for user in sorted(self.users.pop(a, ())):
                pending += self._redirect(user, a, b)
        return [i for a in dead for i in self.drop(a)]

    def drop(self, index: int) -> list[int]:
        """Remove a value without uses, and what only it used."""
        removed: list[int] = []
        stack = [index]
        while stack:
            i = stack.pop()
            expression = self.all.get(i)
            if expression is None or self.uses[i] > 0 or not expression.function:
                continue
            removed.append(i)
            self._forget_key(i)
            del self.all[i]
            for operand in expression.operands:
                self.uses[operand] -= 1
                self.users[operand].discard(i)
                stack.append(operand)
        return removed

    def _redirect(self, user: int, a: int, b: int) -> Iterator[tuple[int, int]]:
        """Let one expression read b for a; the pair to merge, if that makes it equal to another."""
        expression = self[user]
        self._forget_key(user)
        operands = tuple(b if o == a else o for o in expression.operands)
        changed = Expression(
            user, expression.function, operands, expression.attrs, expression.type, _cost(self.all, expression.function,
            operands, expression.attrs, expression.type, expression.constant), expression.constant,
        )  # fmt: skip
        self.all[user] = changed
        self.uses[b] += operands.count(b) - expression.operands.count(b)
        self.users[b].add(user)
        if user in self.replaced:
            return  # dead: nothing is equal to it any more
        twin = self._by_key.setdefault(self._key_of(changed), user)
        if twin != user:
            yield user, twin

    def _forget_key(self, index: int) -> None:
        """Let `find` no longer give this value."""
        key = self._key_of(self[index])
        if self._by_key.get(key) == index:
            del self._by_key[key]

    def _key(self, function: str, operands: tuple[int, ...], attrs: tuple[tuple[str, Any], ...]) -> Key:
        return function, tuple(sorted(operands)) if function in self.commutative else operands, attrs

    def _key_of(self, expression: Expression) -> Key:
        return self._key(expression.function, expression.operands, expression.attrs)

    def _use(self, operand: int, user: int) -> None:
        self.uses[operand] += 1
        self.users[operand].add(user)

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def partitions(self) -> list[tuple[int, ...]]:
        """Connected sets of expressions, cut at leaves; in the order of their first members."""
        group: dict[int, int] = {}
        members: dict[int, list[int]] = {}
        for index in sorted(i for i, e in self.all.items() if e.function):
            joined = sorted({group[o] for o in self[index].operands if o in group})
            home = joined[0] if joined else index
            members.setdefault(home, []).append(index)
            group[index] = home
            for other in joined[1:]:
                for member in members.pop(other):
                    members[home].append(member)
                    group[member] = home
        return [tuple(sorted(members[home])) for home in sorted(members)]

    def total(self, indices: Iterable[int]) -> Cost:
        total = NOTHING
        for index in indices:
            total = total.plus(self[index].cost)
        return total


def make(
    known: Mapping[int, Expression],
    index: int,
    function: str,
    operands: tuple[int, ...],
    attrs: tuple[tuple[str, Any], ...],
) -> Expression:
    """A function of known values, with the type that these determine; ValueError where they do not fit."""
    op, kind = FUNCTIONS[function]
    node = Node(op, dict(attrs) | ({"kind": kind} if kind else {}), tuple(known[o].type for o in operands))
    type_ = semantics(op).infer(node)
    if complaint := semantics(op).complaint(Node(op, node.attrs, node.inputs, (type_,), (False,) * len(operands))):
        raise ValueError(complaint)
    constant = all(known[o].constant for o in operands)
    return Expression(
        index, function, operands, attrs, type_, _cost(known, function, operands, attrs, type_, constant), constant
    )


def _cost(
    known: Mapping[int, Expression], function: str, operands: tuple[int, ...], attrs: tuple[tuple[str, Any], ...],
    type_: TensorType, constant: bool,
) -> Cost:  # fmt: skip
    if constant:
        return NOTHING
    op, _ = FUNCTIONS[function]
    if op in ("unary", "binary", "select"):
        flops = type_.size
    else:
        inputs = tuple(known[o].type for o in operands)
        flops = semantics(op).flops(Node(op, dict(attrs), inputs, (type_,)))
    return Cost(flops, sum(known[o].read_bytes for o in operands), 1)
