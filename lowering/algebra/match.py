"""Matching the left sides of rules modulo associativity and commutativity.

A chain is flattened to its signed members: a + (b - c) to +a, +b, -c, a / b * c to a, 1/b, c. Two members of a chain
match `A * C + A * B` wherever they stand in it; the last free variable of a product inside takes what is left of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlirfuse.lowering.algebra.expressions import Expressions
from mlirfuse.lowering.algebra.functions import FUNCTIONS, PARAMETRIC, chain_of
from mlirfuse.lowering.algebra.rule import kind_of
from mlirfuse.lowering.algebra.term import Apply, Number, Term, Variable

__all__ = ["Bindings", "Chain", "Match", "Matcher", "Member", "Pattern", "compile_pattern"]

LONGEST = 12  # members of a chain that are looked at
Member = tuple[int, int]  # sign (+1, or -1 for what is subtracted or divided by) and value


@dataclass(frozen=True)
class Chain:
    """Signed members of a sum, a product, a maximum: as a pattern of patterns, and bound to a variable, of values."""

    operation: str
    members: tuple[tuple[int, Any], ...]


Pattern = Term | Chain
Bindings = Mapping[str, Any]  # variable -> value or Chain of values; "@function" -> its attributes


@dataclass(frozen=True)
class Match:
    """Where a rule applies: at `root`, leaving `rest` of its chain; `direct` if no chain was reordered for it."""

    root: int
    bindings: Bindings
    sign: int = 1
    rest: tuple[Member, ...] = ()
    direct: bool = True


def compile_pattern(term: Term) -> Pattern:
    """A term with its chains flattened."""
    if not isinstance(term, Apply):
        return term
    operation = chain_of(term.function)
    if operation is None:
        return Apply(term.function, tuple(compile_pattern(a) for a in term.args))  # type: ignore[misc]
    return Chain(operation, tuple((sign, compile_pattern(t)) for sign, t in _flat(term, operation, 1)))


def _flat(term: Term, operation: str, sign: int) -> Iterator[tuple[int, Term]]:
    if isinstance(term, Apply) and chain_of(term.function) == operation:
        yield from _flat(term.args[0], operation, sign)
        yield from _flat(term.args[1], operation, sign if term.function == operation else -sign)
    else:
        yield sign, term


def required(pattern: Pattern) -> Counter[str]:
    """The functions that the operands of a match must have, so that most rules need not be tried."""
    below = pattern.members if isinstance(pattern, Chain) else [(1, a) for a in getattr(pattern, "args", ())]
    heads = (p.function if isinstance(p, Apply) else p.operation for _, p in below if isinstance(p, Apply | Chain))
    return Counter(heads)


class Matcher:
    """Matches on one graph. With `reorder` off, only what is spelled exactly as a rule says matches among floats."""

    def __init__(self, graph: Expressions, reorder: bool = True) -> None:
        self.graph, self.reorder = graph, reorder
        self._chains: dict[tuple[int, str], list[tuple[tuple[Member, ...], bool]]] = {}

    def forget(self) -> None:
        """The graph has changed."""
        self._chains.clear()

    def matches(self, pattern: Pattern, root: int) -> Iterator[Match]:
        """Every way in which the value is an instance of a pattern, or holds one in its chain."""
        if not isinstance(pattern, Chain):
            yield from (Match(root, b, direct="~" not in b) for b in self._match(pattern, root, {}))
            return
        for members, direct in self.chains(root, pattern.operation):
            for sign, bindings, left in self._some(list(pattern.members), list(members), 0, {}):
                straight = direct and not left and sign > 0 and "~" not in bindings
                yield Match(root, bindings, sign, tuple(left), straight)

    def chains(self, root: int, operation: str) -> list[tuple[tuple[Member, ...], bool]]:
        """The chain that ends at a value: its operands, then flattened through values that only it reads, then further.

        With each, whether it is the value's operands as they are. None for values that are no such chain.
        """
        key = root, operation
        if key not in self._chains:
            self._chains[key] = self._flattened(root, operation) if self._is_link(root, operation) else []
        return self._chains[key]

    def _flattened(self, root: int, operation: str) -> list[tuple[tuple[Member, ...], bool]]:
        found = [(self._flatten(root, operation, depth=1, shared=True), True)]
        links = any(self._is_link(o, operation) for o in self.graph[root].operands)
        if links and (self.reorder or kind_of(self.graph[root].type.dtype) != "float"):
            for shared in (False, True):
                members = self._flatten(root, operation, depth=LONGEST, shared=shared)
                if all(members != other for other, _ in found):
                    found.append((members, False))
        return found

    def _is_link(self, index: int, operation: str) -> bool:
        expression = self.graph[index]
        if chain_of(expression.function) != operation:
            return False
        return expression.function != "Div" or kind_of(expression.type.dtype) == "float"

    def _flatten(self, root: int, operation: str, depth: int, shared: bool) -> tuple[Member, ...]:
        """The members; a value that others read too is entered only if `shared`, and then no chain inside it."""
        members: list[Member] = []
        links = 0

        def enter(index: int, sign: int, room: int) -> None:
            nonlocal links
            own = index == root or self.graph.uses[index] == 1
            if room == 0 or links == LONGEST or not self._is_link(index, operation) or not (own or shared):
                members.append((sign, index))
                return
            links += 1
            expression = self.graph[index]
            inside = room - 1 if own else 0
            enter(expression.operands[0], sign, inside)
            enter(expression.operands[1], sign if expression.function == operation else -sign, inside)

        enter(root, 1, depth)
        return tuple(members)

    def _some(
        self, wanted: list[tuple[int, Pattern]], members: list[Member], sign: int, bindings: Bindings
    ) -> Iterator[tuple[int, Bindings, list[Member]]]:
        """Match every pattern with one member, all signs as wanted or all opposite; what is left over."""
        if not wanted:
            yield sign, bindings, members
            return
        wanted = sorted(wanted, key=lambda w: _freedom(w[1], bindings))
        (want, pattern), others = wanted[0], wanted[1:]
        tried: set[Member] = set()
        for at, member in enumerate(members):
            if member in tried or (sign and member[0] != sign * want):
                continue
            tried.add(member)
            for found in self._match(pattern, member[1], bindings):
                left = members[:at] + members[at + 1 :]
                yield from self._some(others, left, member[0] * want, found)

    def _match(self, pattern: Pattern, index: int, bindings: Bindings) -> Iterator[Bindings]:
        expression = self.graph[index]
        if isinstance(pattern, Variable):
            bound = bindings.get(pattern.name)
            if bound is None:
                yield {**bindings, pattern.name: index}
            elif bound == index:
                yield bindings
        elif isinstance(pattern, Number):
            if expression.splat is not None and expression.splat == pattern.value:
                yield bindings
        elif isinstance(pattern, Chain):
            for members, direct in self.chains(index, pattern.operation):
                for found in self._whole(list(pattern.members), list(members), pattern.operation, bindings):
                    yield found if direct else {**found, "~": True}
        elif expression.function == pattern.function:
            slot = attribute_slot(pattern.function)
            if slot and bindings.get(slot, expression.attrs) != expression.attrs:
                return
            found = {**bindings, slot: expression.attrs} if slot else bindings
            yield from self._operands(pattern.args, expression.operands, found)

    def _operands(
        self, patterns: tuple[Pattern, ...], operands: tuple[int, ...], bindings: Bindings
    ) -> Iterator[Bindings]:
        if not patterns:
            yield bindings
            return
        for found in self._match(patterns[0], operands[0], bindings):
            yield from self._operands(patterns[1:], operands[1:], found)

    def _whole(
        self, wanted: list[tuple[int, Pattern]], members: list[Member], operation: str, bindings: Bindings
    ) -> Iterator[Bindings]:
        """Match a chain inside a term: all members, those that are left going to the last free variable."""
        free = [w for w in wanted if isinstance(w[1], Variable) and w[1].name not in bindings]
        if not free:
            yield from (b for sign, b, left in self._some(wanted, members, 1, bindings) if not left)
            return
        taker = free[-1]
        others = [w for w in wanted if w is not taker]
        for _, found, left in self._some(others, members, 1, bindings):
            rest = tuple((sign * taker[0], value) for sign, value in left)
            if not rest or all(sign < 0 for sign, _ in rest):
                continue
            value = rest[0][1] if len(rest) == 1 else Chain(operation, rest)
            yield {**found, taker[1].name: value}  # type: ignore[union-attr]


def attribute_slot(function: str) -> str:
    """Under which name a rule remembers the attributes of a function; empty if it has none."""
    op = FUNCTIONS[function][0]
    if op in ("reduce", "contract", "conv", "expand"):
        return f"@{op}"
    return f"@{function}" if function in PARAMETRIC else ""


def _freedom(pattern: Pattern, bindings: Bindings) -> int:
    """Patterns that match least first: a bound variable, then a function, then a free variable."""
    if isinstance(pattern, Variable):
        return 0 if pattern.name in bindings else 2
    return 1
