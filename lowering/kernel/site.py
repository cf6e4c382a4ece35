"""One operation evaluated at one index: what a rule sees, and the registry of rules.

A rule is a function of a `Site` that emits the result element of its op. `rule("name")` registers it; ops without a
rule of their own are data movement, their indexing says everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlirfuse.dialect import Access
from mlirfuse.dialect.indexing import Condition, Expr, Fetch, Var
from mlirfuse.lowering.groups.group import Member
from mlirfuse.lowering.kernel.builder import Builder, compute_type
from mlirfuse.mlir import arith, ir

if TYPE_CHECKING:
    from mlirfuse.lowering.kernel.point import Evaluator

__all__ = ["RULES", "LaneDependentFetch", "Site", "lane_by_lane", "rule"]

Value = Any


@dataclass(frozen=True)
class Site:
    """One member evaluated at one result index; `values` binds the member's own variables to kernel expressions."""

    evaluator: Evaluator
    member: Member
    indexing: Any
    values: dict[Var, Expr]

    @property
    def node(self) -> Any:
        return self.member.node

    @property
    def builder(self) -> Builder:
        return self.evaluator.builder

    def bound(self, more: Mapping[Var, Expr]) -> Site:
        """The site with further variables bound (those of a reduction)."""
        return Site(self.evaluator, self.member, self.indexing, {**self.values, **more})

    def operand(self, position: int) -> Value:
        """The operand's value where this site reads it, padding included."""
        access: Access = self.indexing.operands[position]
        return self.read(position, access)

    def read(self, position: int, access: Access) -> Value:
        index = tuple(self.resolve(e) for e in access.index)
        conditions = [Condition(self.resolve(c.value), c.lo, c.hi) for c in access.conditions]
        return self.evaluator.guarded(conditions, index, self.member.operands[position], access.fill)

    def resolve(self, e: Expr) -> Expr:
        """The expression in kernel variables; fetched indices are loaded, wrapped and clamped."""
        return e.substitute(self.values).rewrite_fetches(self._fetched)

    def _fetched(self, fetch: Fetch) -> Expr:
        evaluator = self.evaluator
        if any(evaluator.depends_on_lane(e) for e in fetch.index):
            raise LaneDependentFetch
        number = self.member.operands[fetch.operand]
        raw = evaluator.value(number, tuple(e.rewrite_fetches(self._fetched) for e in fetch.index))
        builder = self.builder

        def make() -> Expr:
            loaded = arith.IndexCastOp(ir.IndexType.get(), raw).result
            name = builder.fresh_name("fetched")
            size = fetch.size
            plain = Expr(0, ((Var(name, -size, size - 1), 1),))
            builder.bind(plain, loaded, affine=False)
            negative = arith.CmpIOp(arith.CmpIPredicate.slt, loaded, builder.index_constant(0)).result
            wrapped = arith.SelectOp(negative, arith.AddIOp(loaded, builder.index_constant(size)).result, loaded).result
            low = arith.MaxSIOp(wrapped, builder.index_constant(0)).result
            inside = arith.MinSIOp(low, builder.index_constant(size - 1)).result
            result = Expr(0, ((Var(name + ".in", 0, size - 1), 1),)) if size > 1 else Expr(0)
            builder.bind(result, inside, affine=False)
            return result

        return builder.remember(("fetch", fetch.size, number, fetch.index), make)

    def reduce(self, inits: Sequence[Value], step: Callable[[Site, list[Value]], Sequence[Value]]) -> list[Value]:
        """Nested loops over the reduction domain with carried values."""

        def nest(site: Site, remaining: tuple[Expr, ...], carried: list[Value]) -> list[Value]:
            if not remaining:
                return list(step(site, carried))
            variable = remaining[0]
            if variable.is_constant:
                return nest(site, remaining[1:], carried)
            atom = variable.terms[0][0]
            size = variable.range[1] + 1
            return site.builder.loop(size, "r", carried, lambda i, c: nest(site.bound({atom: i}), remaining[1:], c))  # type: ignore[dict-item]

        return nest(self, self.indexing.reduction, list(inits))

    def carried_type(self) -> ir.Type:
        """The type of an accumulator: a vector if any operand depends on the lane."""
        scalar_type = compute_type(self.node.inputs[0].dtype)
        evaluator = self.evaluator
        depends = any(
            evaluator.depends_on_lane(e.substitute(self.values))
            for access in self.indexing.operands
            for e in (*access.index, *(c.value for c in access.conditions))
        )
        return ir.VectorType.get([evaluator.width], scalar_type) if depends else scalar_type


class LaneDependentFetch(Exception):
    """A gather whose index differs between lanes: the caller evaluates lane by lane."""


Rule = Callable[[Site], Value]
RULES: dict[str, Rule] = {}


def rule(op: str) -> Callable[[Rule], Rule]:
    """Register the rule of an op, by its name without the dialect's."""

    def register(function: Rule) -> Rule:
        RULES[op] = function
        return function

    return register


def lane_by_lane(site: Site, evaluate: Rule | None = None) -> Value:
    """A vector whose elements are evaluated one at a time, for what has no vector form; by default the op itself."""
    evaluate = evaluate or RULES.get(site.node.op, RULES["movement"])

    def make(one: Evaluator, fix: dict[Var, Expr]) -> Value:
        values = {k: e.substitute(fix) for k, e in site.values.items()}
        return evaluate(Site(one, site.member, site.indexing, values))

    return site.evaluator.gathered(make)
