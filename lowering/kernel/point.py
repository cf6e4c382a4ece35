"""The value of a group's tensor at one index, evaluated backwards through the ops' indexing functions.

This is what makes element-wise operations and data movement vanish inside a group: an operation without a place
of its own is computed where it is used, its indices being index arithmetic. Values with a *place* (a
buffer, a shared-memory box, registers) end the recursion.

With a lane variable the value is a vector: `width` consecutive values of that variable. An operand that does not
depend on the lane stays scalar; one whose address advances by one is a vector load; any other is
gathered element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlirfuse.dialect import semantics
from mlirfuse.dialect.indexing import Condition, Expr, Var, as_expr
from mlirfuse.lowering.groups.forward import same_place
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.kernel import (
    pointwise_rules,  # noqa: F401  it registers its rules
    reduction_rules,  # noqa: F401
    sampling_rules,  # noqa: F401
    scalar,
    scatter_rules,  # noqa: F401
    sorting,  # noqa: F401
)
from mlirfuse.lowering.kernel.builder import Builder, compute_type, memory_type
from mlirfuse.lowering.kernel.site import RULES, Site
from mlirfuse.mlir import affine, arith, ir, memref, vector

__all__ = ["Buffer", "Evaluator", "Part", "Place", "Registers", "Scratch"]

Value = Any
ZERO = Expr(0)


class Place(Protocol):
    """Where a value lives."""

    def load(self, evaluator: Evaluator, index: tuple[Expr, ...]) -> Value: ...


@dataclass(frozen=True)
class Buffer:
    """A memref that holds a box of a value: element `index` is at offset + sum(strides * index).

    `aligned` says how many elements the base is a multiple of (vector loads on GPUs need it).
    """

    memory: Any
    strides: tuple[int, ...]
    dtype: str
    offset: Expr = ZERO
    aligned: int = 1

    def address(self, index: Sequence[Expr]) -> Expr:
        total = self.offset
        for e, stride in zip(index, self.strides, strict=True):
            total = total + e * stride
        return total

    def load(self, evaluator: Evaluator, index: tuple[Expr, ...]) -> Value:
        raw = evaluator.load(self.memory, self.address(index), self.aligned)
        return evaluator.from_memory(raw, self.dtype)

    def store(self, evaluator: Evaluator, index: Sequence[Expr], value: Value) -> None:
        evaluator.store(self.memory, self.address(index), evaluator.to_memory(value, self.dtype), self.aligned)


@dataclass(frozen=True)
class Scratch(Buffer):
    """A box that the tile keeps between stages; the stage that reads it may overwrite it."""


@dataclass(frozen=True)
class Part:
    """A box, starting at `start`, of a value of another group: `evaluate` gives that value at an index."""

    start: tuple[Expr, ...]
    evaluate: Callable[[Evaluator, tuple[Expr, ...]], Value]

    def load(self, evaluator: Evaluator, index: tuple[Expr, ...]) -> Value:
        return self.evaluate(evaluator, tuple(s + i for s, i in zip(self.start, index, strict=True)))


@dataclass(frozen=True)
class Registers:
    """A value that is in registers for exactly one index (or one vector of them)."""

    index: tuple[Expr, ...]
    value: Value

    def load(self, evaluator: Evaluator, index: tuple[Expr, ...]) -> Value:
        if not same_place(index, self.index):
            raise NotInRegisters(f"the value at {index} is asked for, but registers hold {self.index}")
        return self.value


@dataclass(frozen=True, eq=False)
class _Itself:
    """A place as a key: equal to none but itself, and kept for as long as the key is.

    Its `id` alone would be that of another place once it is gone.
    """

    place: Place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.place is other.place

    def __hash__(self) -> int:
        return id(self.place)


class NotInRegisters(Exception):
    """An epilogue asked for an element that another thread holds: the group was not legal."""


class Evaluator:
    """Evaluates values of `group` at the builder's insertion point.

    `places` maps values to where they live. `lane` is the vectorised variable, or None for scalars.
    """

    def __init__(
        self, builder: Builder, group: Group, places: Mapping[int, Place], lane: Expr | None = None, width: int = 1
    ) -> None:
        self.builder, self.group, self.places = builder, group, dict(places)
        self.lane = None if lane is None or lane.is_constant else lane
        self.width = width if self.lane is not None else 1

    # -- values

    def value(self, number: int, index: tuple[Expr, ...]) -> Value:
        """The value at `index`: a scalar, or a vector where it depends on the lane."""
        if number in self.places:
            place = self.places[number]
            return self.builder.remember((_Itself(place), index, self._lane_key), lambda: place.load(self, index))
        if number in self.group.splats:
            return self.builder.constant(self.group.splats[number], compute_type(self.group.types[number].dtype))
        return self.builder.remember(
            (number, index, self._lane_key), lambda: self._compute(self.group.producers[number], index)
        )

    @property
    def _lane_key(self) -> Any:
        return None if self.lane is None else (self.lane, self.width)

    def _compute(self, member: Member, index: tuple[Expr, ...]) -> Value:
        node = member.node
        rule = RULES.get(node.op, RULES["movement"])
        indexing = semantics(node.op).indexing(node)
        values = {e.terms[0][0]: i for e, i in zip(indexing.out, index, strict=True) if e.terms}
        return rule(Site(self, member, indexing, values))  # type: ignore[arg-type]

    # -- lanes

    def depends_on_lane(self, e: Expr) -> bool:
        return self.lane is not None and self.lane.terms[0][0] in e.variables()

    def unify(self, *values: Value) -> list[Value]:
        """Spread scalars where another value is a vector."""
        width = next((v.type.shape[0] for v in values if isinstance(v.type, ir.VectorType)), 1)
        return [self.builder.spread(v, width) for v in values]

    def vectorized(self, value: Value) -> Value:
        """The value as a full vector of the evaluator's width."""
        return self.builder.spread(value, self.width)

    def one_lane(self, lane: int) -> tuple[Evaluator, dict[Var, Expr]]:
        """A scalar evaluator for one lane, and the substitution that fixes the lane."""
        assert self.lane is not None
        return Evaluator(self.builder, self.group, self.places), {self.lane.terms[0][0]: as_expr(lane)}  # type: ignore[dict-item]

    def gathered(self, make: Callable[[Evaluator, dict[Var, Expr]], Value]) -> Value:
        """A vector made lane by lane."""
        elements = [make(*self.one_lane(lane)) for lane in range(self.width)]
        return vector.FromElementsOp(ir.VectorType.get([self.width], elements[0].type), elements).result

    def guarded(self, conditions: Sequence[Condition], index: tuple[Expr, ...], number: int, fill: float) -> Value:
        """The value at `index` where the conditions hold, else `fill`."""
        conditions = [c for c in conditions if not c.always]
        scalar_type = compute_type(self.group.types[number].dtype)
        if any(self.depends_on_lane(c.value) for c in conditions):

            def one_by_one() -> Value:
                return self.gathered(
                    lambda one, fix: one.guarded(
                        [c.substitute(fix) for c in conditions], tuple(e.substitute(fix) for e in index), number, fill
                    )
                )

            ends = self._of_all_lanes(conditions)
            if ends is None or any(c.never for c in ends):
                return one_by_one()
            whole = ir.VectorType.get([self.width], scalar_type)
            return self.builder.when(ends, lambda: self.vectorized(self.value(number, index)), one_by_one, whole)
        spread = any(self.depends_on_lane(e) for e in index)
        wanted = ir.VectorType.get([self.width], scalar_type) if spread else scalar_type
        filled = scalar.fill_value(fill, self.group.types[number].dtype)

        def inside() -> Value:
            value = self.value(number, index)
            return self.builder.spread(value, self.width) if spread else value

        if not conditions:
            return self.value(number, index)
        self._prepare_address(number, index)
        return self.builder.when(conditions, inside, lambda: self.builder.constant(filled, wanted))

    def _of_all_lanes(self, conditions: Sequence[Condition]) -> list[Condition] | None:
        """What holds if and only if the conditions hold for every lane; None where that is not worth a branch."""
        if not self.builder.branches:
            return None
        found: list[Condition] = []
        for c in conditions:
            if c.value.coefficient(self._lane_variable) is None:
                return None
            ends = (c.substitute({self._lane_variable: Expr(lane)}) for lane in (0, self.width - 1))
            found += (end for end in ends if not end.always)
        return found

    def _prepare_address(self, number: int, index: tuple[Expr, ...]) -> None:
        """Compute the address of a guarded read before its branch, which then is a load alone: a predicate."""
        place = self.places.get(number)
        if not isinstance(place, Buffer):
            return
        address = place.address(index)
        if self.depends_on_lane(address):
            if address.coefficient(self._lane_variable) is None:
                return
            address = address.substitute({self._lane_variable: Expr(0)})
        if not self.builder.is_affine(address):
            self.builder.index(address)

    # -- memory

    def load(self, memory: Any, address: Expr, aligned: int = 1) -> Value:
        """Load a scalar, or a vector along the lane."""
        element = memory.type.element_type
        if not self.depends_on_lane(address):
            return self._load_scalar(memory, address)
        if address.coefficient(self._lane_variable) == 1 and self._vector_ok(address, aligned):
            start = address.substitute({self._lane_variable: Expr(0)})
            vector_type = ir.VectorType.get([self.width], element)
            if self.builder.is_affine(start):
                affine_map, operands = self.builder.affine_map(start)
                return affine.AffineVectorLoadOp(vector_type, memory, operands, affine_map).result
            return vector.LoadOp(
                vector_type, memory, [self.builder.index(start)], alignment=self._alignment(element, aligned)
            ).result
        return self.gathered(lambda one, fix: one.load(memory, address.substitute(fix)))

    def store(self, memory: Any, address: Expr, value: Value, aligned: int = 1) -> None:
        """Store a scalar, or a vector along the lane."""
        if not self.depends_on_lane(address):
            if self.builder.is_affine(address):
                affine_map, operands = self.builder.affine_map(address)
                affine.AffineStoreOp(value, memory, operands, affine_map)
            else:
                memref.StoreOp(value, memory, [self.builder.index(address)])
            return
        value = self.vectorized(value)
        if address.coefficient(self._lane_variable) == 1 and self._vector_ok(address, aligned):
            start = address.substitute({self._lane_variable: Expr(0)})
            if self.builder.is_affine(start):
                affine_map, operands = self.builder.affine_map(start)
                affine.AffineVectorStoreOp(value, memory, operands, affine_map)
            else:
                vector.StoreOp(
                    value,
                    memory,
                    [self.builder.index(start)],
                    alignment=self._alignment(memory.type.element_type, aligned),
                )
            return
        for lane in range(self.width):
            one, fix = self.one_lane(lane)
            one.store(memory, address.substitute(fix), vector.ExtractOp(value, [], [lane]).result)

    def _load_scalar(self, memory: Any, address: Expr) -> Value:
        if self.builder.is_affine(address):
            affine_map, operands = self.builder.affine_map(address)
            return affine.AffineLoadOp(memory.type.element_type, memory, operands, affine_map).result
        return memref.LoadOp(memory, [self.builder.index(address)]).result

    @property
    def _lane_variable(self) -> Var:
        assert self.lane is not None
        return self.lane.terms[0][0]  # type: ignore[return-value]

    def _vector_ok(self, address: Expr, aligned: int) -> bool:
        """Whether every start address is a multiple of what vector accesses need (`aligned` 0: no need)."""
        if aligned == 0:
            return True
        start = address.substitute({self._lane_variable: Expr(0)})
        return (
            aligned % self.width == 0
            and start.constant % self.width == 0
            and all(c % self.width == 0 for _, c in start.terms)
        )

    def _alignment(self, element: ir.Type, aligned: int) -> int | None:
        bits = element.width
        return bits // 8 * (self.width if aligned else 1)

    def from_memory(self, raw: Value, dtype: str) -> Value:
        """From the element type of buffers to that of arithmetic."""
        if dtype == "bool":
            return arith.CmpIOp(arith.CmpIPredicate.ne, raw, self.builder.constant(0, raw.type)).result
        if dtype in ("float16", "bfloat16"):
            return arith.ExtFOp(scalar.like(raw, ir.F32Type.get()), raw).result
        return raw

    def to_memory(self, value: Value, dtype: str) -> Value:
        """From the element type of arithmetic to that of buffers."""
        if dtype == "bool":
            return arith.ExtUIOp(scalar.like(value, memory_type(dtype)), value).result
        if dtype in ("float16", "bfloat16"):
            return arith.TruncFOp(scalar.like(value, memory_type(dtype)), value).result
        return value
