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
from functools import partial
from typing import Any, Protocol

from mlirfuse.dialect import Access, semantics
from mlirfuse.dialect.indexing import Condition, Expr, Fetch, Var, as_expr, maximum, minimum
from mlirfuse.dialect.reduction import WindowOp
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.builder import Builder, compute_type, memory_type
from mlirfuse.lowering.schedule.forward import same_place
from mlirfuse.lowering.schedule.group import Group, Member
from mlirfuse.mlir import affine, arith, ir, memref, vector

__all__ = ["Buffer", "Evaluator", "Place", "Registers"]

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
class Registers:
    """A value that is in registers for exactly one index (or one vector of them)."""

    index: tuple[Expr, ...]
    value: Value

    def load(self, evaluator: Evaluator, index: tuple[Expr, ...]) -> Value:
        if not same_place(index, self.index):
            raise NotInRegisters(f"the value at {index} is asked for, but registers hold {self.index}")
        return self.value


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
            return self.builder.remember(
                (id(self.places[number]), index, self._lane_key), lambda: self.places[number].load(self, index)
            )
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
        rule = _RULES.get(node.op, _MOVEMENT)
        indexing = semantics(node.op).indexing(node)
        values = {e.terms[0][0]: i for e, i in zip(indexing.out, index, strict=True) if e.terms}
        return rule(_Site(self, member, indexing, values))  # type: ignore[arg-type]

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
        if any(self.depends_on_lane(c.value) for c in conditions):
            return self.gathered(
                lambda one, fix: one.guarded(
                    [c.substitute(fix) for c in conditions], tuple(e.substitute(fix) for e in index), number, fill
                )
            )
        scalar_type = compute_type(self.group.types[number].dtype)
        spread = any(self.depends_on_lane(e) for e in index)
        wanted = ir.VectorType.get([self.width], scalar_type) if spread else scalar_type
        filled = identity_fill(fill, self.group.types[number].dtype)

        def inside() -> Value:
            value = self.value(number, index)
            return self.builder.spread(value, self.width) if spread else value

        if not conditions:
            return self.value(number, index)
        self._prepare_address(number, index)
        return self.builder.when(conditions, inside, lambda: self.builder.constant(filled, wanted))

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
            return arith.CmpIOp(1, raw, self.builder.constant(0, raw.type)).result
        if dtype in ("float16", "bfloat16"):
            return arith.ExtFOp(scalar._shaped(raw, ir.F32Type.get()), raw).result
        return raw

    def to_memory(self, value: Value, dtype: str) -> Value:
        """From the element type of arithmetic to that of buffers."""
        if dtype == "bool":
            return arith.ExtUIOp(scalar._shaped(value, memory_type(dtype)), value).result
        if dtype in ("float16", "bfloat16"):
            return arith.TruncFOp(scalar._shaped(value, memory_type(dtype)), value).result
        return value


def identity_fill(fill: float, dtype: str) -> float | int:
    """Padding's number in `dtype`: integers have no infinities."""
    if dtype.startswith(("float", "bfloat")):
        return fill
    if fill == float("-inf"):
        return scalar.identity_of("max", dtype)
    return int(fill)


@dataclass(frozen=True)
class _Site:
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

    def bound(self, more: Mapping[Var, Expr]) -> _Site:
        """The site with further variables bound (those of a reduction)."""
        return _Site(self.evaluator, self.member, self.indexing, {**self.values, **more})

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
            negative = arith.CmpIOp(2, loaded, builder.index_constant(0)).result
            wrapped = arith.SelectOp(negative, arith.AddIOp(loaded, builder.index_constant(size)).result, loaded).result
            low = arith.MaxSIOp(wrapped, builder.index_constant(0)).result
            inside = arith.MinSIOp(low, builder.index_constant(size - 1)).result
            result = Expr(0, ((Var(name + ".in", 0, size - 1), 1),)) if size > 1 else Expr(0)
            builder.bind(result, inside, affine=False)
            return result

        return builder.remember(("fetch", fetch.size, number, fetch.index), make)

    def reduce(self, inits: Sequence[Value], step: Callable[[_Site, list[Value]], Sequence[Value]]) -> list[Value]:
        """Nested loops over the reduction domain with carried values."""

        def nest(site: _Site, remaining: tuple[Expr, ...], carried: list[Value]) -> list[Value]:
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
            for e in access.index
        )
        return ir.VectorType.get([evaluator.width], scalar_type) if depends else scalar_type


class LaneDependentFetch(Exception):
    """A gather whose index differs between lanes: the caller evaluates lane by lane."""


Rule = Callable[[_Site], Value]


def _movement(site: _Site) -> Value:
    try:
        return site.operand(0)
    except LaneDependentFetch:
        return _lane_by_lane(site)


def _lane_by_lane(site: _Site) -> Value:
    def make(one: Evaluator, fix: dict[Var, Expr]) -> Value:
        values = {k: e.substitute(fix) for k, e in site.values.items()}
        return _RULES.get(site.node.op, _MOVEMENT)(_Site(one, site.member, site.indexing, values))

    return site.evaluator.gathered(make)


def _unary(site: _Site) -> Value:
    node = site.node
    return scalar.unary(
        site.builder,
        node.attrs["kind"],
        site.operand(0),
        node.inputs[0].dtype,
        node.get("alpha", 0.0),
        node.get("beta", 0.0),
    )


def _binary(site: _Site) -> Value:
    kind, dtype = site.node.attrs["kind"], site.node.inputs[0].dtype
    splats = site.evaluator.group.splats
    exponent = splats.get(site.member.operands[1])
    if kind == "pow" and exponent is not None and dtype.startswith("float"):
        x = site.operand(0)
        if (short := scalar.power_by_constant(site.builder, x, float(exponent))) is not None:
            return short
    a, b = site.evaluator.unify(site.operand(0), site.operand(1))
    return scalar.binary(site.builder, kind, a, b, dtype)


def _select(site: _Site) -> Value:
    condition, a, b = (site.operand(i) for i in range(3))
    if isinstance(condition.type, ir.VectorType):
        condition, a, b = site.evaluator.unify(condition, a, b)
    else:
        a, b = site.evaluator.unify(a, b)
    return scalar.select(condition, a, b)


def _cast(site: _Site) -> Value:
    return scalar.cast(site.builder, site.operand(0), site.node.inputs[0].dtype, site.node.attrs["to"])


def _concat(site: _Site) -> Value:
    """Nested conditionals over the operands: exactly one of them holds the element."""
    accesses = site.indexing.operands
    conditions = [[Condition(site.resolve(c.value), c.lo, c.hi) for c in access.conditions] for access in accesses]
    if any(site.evaluator.depends_on_lane(c.value) and not (c.always or c.never) for each in conditions for c in each):
        return _lane_by_lane(site)
    scalar_type = compute_type(site.node.out.dtype)
    vector_type = ir.VectorType.get([site.evaluator.width], scalar_type)
    wide = any(site.evaluator.depends_on_lane(e.substitute(site.values)) for e in site.indexing.out)

    def read(position: int) -> Value:
        value = site.read(position, Access(accesses[position].index))
        return site.evaluator.vectorized(value) if wide else value

    result = site.builder.constant(identity_fill(0.0, site.node.out.dtype), vector_type if wide else scalar_type)
    for position in reversed(range(len(accesses))):
        if any(c.never for c in conditions[position]):
            continue
        result = site.builder.when(conditions[position], partial(read, position), partial(_same, result))
    return result


def _same(value: Value) -> Value:
    return value


def _contraction(site: _Site) -> Value:
    """Multiply-add over the reduction domain."""
    dtype = site.node.inputs[0].dtype
    wide = site.carried_type()
    zero = site.builder.constant(scalar.identity_of("sum", dtype), wide)

    def step(at: _Site, carried: list[Value]) -> list[Value]:
        a, b, total = at.evaluator.unify(at.operand(0), at.operand(1), carried[0])
        if dtype.startswith(("float", "bfloat")):
            return [scalar.fused_multiply_add(a, b, total)]
        return [scalar.binary(at.builder, "add", scalar.binary(at.builder, "mul", a, b, dtype), total, dtype)]

    return site.reduce([zero], step)[0]


def _reduce(site: _Site) -> Value:
    kind, dtype = site.node.attrs["kind"], site.node.inputs[0].dtype
    if kind.startswith("arg"):
        return _arg_reduce(site)
    init = site.builder.constant(scalar.identity_of(kind, dtype), site.carried_type())

    def step(at: _Site, carried: list[Value]) -> list[Value]:
        x, total = at.evaluator.unify(at.operand(0), carried[0])
        return [scalar.combine(at.builder, kind, total, x, dtype)]

    total = site.reduce([init], step)[0]
    if kind != "mean":
        return total
    count = 1
    for size in site.indexing.reduction_sizes:
        count *= size
    return _divided(site, total, count, dtype)


def _divided(site: _Site, total: Value, count: int, dtype: str) -> Value:
    if dtype.startswith(("float", "bfloat")):
        return scalar.mul(total, site.builder.constant(1.0 / count, total.type))
    return scalar.binary(site.builder, "div", total, site.builder.constant(count, total.type), dtype)


def _arg_reduce(site: _Site) -> Value:
    """The position of the extreme element: carried are the best value and its position."""
    if site.evaluator.lane is not None:
        return _lane_by_lane(site)
    kind, dtype = site.node.attrs["kind"], site.node.inputs[0].dtype
    extreme = "max" if kind == "argmax" else "min"
    i64 = ir.IntegerType.get_signless(64)
    best = site.builder.constant(scalar.identity_of(extreme, dtype), compute_type(dtype))
    first = site.builder.constant(0, i64)
    better = {
        ("max", False): "greater",
        ("max", True): "greater_equal",
        ("min", False): "less",
        ("min", True): "less_equal",
    }[extreme, bool(site.node.get("select_last", False))]
    position = site.indexing.reduction[0]

    def step(at: _Site, carried: list[Value]) -> list[Value]:
        x = at.operand(0)
        here = arith.IndexCastOp(i64, at.builder.index(at.resolve(position))).result
        wins = scalar.binary(at.builder, better, x, carried[0], dtype)
        return [scalar.select(wins, x, carried[0]), scalar.select(wins, here, carried[1])]

    return site.reduce([best, first], step)[1]


def _window(site: _Site) -> Value:
    node = site.node
    kind, dtype = node.attrs["kind"], node.inputs[0].dtype
    counts = WindowOp.counts(node)
    uneven = kind == "mean" and any(len(set(c)) > 1 for c in counts)
    wide = site.carried_type()
    inits = [site.builder.constant(scalar.identity_of(kind, dtype), wide)]

    def step(at: _Site, carried: list[Value]) -> list[Value]:
        x, total = at.evaluator.unify(at.operand(0), carried[0])
        return [scalar.combine(at.builder, kind, total, x, dtype)]

    total = site.reduce(inits, step)[0]
    if kind != "mean":
        return total
    if not uneven:
        count = 1
        for c in counts:
            count *= c[0]
        return _divided(site, total, max(1, count), dtype)
    return scalar.div(total, site.evaluator.unify(total, _window_count(site))[1])


def _window_count(site: _Site) -> Value:
    """How many positions of this window count, as a float: the product of what each axis covers."""
    node, a = site.node, site.node.attrs
    f32 = compute_type(node.inputs[0].dtype)
    rank, product = len(a["axes"]), None
    for i, axis in enumerate(a["axes"]):
        low, high = (a["pads"][i], a["pads"][rank + i]) if a["count_include_pad"] else (0, 0)
        start = site.resolve(site.indexing.out[axis]) * a["strides"][i] - a["pads"][i]
        step, taps = a["dilations"][i], a["kernel"][i]
        # taps k with -low <= start + k step < extent + high
        first = maximum((as_expr(-low) - start + (step - 1)) // step, 0)
        end = minimum((as_expr(node.inputs[0].dims[axis] + high) - start + (step - 1)) // step, taps)
        covered = maximum(end - first, 1)
        integer = arith.IndexCastOp(ir.IntegerType.get_signless(32), site.builder.index(covered)).result
        number = arith.SIToFPOp(f32, integer).result
        product = number if product is None else scalar.mul(product, number)
    return product


def _softmax(site: _Site) -> Value:
    """Three passes over the row, for groups without a row schedule."""
    dtype = site.node.inputs[0].dtype
    wide = site.carried_type()
    c = site.builder.constant

    def largest(at: _Site, carried: list[Value]) -> list[Value]:
        x, best = at.evaluator.unify(at.operand(0), carried[0])
        return [scalar.combine(at.builder, "max", best, x, dtype)]

    top = site.reduce([c(scalar.identity_of("max", dtype), wide)], largest)[0]

    def total(at: _Site, carried: list[Value]) -> list[Value]:
        x, peak, so_far = at.evaluator.unify(at.operand(0), top, carried[0])
        return [scalar.add(so_far, scalar.unary(at.builder, "exp", scalar.sub(x, peak), dtype, 0.0, 0.0))]

    denominator = site.reduce([c(0.0, wide)], total)[0]
    return softmax_element(site, top, denominator)


def softmax_element(site: _Site, top: Value, denominator: Value) -> Value:
    """One element of the result, given the row's maximum and sum of exponentials."""
    dtype = site.node.inputs[0].dtype
    x, top, denominator = site.evaluator.unify(own_element(site), top, denominator)
    shifted = scalar.sub(x, top)
    if site.node.attrs["log"]:
        return scalar.sub(shifted, scalar.unary(site.builder, "log", denominator, dtype, 0.0, 0.0))
    return scalar.div(scalar.unary(site.builder, "exp", shifted, dtype, 0.0, 0.0), denominator)


def own_element(site: _Site) -> Value:
    """The operand at the result's own index (row operations)."""
    return site.evaluator.value(site.member.operands[0], tuple(site.resolve(e) for e in site.indexing.out))


def _normalize(site: _Site) -> Value:
    wide = site.carried_type()
    count = 1
    for size in site.indexing.reduction_sizes:
        count *= size

    def total(at: _Site, carried: list[Value]) -> list[Value]:
        x, so_far = at.evaluator.unify(at.operand(0), carried[0])
        return [scalar.add(so_far, x)]

    mean = _divided(site, site.reduce([site.builder.constant(0.0, wide)], total)[0], count, "float32")

    def squares(at: _Site, carried: list[Value]) -> list[Value]:
        x, centre, so_far = at.evaluator.unify(at.operand(0), mean, carried[0])
        centred = scalar.sub(x, centre)
        return [scalar.fused_multiply_add(centred, centred, so_far)]

    variance = _divided(site, site.reduce([site.builder.constant(0.0, wide)], squares)[0], count, "float32")
    return normalize_element(site, mean, variance)


def normalize_element(site: _Site, mean: Value, variance: Value) -> Value:
    """One element of the result, given the row's mean and variance."""
    x, mean, variance = site.evaluator.unify(own_element(site), mean, variance)
    epsilon = site.builder.constant(site.node.attrs["epsilon"], variance.type)
    scale = scalar.unary(site.builder, "rsqrt", scalar.add(variance, epsilon), "float32", 0.0, 0.0)
    return scalar.mul(scalar.sub(x, mean), scale)


_MOVEMENT: Rule = _movement
_RULES: dict[str, Rule] = {
    "unary": _unary,
    "binary": _binary,
    "select": _select,
    "cast": _cast,
    "concat": _concat,
    "conv": _contraction,
    "contract": _contraction,
    "reduce": _reduce,
    "window": _window,
    "softmax": _softmax,
    "normalize": _normalize,
}
