"""Rewrite by associativity, distributivity and commutativity where that saves work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, ClassVar, Literal

from mlirfuse.dialect import TensorType, build, from_attribute, node_of, onnx_nodes, to_attribute, type_from_mlir
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.lowering.algebra.expressions import Expression, Expressions, make
from mlirfuse.lowering.algebra.functions import COMMUTATIVE, FUNCTIONS, NAMES
from mlirfuse.lowering.algebra.generate import RULES
from mlirfuse.lowering.algebra.properties import NumericClass
from mlirfuse.lowering.algebra.rewrite import Rewrite
from mlirfuse.lowering.algebra.rewriting import Decision, Rewriting
from mlirfuse.lowering.algebra.term import Apply, Variable
from mlirfuse.lowering.graph.constants import splat_value
from mlirfuse.lowering.passes import register_pass
from mlirfuse.mlir import ir

__all__ = ["REWRITES", "RewriteAlgebra", "rewrites_of"]

REWRITES = "fusion.rewrites"  # of a module: what was rewritten, and what was not for which reason
_ALLOW = {"exact": NumericClass.EXACT, "reassociating": NumericClass.REASSOCIATING, "all": NumericClass.DOMAIN}
_OPEN = frozenset({"Max", "Min"})  # which zero they give of 0.0 and -0.0 may depend on the order
_OPS = frozenset(op for op, _ in FUNCTIONS.values()) - {"reshape"}


@register_pass
@dataclass(frozen=True)
class RewriteAlgebra:
    """A * C + A * B  =>  A * (B + C), and all other rules of the families, each where it lowers FLOPs or bytes.

    The graph is cut at operations that no rule is about; in each part, the rule with the largest drop goes first,
    until none helps. `allow` is the numeric class of rules that may be used: exact, reassociating, or all
    (domain-changing too). `only` names the equation of a single rule. What was done, and what was refused for which
    reason, becomes the module's attribute `fusion.rewrites`.
    """

    name: ClassVar[str] = "fusion-rewrite-algebra"
    allow: Literal["exact", "reassociating", "all"] = "reassociating"
    only: str = ""

    def __call__(self, module_op: ir.Operation) -> None:
        decided: dict[str, None] = {}
        for function in module_op.regions[0].blocks[0]:
            if function.operation.name == "func.func":
                graph = Expressions(commutative=COMMUTATIVE - (_OPEN if self.allow == "exact" else frozenset()))
                for rewrite in _Function(function.operation, graph).rewrite(_ALLOW[self.allow], self.only):
                    decided[rewrite.to_json()] = None
        known = dict.fromkeys(r.to_json() for r in rewrites_of(module_op) if not r.reason)
        if known or decided:
            module_op.attributes[REWRITES] = to_attribute(tuple(known | decided))


def rewrites_of(module_op: Any) -> tuple[Rewrite, ...]:
    """What passes rewrote in a module, and what they refused to."""
    attributes = module_op.operation.attributes
    lines = from_attribute(attributes[REWRITES]) if REWRITES in attributes else ()
    return tuple(map(Rewrite.from_json, lines))


@dataclass
class _Function:
    """One function between its operations and its expressions. Origins are positions in `ops`."""

    operation: ir.Operation
    graph: Expressions
    ops: list[ir.Operation] = field(default_factory=list)  # those that are expressions
    values: dict[int, Any] = field(default_factory=dict)  # of expressions that have one
    read: list[tuple[Any, int]] = field(default_factory=list)  # every result and the expression that it is
    commuted: list[Decision] = field(default_factory=list)

    def rewrite(self, allow: NumericClass, only: str) -> list[Rewrite]:
        rewriting = Rewriting(self.graph, allow, only)
        self._read(rewriting)
        rewriting.run()
        applied = [*self.commuted, *rewriting.applied]
        if applied:
            self._write(rewriting)
        decisions = [*applied, *(d for _, d in sorted(rewriting.refused.items()))]
        return [d.rewrite(self._names(d.origins)) for d in decisions]

    # --- from operations -------------------------------------------------------------------------------

    def _read(self, rewriting: Rewriting) -> None:
        numbers: dict[Any, int] = {}
        block = self.operation.regions[0].blocks[0]
        for argument in block.arguments:
            numbers[argument] = self._leaf(argument)
        for view in block.operations:
            op = view.operation
            found = self._expression(op, numbers)
            if found is not None:
                numbers[op.results[0]] = found
                rewriting.origins[found].add(len(self.ops))
                self.ops.append(op)
                self.read.append((op.results[0], found))
                continue
            for value in op.operands:
                self.graph.hold(numbers[value])
            for result in op.results:
                numbers[result] = self._leaf(result)

    def _leaf(self, value: Any) -> int:
        tensor = type_from_mlir(value.type)
        constant = not isinstance(value.owner, ir.Block) and value.owner.operation.name in CONSTANTS
        # What is not known in advance matches nothing, and so is never measured.
        index = self.graph.leaf(
            tensor if tensor.static else TensorType((0,), tensor.dtype), constant, splat_value(value)
        )
        self.values[index] = value
        return index

    def _expression(self, op: ir.Operation, numbers: dict[Any, int]) -> int | None:
        """The index of an operation that rules are about, that of an equal one if there is; None for others."""
        kind = op.name.removeprefix("fusion.")
        if kind not in _OPS or kind == op.name:
            return None
        attributes = dict(node_of(op).attrs)
        function = NAMES.get((kind, attributes.pop("kind", "")))
        if function is None:
            return None
        attrs = tuple(sorted(attributes.items()))
        operands = tuple(numbers[v] for v in op.operands)
        twin = self.graph.find(function, operands, attrs)
        if twin is None:
            index = self.graph.add(make(self.graph.all, 0, function, operands, attrs))
            self.values[index] = op.results[0]
            return index
        expression = self.graph[twin]
        if expression.operands != operands:
            rule = next(r for r in RULES if r.equation == _commuting(function))
            cost, positions = expression.cost, (*self._positions(twin), len(self.ops))
            twice = cost.plus(cost)
            numeric_class = rule.numeric_class(expression.type.dtype) or NumericClass.EXACT
            self.commuted.append(Decision(rule, numeric_class, twice, cost, positions))
        return twin

    def _positions(self, index: int) -> tuple[int, ...]:
        return tuple(i for i, (_, found) in enumerate(self.read) if found == index)

    # --- to operations ---------------------------------------------------------------------------------

    def _names(self, origins: Iterable[int]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n for i in sorted(origins) for n in self.names[i]))

    @cached_property
    def names(self) -> list[tuple[str, ...]]:
        """The ONNX nodes of each of `ops`, as they were."""
        return [onnx_nodes(op) for op in self.ops]

    def _write(self, rewriting: Rewriting) -> None:
        """Make operations of new expressions, let uses read what replaced their values, and bring all into order."""
        graph = self.graph
        block = self.operation.regions[0].blocks[0]
        assert len(self.names) == len(self.ops)
        originals, terminator = set(self.values), list(block.operations)[-1]
        pending = sorted((i for i in graph.all if i not in originals), reverse=True)
        while pending:
            missing = [o for o in graph[pending[-1]].operands if o not in self.values]
            if missing:
                pending += missing
                continue
            index = pending.pop()
            if index not in self.values:
                self._make(graph[index], rewriting.origins[index], terminator)
        for value, index in self.read:
            home = graph.current(index)
            if home in graph and self.values[home] != value:  # else nothing reads it any more
                value.replace_all_uses_with(self.values[home])
        for index in sorted(originals):
            if index in graph and graph[index].function and (names := self._names(rewriting.origins[index])):
                self.values[index].owner.attributes["onnx_nodes"] = to_attribute(names)
        _erase_dead(block)
        _sort(block)

    def _make(self, expression: Expression, origins: Iterable[int], before: Any) -> None:
        positions = sorted(origins)
        location = self.ops[positions[-1]].location if positions else self.operation.location
        with ir.InsertionPoint(before):
            if not expression.function:
                value = build("splat", [], {"value": expression.splat}, result=expression.type, loc=location)
            else:
                op, kind = FUNCTIONS[expression.function]
                attrs = dict(expression.attrs) | ({"kind": kind} if kind else {})
                operands = [self.values[o] for o in expression.operands]
                value = build(op, operands, attrs, onnx_nodes=self._names(positions), loc=location)
        self.values[expression.index] = value


@cache
def _commuting(function: str) -> str:
    """The equation that says that the order of operands is free."""
    a, b = Variable("A"), Variable("B")
    return f"{Apply(function, (a, b))} = {Apply(function, (b, a))}"


def _erase_dead(block: Any) -> None:
    for view in reversed(list(block.operations)):
        op = view.operation
        if op.name.startswith("fusion.") and op.results and not any(list(r.uses) for r in op.results):
            op.erase()


def _sort(block: Any) -> None:
    """Move every operation behind those that it reads, and leave the order as it is otherwise."""
    operations = [view.operation for view in block.operations]
    terminator = operations[-1]
    placed: set[Any] = set()
    order: list[ir.Operation] = []
    for first in operations:
        stack = [first]
        while stack:
            op = stack[-1]
            if op.results and op.results[0] in placed:
                stack.pop()
                continue
            missing = [v.owner.operation for v in op.operands if not isinstance(v.owner, ir.Block) and v not in placed]
            if missing:
                stack += reversed(missing)
                continue
            stack.pop()
            placed.update(op.results)
            order.append(op)
    for op in order:
        if op != terminator:
            op.move_before(terminator)
