"""Floating-point arithmetic that may be contracted, comparison and choice, on scalars and vectors alike."""

from __future__ import annotations

from typing import Any

from mlirfuse.mlir import arith, ir, vector

__all__ = ["CmpF", "CmpI", "Value", "add", "compare", "div", "fused_multiply_add", "mul", "select", "sub"]

Value = Any
_CONTRACT = "#arith.fastmath<contract>"
CmpF, CmpI = arith.CmpFPredicate, arith.CmpIPredicate


def _fm() -> ir.Attribute:
    return ir.Attribute.parse(_CONTRACT)


def add(a: Value, b: Value) -> Value:
    return arith.AddFOp(a, b, fastmath=_fm()).result


def sub(a: Value, b: Value) -> Value:
    return arith.SubFOp(a, b, fastmath=_fm()).result


def mul(a: Value, b: Value) -> Value:
    return arith.MulFOp(a, b, fastmath=_fm()).result


def div(a: Value, b: Value) -> Value:
    return arith.DivFOp(a, b).result


def fused_multiply_add(a: Value, b: Value, c: Value) -> Value:
    """a b + c as one rounding where the machine has it."""
    if isinstance(a.type, ir.VectorType):
        return vector.FMAOp(a, b, c).result
    return add(mul(a, b), c)


def select(condition: Value, a: Value, b: Value) -> Value:
    return arith.SelectOp(condition, a, b).result


def compare(predicate: Any, a: Value, b: Value) -> Value:
    return arith.CmpFOp(predicate, a, b).result
