"""A rule applied on trial: the values that its right side would add, before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlirfuse.dialect import TensorType
from mlirfuse.lowering.algebra.expressions import Cost, Expression, Expressions, make
from mlirfuse.lowering.algebra.match import Chain, Match, Member, attribute_slot
from mlirfuse.lowering.algebra.properties import INVERSE_OF
from mlirfuse.lowering.algebra.term import Apply, Number, Term, Variable

__all__ = ["Trial"]


class Trial(Mapping[int, Expression]):
    """Values of a graph, and new ones (negative indices) beside it. ValueError where a term has no type."""

    def __init__(self, graph: Expressions, match: Match) -> None:
        self.graph, self.match = graph, match
        self.new: dict[int, Expression] = {}
        self._by_key: dict[Any, int] = {}
        self._values: dict[str, int] = {}
        self._root = graph[match.root]

    def __getitem__(self, index: int) -> Expression:
        return self.new[index] if index < 0 else self.graph[index]

    def __iter__(self) -> Any:
        return iter((*self.graph.all, *self.new))

    def __len__(self) -> int:
        return len(self.graph.all) + len(self.new)

    def value(self, name: str) -> int:
        """What a variable is bound to; a part of a chain becomes a value here."""
        if name not in self._values:
            bound = self.match.bindings[name]
            self._values[name] = self.chain(bound.operation, bound.members) if isinstance(bound, Chain) else bound
        return self._values[name]

    def attrs(self, function: str) -> tuple[tuple[str, Any], ...]:
        slot = attribute_slot(function)
        return self.match.bindings[slot] if slot else ()

    def replacement(self, term: Term, operation: str | None) -> int:
        """The value of the right side, with what the match left of the chain of `operation`, in the root's type."""
        value = self.build(term)
        if operation is not None and (self.match.rest or self.match.sign < 0):
            value = self.chain(operation, (*self.match.rest, (self.match.sign, value)))
        wanted = self._root.type
        if self[value].type != wanted:
            value = self.apply("Expand", (value,), (("shape", wanted.dims),))
        return value

    def build(self, term: Term) -> int:
        match term:
            case Variable(name):
                return self.value(name)
            case Number(number):
                return self.splat(number)
            case Apply("Kept", (Variable(name),)):
                return self._kept(self.value(name))
            case Apply(function, args):
                operands = tuple(self.build(a) for a in args)
                attrs = self.attrs(function)
                if function == "Expand":
                    attrs = (("shape", self._root.type.dims),)
                return self.apply(function, operands, attrs)
        raise AssertionError(term)

    def splat(self, number: int) -> int:
        """A constant that broadcasts against anything of the root's element type."""
        key = ("splat", number)
        if key not in self._by_key:
            index = -1 - len(self.new)
            dtype = self._root.type.dtype
            value = bool(number) if dtype == "bool" else number if "int" in dtype else float(number)
            self.new[index] = Expression(index, "", (), (), TensorType((), dtype), constant=True, splat=value)
            self._by_key[key] = index
        return self._by_key[key]

    def apply(self, function: str, operands: tuple[int, ...], attrs: tuple[tuple[str, Any], ...] = ()) -> int:
        """The function of values: the live value that it is already, or a new one."""
        if all(o >= 0 for o in operands):
            found = self.graph.find(function, operands, attrs)
            if found is not None:
                return found
        key = (function, operands, attrs)
        if key not in self._by_key:
            index = -1 - len(self.new)
            self.new[index] = make(self, index, function, operands, attrs)
            self._by_key[key] = index
        return self._by_key[key]

    def chain(self, operation: str, members: Sequence[Member]) -> int:
        """The members combined: constants first, then from the smallest value to the largest."""
        there = self._combined(operation, [v for sign, v in members if sign > 0])
        away = self._combined(operation, [v for sign, v in members if sign < 0])
        if away is None:
            assert there is not None
            return there
        back, inverse = INVERSE_OF[operation]
        return self.apply(inverse, (away,)) if there is None else self.apply(back, (there, away))

    def _combined(self, operation: str, values: list[int]) -> int | None:
        order = sorted(values, key=lambda v: (not self[v].constant, self[v].type.size))
        result: int | None = None
        for value in order:
            result = value if result is None else self.apply(operation, (result, value))
        return result

    def _kept(self, index: int) -> int:
        """A value that is constant along the reduced axes, without those that the reduction takes away."""
        attrs = dict(self.match.bindings["@reduce"])
        expression = self[index]
        if attrs["keepdims"] or (expression.type.size == 1 and expression.type.rank == 0):
            return index
        rank = self._root.type.rank + len(attrs["axes"])
        dims = (1,) * (rank - expression.type.rank) + expression.type.dims
        kept = tuple(d for i, d in enumerate(dims) if i not in attrs["axes"])
        return index if kept == expression.type.dims else self.apply("Reshape", (index,), (("shape", kept),))

    # --- what it would change ----------------------------------------------------------------------

    def change(self, value: int) -> tuple[Cost, Cost, list[int]]:
        """Cost before and after, of what would go and what would come, if `value` replaced the root; what goes."""
        added = self._needed(value)
        delta: dict[int, int] = {}
        for index in added:
            for operand in self[index].operands:
                delta[operand] = delta.get(operand, 0) + 1
        delta[value] = delta.get(value, 0) + self.graph.uses[self.match.root]
        gone: list[int] = []
        stack = [self.match.root]
        delta[self.match.root] = delta.get(self.match.root, 0) - self.graph.uses[self.match.root]
        while stack:
            index = stack.pop()
            expression = self.graph[index]
            if not expression.function or index in gone or self.graph.uses[index] + delta.get(index, 0) > 0:
                continue
            gone.append(index)
            for operand in expression.operands:
                delta[operand] = delta.get(operand, 0) - 1
                stack.append(operand)
        readers = sum(self.graph[u].operands.count(self.match.root) for u in self.graph.users[self.match.root])
        before, after = Cost(0, 0, 0), Cost(0, readers * self[value].read_bytes, 0)
        for index in gone:
            before = before.plus(self.graph[index].cost)
        for index in added:
            after = after.plus(self[index].cost)
        return before, after, gone

    def _needed(self, value: int) -> list[int]:
        """The new values that `value` is made of."""
        found: list[int] = []
        stack = [value]
        while stack:
            index = stack.pop()
            if index < 0 and index not in found:
                found.append(index)
                stack += self.new[index].operands
        return found

    def commit(self, value: int) -> tuple[int, list[int]]:
        """Make the new values live; the index of `value`, and those of all that are new."""
        numbers: dict[int, int] = {}
        for index in sorted(self._needed(value), reverse=True):  # operands have larger (earlier) numbers
            made = self.new[index]
            operands = tuple(numbers.get(o, o) for o in made.operands)
            if not made.function:
                numbers[index] = self.graph.leaf(made.type, made.constant, made.splat)
            else:
                found = self.graph.find(made.function, operands, made.attrs)
                numbers[index] = (
                    found
                    if found is not None
                    else self.graph.add(
                        Expression(0, made.function, operands, made.attrs, made.type, made.cost, made.constant)
                    )
                )
        return numbers.get(value, value), [i for i in numbers.values() if self.graph[i].function]
