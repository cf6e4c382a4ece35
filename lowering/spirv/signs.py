"""Signed integer operations by unsigned ones.

MLIR's integers have no sign, and SPIR-V knows that an operation may give meaning to a sign that the type does not have.
WebGPU's shader compiler (naga) goes by the type alone: -1 converted to a float becomes 4294967295.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlirfuse.mlir import arith, ir

__all__ = ["spell_signs"]


def spell_signs(scope: ir.Operation) -> None:
    """Replace conversions, shifts, minima and maxima of signed scalars under `scope`."""
    found: list[ir.Operation] = []

    def collect(op: ir.Operation) -> ir.WalkResult:
        if op.name in _REPLACEMENTS:
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    scope.walk(collect)
    for op in found:
        with ir.InsertionPoint(op), op.location:
            made = _REPLACEMENTS[op.name](*op.operands, op.results[0].type)
        op.results[0].replace_all_uses_with(made)
        op.erase()


def _whole(kind: Any, value: int) -> Any:
    return arith.ConstantOp(kind, ir.IntegerAttr.get(kind, value)).result


def _is_negative(x: Any) -> Any:
    if isinstance(x.type, ir.FloatType):
        zero = arith.ConstantOp(x.type, ir.FloatAttr.get(x.type, 0.0)).result
        return arith.CmpFOp(arith.CmpFPredicate.OLT, x, zero).result
    return arith.CmpIOp(arith.CmpIPredicate.slt, x, _whole(x.type, 0)).result


def _to_float(x: Any, kind: Any) -> Any:
    negative = _is_negative(x)
    size = arith.SelectOp(negative, arith.SubIOp(_whole(x.type, 0), x).result, x).result
    real = arith.UIToFPOp(kind, size).result
    return arith.SelectOp(negative, arith.NegFOp(real).result, real).result


def _to_integer(x: Any, kind: Any) -> Any:
    negative = _is_negative(x)
    size = arith.FPToUIOp(kind, arith.SelectOp(negative, arith.NegFOp(x).result, x).result).result
    return arith.SelectOp(negative, arith.SubIOp(_whole(kind, 0), size).result, size).result


def _extend(x: Any, kind: Any) -> Any:
    if x.type.width == 1:
        return arith.SelectOp(x, _whole(kind, -1), _whole(kind, 0)).result
    top = _whole(kind, 1 << (x.type.width - 1))
    return arith.SubIOp(arith.XOrIOp(arith.ExtUIOp(kind, x).result, top).result, top).result


def _shift(x: Any, bits: Any, kind: Any) -> Any:
    sign = arith.SelectOp(_is_negative(x), _whole(kind, -1), _whole(kind, 0)).result
    return arith.XOrIOp(arith.ShRUIOp(arith.XOrIOp(x, sign).result, bits).result, sign).result


def _chosen(predicate: Any) -> Callable[..., Any]:
    def choose(a: Any, b: Any, kind: Any) -> Any:
        return arith.SelectOp(arith.CmpIOp(predicate, a, b).result, a, b).result

    return choose


_REPLACEMENTS: dict[str, Callable[..., Any]] = {
    "arith.sitofp": _to_float,
    "arith.fptosi": _to_integer,
    "arith.extsi": _extend,
    "arith.shrsi": _shift,
    "arith.maxsi": _chosen(arith.CmpIPredicate.sgt),
    "arith.minsi": _chosen(arith.CmpIPredicate.slt),
}
