"""Storing what follows an anchor, from where its element is in registers to wherever that element ends up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlirfuse.dialect import semantics
from mlirfuse.dialect.indexing import Condition, Expr, Var, as_expr
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.groups.forward import Guard, Landing, landings, same_place, uncovered
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.kernel.builder import Builder, compute_type
from mlirfuse.lowering.kernel.point import Evaluator, NotInRegisters, Registers
from mlirfuse.lowering.kernel.site import Site
from mlirfuse.mlir import arith, ir, scf, vector

__all__ = ["border", "store_landings"]

Place = tuple[Expr, ...]
Landings = Mapping[int, Landing]
MakeEvaluator = Callable[[Mapping[int, Any], Expr | None, int], Evaluator]
Store = Callable[[Evaluator, Mapping[int, Place], Sequence[int]], None]
_MOVING = ("expand", "gather", "slice", "pad", "concat", "reshape", "transpose")


@dataclass(frozen=True)
class _Moved:
    """A value that is another one moved: asked for at `index`, where `source` at `source_index` ends up."""

    index: Place
    source: int
    source_index: Place

    def load(self, evaluator: Evaluator, index: Place) -> Any:
        if not same_place(index, self.index):
            raise NotInRegisters(f"the value at {index} is asked for, but what is there is at {self.index}")
        return evaluator.value(self.source, self.source_index)


@dataclass(frozen=True)
class _Absent:
    """The anchor where no element of it is read: asked for in branches that are not taken."""

    dtype: str

    def load(self, evaluator: Evaluator, index: Place) -> Any:
        return evaluator.builder.constant(0, compute_type(self.dtype))


def store_landings(
    group: Group, anchor: Member, make: MakeEvaluator, store: Store, index: Place, value: Any,
    lane: Expr | None = None, width: int = 1,
) -> None:  # fmt: skip
    """Run the epilogue on the anchor's element (or vector along `lane`) at `index`, and store every output.

    Outputs that the element reaches in one place are stored together; for each other there are loops over its repeats
    and branches on its guards, lane by lane where a guard differs between lanes.
    """
    found = landings(group, anchor, index)
    assert not isinstance(found, str), found
    plain = [v for v in group.outputs if found[v].one_to_one]
    if plain:
        evaluator = make({anchor.result: Registers(index, value)}, lane, width)
        store(evaluator, {v: found[v].index for v in plain}, plain)
    for output in group.outputs:
        if not found[output].one_to_one:
            _Spread(group, anchor, make, store, output).emit(found, value, lane, width)


@dataclass(frozen=True)
class _Spread:
    """One output that an element of the anchor may reach several times, or not at all."""

    group: Group
    anchor: Member
    make: MakeEvaluator
    store: Store
    output: int

    def emit(self, found: Landings, value: Any, lane: Expr | None, width: int) -> None:
        landing = found[self.output]
        if lane is not None and any(lane.terms[0][0] in g.condition.value.variables() for g in landing.guards):
            for i in range(width):
                fixed: dict[Var, Expr] = {lane.terms[0][0]: as_expr(i)}  # type: ignore[dict-item]
                element = vector.ExtractOp(value, [], [i]).result
                self.emit({v: at.substitute(fixed) for v, at in found.items()}, element, None, 1)
            return
        evaluator = self.make({}, lane, width)
        repeated = {r.terms[0][0] for r in landing.repeats}
        early = [g for g in landing.guards if not g.condition.value.variables() & repeated]  # type: ignore[operator]

        def loops(found: Landings) -> None:
            landing = found[self.output]
            if landing.repeats:
                self._loop(evaluator.builder, found, loops)
                return
            late = landing.guards[len(early) :]
            self._when(evaluator, late, partial(self._store, found, value, lane, width))

        landing = Landing(landing.index, landing.repeats, (*early, *(g for g in landing.guards if g not in early)))
        self._when(evaluator, early, partial(loops, {**found, self.output: landing}))

    def _loop(self, builder: Builder, found: Landings, body: Callable[[Landings], None]) -> None:
        variable = found[self.output].repeats[0]

        def step(i: Expr, _: list[Any]) -> list[Any]:
            bound: dict[Var, Expr] = {variable.terms[0][0]: i}  # type: ignore[dict-item]
            body({v: at.substitute(bound) for v, at in found.items()})
            return []

        builder.loop(variable.range[1] + 1, "again", [], step)

    @staticmethod
    def _when(evaluator: Evaluator, guards: Sequence[Guard], body: Callable[[], None]) -> None:
        evaluator.builder.when([_resolved(evaluator, g) for g in guards], body)

    def _store(self, found: Landings, value: Any, lane: Expr | None, width: int) -> None:
        places: dict[int, Any] = {self.anchor.result: Registers(found[self.anchor.result].index, value)}
        for member in self.group.members:
            if member.node.op in _MOVING and member.result in found:
                source = next(v for v in member.operands if v in found)
                places[member.result] = _Moved(found[member.result].index, source, found[source].index)
        self.store(self.make(places, lane, width), {self.output: found[self.output].index}, [self.output])


def _resolved(evaluator: Evaluator, guard: Guard) -> Condition:
    """The condition with its fetches loaded."""
    condition = guard.condition
    site = Site(evaluator, guard.member, semantics(guard.member.node.op).indexing(guard.member.node), {})
    return Condition(site.resolve(condition.value), condition.lo, condition.hi)


def border(group: Group, anchor: Member, output: int, make: MakeEvaluator, store: Store, index: Place) -> None:
    """Store the element of an output at `index` if no element of the anchor ends up there: padding, other operands."""
    variables = out_variables(group.types[output].dims)
    values = {e.terms[0][0]: i for e, i in zip(variables, index, strict=True) if e.terms}
    conditions = [c.substitute(values) for c in uncovered(group, anchor, output)]  # type: ignore[arg-type]
    if all(c.always for c in conditions):
        return
    evaluator = make({anchor.result: _Absent(anchor.node.out.dtype)}, None, 1)
    builder = evaluator.builder
    inside = builder.all_of([c for c in conditions if not c.always])
    outside = arith.XOrIOp(inside, builder.constant(1, inside.type)).result
    op = scf.IfOp(outside)
    with builder.scope(ir.InsertionPoint(op.then_block)):
        store(evaluator, {output: index}, [output])
        scf.YieldOp([])
