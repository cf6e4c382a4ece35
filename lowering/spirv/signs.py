"""Signed integer operations by unsigned ones.

MLIR's integers have no sign, and SPIR-V knows that an operation may give meaning to a sign that the type does not have.
WebGPU's shader compiler (naga) goes by the type alone: -1 converted to a float becomes 4294967295.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlirfuse.lowering.codegen.walk import operations_named
from mlirfuse.lowering.spirv.constants import whole
from mlirfuse.mlir import arith, ir

__all__ = ["spell_signs"]


def spell_signs(scope: ir.Operation) -> None:
    """Replace conversions, divisions, shifts, minima and maxima of signed integers under `scope`."""
    found = operations_named(scope, _REPLACEMENTS)
    for op in found:
        with ir.InsertionPoint(op), op.location:
            made = _REPLACEMENTS[op.name](*op.operands, op.results[0].type)
        op.results[0].replace_all_uses_with(made)
        op.erase()


def _element(kind: Any) -> Any:
    return kind.element_type if isinstance(kind, ir.VectorType) else kind


def _zero(kind: Any) -> Any:
    zero = ir.FloatAttr.get(_element(kind), 0.0)
    return ir.DenseElementsAttr.get_splat(kind, zero) if isinstance(kind, ir.VectorType) else zero


def _is_negative(x: Any) -> Any:
    kind = x.type
    if isinstance(_element(kind), ir.FloatType):
        zero = arith.ConstantOp(kind, _zero(kind)).result
        return arith.CmpFOp(arith.CmpFPredicate.OLT, x, zero).result
    return arith.CmpIOp(arith.CmpIPredicate.slt, x, whole(x.type, 0)).result


def _size(x: Any, kind: Any = None) -> Any:
    return arith.SelectOp(_is_negative(x), arith.SubIOp(whole(x.type, 0), x).result, x).result


def _quotient(a: Any, b: Any, kind: Any) -> Any:
    """Towards zero."""
    size = arith.DivUIOp(_size(a), _size(b)).result
    opposed = arith.XOrIOp(_is_negative(a), _is_negative(b)).result
    return arith.SelectOp(opposed, arith.SubIOp(whole(kind, 0), size).result, size).result


def _rest(a: Any, b: Any, kind: Any) -> Any:
    """With the sign of `a`."""
    size = arith.RemUIOp(_size(a), _size(b)).result
    return arith.SelectOp(_is_negative(a), arith.SubIOp(whole(kind, 0), size).result, size).result


def _floor(a: Any, b: Any, kind: Any) -> Any:
    """The quotient towards minus infinity: -1 - q of -1 - a where the signs differ."""
    opposed = arith.XOrIOp(_is_negative(a), _is_negative(b)).result
    zero, one = whole(kind, 0), whole(kind, 1)
    size, divisor = _size(a), _size(b)
    down = arith.DivUIOp(arith.SubIOp(size, one).result, divisor).result
    down = arith.SubIOp(whole(kind, -1), down).result
    up = arith.DivUIOp(size, divisor).result
    nothing = arith.CmpIOp(arith.CmpIPredicate.eq, a, zero).result
    return arith.SelectOp(nothing, zero, arith.SelectOp(opposed, down, up).result).result


def _to_float(x: Any, kind: Any) -> Any:
    negative = _is_negative(x)
    size = _size(x)
    real = arith.UIToFPOp(kind, size).result
    return arith.SelectOp(negative, arith.NegFOp(real).result, real).result


def _to_integer(x: Any, kind: Any) -> Any:
    negative = _is_negative(x)
    size = arith.FPToUIOp(kind, arith.SelectOp(negative, arith.NegFOp(x).result, x).result).result
    return arith.SelectOp(negative, arith.SubIOp(whole(kind, 0), size).result, size).result


def _extend(x: Any, kind: Any) -> Any:
    if _element(x.type).width == 1:
        return arith.SelectOp(x, whole(kind, -1), whole(kind, 0)).result
    top = whole(kind, 1 << (_element(x.type).width - 1))
    return arith.SubIOp(arith.XOrIOp(arith.ExtUIOp(kind, x).result, top).result, top).result


def _shift(x: Any, bits: Any, kind: Any) -> Any:
    sign = arith.SelectOp(_is_negative(x), whole(kind, -1), whole(kind, 0)).result
    return arith.XOrIOp(arith.ShRUIOp(arith.XOrIOp(x, sign).result, bits).result, sign).result


def _chosen(predicate: Any) -> Callable[..., Any]:
    def choose(a: Any, b: Any, kind: Any) -> Any:
        return arith.SelectOp(arith.CmpIOp(predicate, a, b).result, a, b).result

    return choose


_REPLACEMENTS: dict[str, Callable[..., Any]] = {
    "arith.sitofp": _to_float,
    "arith.fptosi": _to_integer,
    "arith.divsi": _quotient,
    "arith.remsi": _rest,
    "arith.floordivsi": _floor,
    "math.absi": _size,
    "arith.extsi": _extend,
    "arith.shrsi": _shift,
    "arith.maxsi": _chosen(arith.CmpIPredicate.sgt),
    "arith.minsi": _chosen(arith.CmpIPredicate.slt),
}
