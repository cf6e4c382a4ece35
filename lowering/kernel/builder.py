"""Emitting index and scalar arithmetic at the insertion point, from expressions and Python numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mlirfuse.dialect.indexing import Condition, Expr, FloorDiv, MaxOf, MinOf, Mod, Var
from mlirfuse.mlir import affine, arith, ir, scf, vector

__all__ = ["Builder", "compute_type", "memory_type"]

_FLOAT = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}


def memory_type(dtype: str) -> ir.Type:
    """The element type of buffers: booleans take one byte, integers are signless."""
    if dtype == "bool":
        return ir.IntegerType.get_signless(8)
    if dtype in _FLOAT:
        return ir.Type.parse(_FLOAT[dtype])
    return ir.IntegerType.get_signless(np.dtype(dtype).itemsize * 8)


def compute_type(dtype: str) -> ir.Type:
    """The type that arithmetic uses: i1 for booleans, f32 for the narrow floats."""
    if dtype == "bool":
        return ir.IntegerType.get_signless(1)
    if dtype in ("float16", "bfloat16"):
        return ir.F32Type.get()
    return memory_type(dtype)


class Builder:
    """Index expressions become SSA values here, once per region.

    A kernel variable is bound to an `index` value by `bind`; one that affine maps may use (loop variables, values at
    the top of the kernel) is bound with `affine=True`. With `branches`, a branch costs little: vectors away from
    borders have code of their own.
    """

    def __init__(self, *, branches: bool = False) -> None:
        self.branches = branches
        self._values: dict[Var, Any] = {}
        self._affine: set[Var] = set()
        self._top: set[Var] = set()
        self._top_ip: ir.InsertionPoint | None = None
        self._top_values: dict[Any, Any] = {}
        self._scopes: list[dict[Any, Any]] = [{}]
        self._fresh = 0

    def end_of_top(self) -> None:
        """Everything bound so far is defined at the top of the kernel, and divisions of such values are computed here.

        There they are loop-invariant, and affine maps may use them as symbols.
        """
        marker = arith.ConstantOp(ir.IndexType.get(), 0)
        self._top_ip = ir.InsertionPoint(marker)
        self._top = set(self._values)

    # -- regions and memory of what was emitted in them

    @contextlib.contextmanager
    def scope(self, ip: ir.InsertionPoint) -> Iterator[None]:
        """Emit at `ip`; what is emitted there is forgotten afterwards (it does not dominate what follows)."""
        self._scopes.append({})
        try:
            with ip:
                yield
        finally:
            self._scopes.pop()

    def remember(self, key: Any, make: Callable[[], Any]) -> Any:
        """The value made for `key` in this or an enclosing region, or a new one."""
        for scope in reversed(self._scopes):
            if key in scope:
                return scope[key]
        made = make()
        self._scopes[-1][key] = made
        return made

    def forget(self) -> None:
        """Forget everything that was emitted in the innermost region (memory may have changed)."""
        self._scopes[-1].clear()

    # -- index arithmetic

    def bind(self, variable: Expr, value: Any, *, affine: bool) -> None:
        """Give the kernel variable `variable` its `index` value; a constant needs none."""
        if variable.is_constant:
            return
        atom = variable.terms[0][0]
        assert isinstance(atom, Var), variable
        self._values[atom] = value
        if affine:
            self._affine.add(atom)

    def fresh_name(self, stem: str) -> str:
        self._fresh += 1
        return f"{stem}.{self._fresh}"

    def below(self, size: int, e: Expr, stem: str) -> Expr:
        """`e`, which is known to be in [0, size): under a name of that range, unless its own range says so."""
        lo, hi = e.range
        if lo >= 0 and hi < size:
            return e
        return self.name(self.index(e), stem, size)

    def name(self, value: Any, stem: str, size: int) -> Expr:
        """An `index` value in [0, size) as a variable."""
        variable = Expr(0, ((Var(self.fresh_name(stem), 0, size - 1), 1),)) if size > 1 else Expr(0)
        self.bind(variable, value, affine=False)
        return variable

    def index_constant(self, value: int) -> Any:
        return self.remember(("index", value), lambda: arith.ConstantOp(ir.IndexType.get(), value).result)

    def index(self, e: Expr) -> Any:
        """The `index` value of an expression."""
        if e.is_constant:
            return self.index_constant(e.constant)
        return self.remember(e, lambda: self._emit_index(e))

    def is_affine(self, e: Expr) -> bool:
        """Whether an affine map over bound variables (and divisions done at the top) can compute `e`."""
        return all(atom in self._affine if isinstance(atom, Var) else self._is_top(atom) for atom, _ in e.terms)

    def _is_top(self, atom: Any) -> bool:
        return self._top_ip is not None and isinstance(atom, FloorDiv | Mod) and atom.value.variables() <= self._top

    def _leaf(self, atom: Any) -> Any:
        """The value of an atom that affine maps may use."""
        if isinstance(atom, Var):
            return self._values[atom]
        if atom not in self._top_values:
            scopes, self._scopes = self._scopes, [{}]
            assert self._top_ip is not None
            with self._top_ip:
                self._top_values[atom] = self._emit_atom(atom)
            self._scopes = scopes
        return self._top_values[atom]

    def affine_map(self, e: Expr) -> tuple[ir.AffineMap, list[Any]]:
        """An affine map of one result and its operands, for an expression that `is_affine`."""
        result = ir.AffineConstantExpr.get(e.constant)
        operands = []
        for position, (atom, factor) in enumerate(e.terms):
            result = ir.AffineExpr.get_add(result, ir.AffineExpr.get_mul(ir.AffineDimExpr.get(position), factor))
            operands.append(self._leaf(atom))
        return ir.AffineMap.get(len(operands), 0, [result]), operands

    def _emit_index(self, e: Expr) -> Any:
        if self.is_affine(e):
            if len(e.terms) == 1 and e.terms[0][1] == 1 and e.constant == 0:
                return self._leaf(e.terms[0][0])
            affine_map, operands = self.affine_map(e)
            return affine.AffineApplyOp(affine_map, operands).result
        total = None
        for atom, factor in e.terms:
            value = self.remember(atom, lambda atom=atom: self._emit_atom(atom))  # type: ignore[misc]
            if factor != 1:
                value = arith.MulIOp(value, self.index_constant(factor)).result
            total = value if total is None else arith.AddIOp(total, value).result
        if e.constant:
            total = arith.AddIOp(total, self.index_constant(e.constant)).result
        return total

    def _emit_atom(self, atom: Any) -> Any:
        match atom:
            case Var():
                return self._values[atom]
            case FloorDiv():
                divide = arith.DivUIOp if atom.value.range[0] >= 0 else arith.FloorDivSIOp
                return divide(self.index(atom.value), self.index_constant(atom.divisor)).result
            case Mod() if atom.value.range[0] >= 0:
                return arith.RemUIOp(self.index(atom.value), self.index_constant(atom.divisor)).result
            case Mod():
                quotient = arith.FloorDivSIOp(self.index(atom.value), self.index_constant(atom.divisor)).result
                whole = arith.MulIOp(quotient, self.index_constant(atom.divisor)).result
                return arith.SubIOp(self.index(atom.value), whole).result
            case MinOf():
                return arith.MinSIOp(self.index(atom.a), self.index(atom.b)).result
            case MaxOf():
                return arith.MaxSIOp(self.index(atom.a), self.index(atom.b)).result
        raise AssertionError(f"unresolved index {atom!r}")

    def condition(self, c: Condition) -> Any:
        """lo <= value <= hi as an i1 (one unsigned comparison where both ends matter)."""
        lo, hi = c.value.range
        if hi <= c.hi:
            return self._compare(arith.CmpIPredicate.sge, c.value, c.lo)
        if lo >= c.lo:
            return self._compare(arith.CmpIPredicate.sle, c.value, c.hi)
        return self._compare(arith.CmpIPredicate.ule, c.value - c.lo, c.hi - c.lo)

    def all_of(self, conditions: Sequence[Condition]) -> Any:
        """The conjunction of conditions, as an i1."""
        result = None
        for c in conditions:
            holds = self.remember(c, lambda c=c: self.condition(c))  # type: ignore[misc]
            result = holds if result is None else arith.AndIOp(result, holds).result
        return result

    def _compare(self, predicate: Any, value: Expr, bound: int) -> Any:
        return arith.CmpIOp(predicate, self.index(value), self.index_constant(bound)).result

    # -- numbers

    def constant(self, value: float | int | bool, mlir_type: ir.Type) -> Any:
        """A number of a scalar type, or in every element of a vector type."""
        return self.remember(("number", repr(value), str(mlir_type)), lambda: self._emit_constant(value, mlir_type))

    @staticmethod
    def _emit_constant(value: float | int | bool, mlir_type: ir.Type) -> Any:
        vector_type = mlir_type if isinstance(mlir_type, ir.VectorType) else None
        scalar_type = vector_type.element_type if vector_type is not None else mlir_type
        if isinstance(scalar_type, ir.IntegerType):
            width = scalar_type.width
            wrapped = int(value) & ((1 << width) - 1)
            wrapped = wrapped - (1 << width) if width > 1 and wrapped >> (width - 1) else wrapped
            scalar: ir.Attribute = ir.IntegerAttr.get(scalar_type, -wrapped if width == 1 else wrapped)
        elif isinstance(scalar_type, ir.IndexType):
            scalar = ir.IntegerAttr.get(scalar_type, int(value))
        else:
            scalar = ir.FloatAttr.get(scalar_type, float(value))
        attribute = ir.DenseElementsAttr.get_splat(vector_type, scalar) if vector_type is not None else scalar
        return arith.ConstantOp(mlir_type, attribute).result

    @staticmethod
    def spread(value: Any, width: int) -> Any:
        """A scalar in every element of a vector; vectors are returned as they are."""
        if width == 1 or isinstance(value.type, ir.VectorType):
            return value
        return vector.BroadcastOp(ir.VectorType.get([width], value.type), value).result

    # -- structured control flow

    def loop(
        self,
        size: int,
        stem: str,
        inits: Sequence[Any],
        body: Callable[[Expr, list[Any]], Sequence[Any]],
        *,
        step: int = 1,
    ) -> list[Any]:
        """`affine.for` over [0, size) with carried values; `body` gets the variable and returns the new values."""
        op = affine.AffineForOp(0, size, step, iter_args=list(inits))
        name = self.fresh_name(stem)
        variable = Expr(0, ((Var(name, 0, (size - 1) // step * step), 1),)) if size > step else Expr(0)
        block = op.operation.regions[0].blocks[0]
        arguments = list(block.arguments)
        with self.scope(ir.InsertionPoint(block)):
            self.bind(variable, arguments[0], affine=True)
            results = list(body(variable, arguments[1:]))
            affine.AffineYieldOp(results)
        return list(op.operation.results)

    def span(self, start: Expr, stop: Expr, stem: str, body: Callable[[Expr], None]) -> None:
        """A loop over [start, stop), bounds of any kind."""
        length = stop - start
        if length.is_constant:
            if length.constant == 1:
                body(start)
            elif length.constant > 1:
                self._static_span(start, length.constant, stem, body)
            return
        lo, hi = start.range[0], stop.range[1] - 1
        op = scf.ForOp(self.index(start), self.index(stop), self.index_constant(1))
        variable = Expr(0, ((Var(self.fresh_name(stem), lo, hi), 1),)) if hi > lo else Expr(lo)
        with self.scope(ir.InsertionPoint(op.body)):
            self.bind(variable, op.induction_variable, affine=False)
            body(variable)
            scf.YieldOp([])

    def _static_span(self, start: Expr, length: int, stem: str, body: Callable[[Expr], None]) -> None:
        def step(i: Expr, _: list[Any]) -> list[Any]:
            body(start + i)
            return []

        self.loop(length, stem, [], step)

    def when(
        self,
        conditions: Sequence[Condition],
        then: Callable[[], Any],
        otherwise: Callable[[], Any] | None = None,
        kind: ir.Type | None = None,
    ) -> Any:
        """`scf.if` on conditions that are not known; with `otherwise`, both give one value of the same type.

        Without `kind`, which is that type, `otherwise` is emitted before the branch: it has to cost little.
        """
        open_conditions = [c for c in conditions if not c.always]
        if not open_conditions:
            return then()
        if any(c.never for c in open_conditions):
            return otherwise() if otherwise is not None else None
        holds = self.all_of(open_conditions)
        if otherwise is None:
            op = scf.IfOp(holds)
            with self.scope(ir.InsertionPoint(op.then_block)):
                then()
                scf.YieldOp([])
            return None
        before = None if kind is not None else otherwise()
        op = scf.IfOp(holds, [kind or before.type], has_else=True)  # type: ignore[union-attr]
        with self.scope(ir.InsertionPoint(op.then_block)):
            scf.YieldOp([then()])
        with self.scope(ir.InsertionPoint(op.else_block)):
            scf.YieldOp([otherwise() if before is None else before])
        return op.results[0]
