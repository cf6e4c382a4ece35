"""Arithmetic on floats as Python operators, for rules with formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlirfuse.dialect.indexing import Expr
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.builder import Builder
from mlirfuse.mlir import arith, ir
from mlirfuse.mlir import math as mmath

__all__ = ["Real"]

CmpF = arith.CmpFPredicate


@dataclass(frozen=True)
class Real:
    """A float value; numbers on the other side of an operator become constants of its type."""

    builder: Builder
    value: Any

    def __add__(self, other: Real | float) -> Real:
        return self._made(scalar.add(self.value, self._other(other)))

    def __sub__(self, other: Real | float) -> Real:
        return self._made(scalar.sub(self.value, self._other(other)))

    def __mul__(self, other: Real | float) -> Real:
        return self._made(scalar.mul(self.value, self._other(other)))

    def __truediv__(self, other: Real | float) -> Real:
        return self._made(scalar.div(self.value, self._other(other)))

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: float) -> Real:
        return self._made(scalar.sub(self._other(other), self.value))

    def at_least(self, other: Real | float) -> Real:
        """The larger of the two; a NaN stays."""
        return self._made(arith.MaximumFOp(self.value, self._other(other)).result)

    def at_most(self, other: Real | float) -> Real:
        return self._made(arith.MinimumFOp(self.value, self._other(other)).result)

    def floor(self) -> Real:
        return self._made(mmath.FloorOp(self.value).result)

    def ceil(self) -> Real:
        return self._made(mmath.CeilOp(self.value).result)

    def round_even(self) -> Real:
        return self._made(mmath.RoundEvenOp(self.value).result)

    def truncate(self) -> Real:
        """Towards zero."""
        return (self < 0.0).choose(self.ceil(), self.floor())

    def modulo(self, divisor: float) -> Real:
        """In [0, divisor)."""
        return self - (self / divisor).floor() * divisor

    def __lt__(self, other: Real | float) -> Test:
        return self._test(CmpF.OLT, other)

    def __le__(self, other: Real | float) -> Test:
        return self._test(CmpF.OLE, other)

    def __gt__(self, other: Real | float) -> Test:
        return self._test(CmpF.OGT, other)

    def __ge__(self, other: Real | float) -> Test:
        return self._test(CmpF.OGE, other)

    def index(self, stem: str, size: int) -> Expr:
        """As an index in [0, size), whatever the value is (a NaN is 0)."""
        inside = (self >= 0.0).choose(self, self._made(self._other(0.0))).at_most(float(size - 1))
        if size == 1:
            return Expr(0)
        integer = arith.FPToSIOp(ir.IntegerType.get_signless(32), inside.value).result
        return self.builder.name(arith.IndexCastOp(ir.IndexType.get(), integer).result, stem, size)

    @classmethod
    def of_index(cls, builder: Builder, e: Expr, kind: ir.Type) -> Real:
        """An index as a float."""
        integer = arith.IndexCastOp(ir.IntegerType.get_signless(32), builder.index(e)).result
        return cls(builder, arith.SIToFPOp(kind, integer).result)

    def _made(self, value: Any) -> Real:
        return Real(self.builder, value)

    def _other(self, other: Real | float) -> Any:
        return other.value if isinstance(other, Real) else self.builder.constant(float(other), self.value.type)

    def _test(self, predicate: Any, other: Real | float) -> Test:
        return Test(arith.CmpFOp(predicate, self.value, self._other(other)).result)


@dataclass(frozen=True)
class Test:
    """A condition on floats: false where a NaN takes part."""

    value: Any

    def __and__(self, other: Test) -> Test:
        return Test(arith.AndIOp(self.value, other.value).result)

    def choose(self, then: Real, otherwise: Real | float) -> Real:
        return Real(then.builder, scalar.select(self.value, then.value, then._other(otherwise)))
