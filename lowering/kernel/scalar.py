"""Scalar functions as arith and math operations, on scalars and vectors alike.

`unary` and `binary` emit the functions that `dialect/scalar.py` defines in NumPy.
"""

from __future__ import annotations

import math

from mlirfuse.lowering.kernel.arithmetic import (
    CmpF,
    CmpI,
    Value,
    add,
    compare,
    div,
    fused_multiply_add,
    mul,
    select,
    sub,
)
from mlirfuse.lowering.kernel.builder import Builder, compute_type
from mlirfuse.lowering.kernel.unary import supports_unary, unary
from mlirfuse.mlir import arith, ir
from mlirfuse.mlir import math as mmath

__all__ = [
    "add",
    "binary",
    "cast",
    "combine",
    "div",
    "fused_multiply_add",
    "identity_of",
    "mul",
    "select",
    "sub",
    "supports_unary",
    "unary",
]

# Of each comparison: the predicate for floats, for signed and for unsigned integers.
_PREDICATES = {
    "equal": (CmpF.OEQ, CmpI.eq, CmpI.eq),
    "greater": (CmpF.OGT, CmpI.sgt, CmpI.ugt),
    "greater_equal": (CmpF.OGE, CmpI.sge, CmpI.uge),
    "less": (CmpF.OLT, CmpI.slt, CmpI.ult),
    "less_equal": (CmpF.OLE, CmpI.sle, CmpI.ule),
}


def _floored_remainder(builder: Builder, x: Value, y: Value) -> Value:
    """Python's %: the sign of the divisor."""
    r = arith.RemSIOp(x, y).result
    zero = builder.constant(0, x.type)
    wrong_sign = arith.CmpIOp(CmpI.slt, arith.XOrIOp(r, y).result, zero).result
    off = arith.AndIOp(wrong_sign, arith.CmpIOp(CmpI.ne, r, zero).result).result
    return select(off, arith.AddIOp(r, y).result, r)


def _float_mod(builder: Builder, x: Value, y: Value) -> Value:
    r = arith.RemFOp(x, y).result
    zero = builder.constant(0.0, x.type)
    opposite = compare(CmpF.OLT, mul(r, y), zero)
    return select(opposite, add(r, y), r)


def _integer_power(x: Value, y: Value, dtype: str) -> Value:
    f64 = ir.F64Type.get()
    wide = ir.VectorType.get(list(x.type.shape), f64) if isinstance(x.type, ir.VectorType) else f64
    convert = arith.UIToFPOp if dtype.startswith("uint") else arith.SIToFPOp
    power = mmath.PowFOp(convert(wide, x).result, convert(wide, y).result).result
    back = arith.FPToUIOp if dtype.startswith("uint") else arith.FPToSIOp
    return back(x.type, mmath.RoundEvenOp(power).result).result


def binary(builder: Builder, kind: str, x: Value, y: Value, dtype: str) -> Value:
    """f(x, y) for operands of `dtype`."""
    if dtype.startswith(("float", "bfloat")):
        return _float_binary(builder, kind, x, y)
    unsigned = dtype.startswith("uint") or dtype == "bool"
    if kind in _PREDICATES:
        return arith.CmpIOp(_PREDICATES[kind][2 if unsigned else 1], x, y).result
    zero = builder.constant(0, x.type)
    match kind:
        case "mod":
            return arith.RemUIOp(x, y).result if unsigned else _floored_remainder(builder, x, y)
        case "pow":
            return _integer_power(x, y, dtype)
        case "shift_left" | "shift_right":
            width = builder.constant(_bits(x.type), x.type)
            inside = arith.CmpIOp(CmpI.ult, y, width).result  # unsigned: negative distances are outside too
            if kind == "shift_right" and not unsigned:  # the sign is what is left
                return arith.ShRSIOp(x, select(inside, y, builder.constant(_bits(x.type) - 1, x.type))).result
            shift = arith.ShLIOp if kind == "shift_left" else arith.ShRUIOp
            return select(inside, shift(x, select(inside, y, zero)).result, zero)
        case "prelu":
            return select(arith.CmpIOp(CmpI.slt, x, zero).result, arith.MulIOp(x, y).result, x)
        case "div" | "fmod":  # ONNX leaves division by zero undefined; keep it from trapping
            one = builder.constant(1, x.type)
            safe = select(arith.CmpIOp(CmpI.eq, y, zero).result, one, y)
            divide = {"div": (arith.DivSIOp, arith.DivUIOp), "fmod": (arith.RemSIOp, arith.RemUIOp)}[kind][unsigned]
            return divide(x, safe).result
    simple = {
        "add": arith.AddIOp,
        "sub": arith.SubIOp,
        "mul": arith.MulIOp,
        "and": arith.AndIOp,
        "or": arith.OrIOp,
        "xor": arith.XOrIOp,
        "bit_and": arith.AndIOp,
        "bit_or": arith.OrIOp,
        "bit_xor": arith.XOrIOp,
        "max": arith.MaxUIOp if unsigned else arith.MaxSIOp,
        "min": arith.MinUIOp if unsigned else arith.MinSIOp,
    }
    return simple[kind](x, y).result


def _float_binary(builder: Builder, kind: str, x: Value, y: Value) -> Value:
    if kind in _PREDICATES:
        return compare(_PREDICATES[kind][0], x, y)
    match kind:
        case "add":
            return add(x, y)
        case "sub":
            return sub(x, y)
        case "mul":
            return mul(x, y)
        case "div":
            return div(x, y)
        case "max":
            return arith.MaximumFOp(x, y).result
        case "min":
            return arith.MinimumFOp(x, y).result
        case "pow":
            return mmath.PowFOp(x, y).result
        case "fmod":
            return arith.RemFOp(x, y).result
        case "mod":
            return _float_mod(builder, x, y)
        case "prelu":
            return select(compare(CmpF.OLT, x, builder.constant(0.0, x.type)), mul(x, y), x)
    raise KeyError(kind)


def power_by_constant(builder: Builder, x: Value, exponent: float) -> Value | None:
    """x ** exponent by multiplications and roots where a few suffice, else None."""
    match exponent:
        case 0.5:
            return mmath.SqrtOp(x).result
        case -0.5:
            return div(builder.constant(1.0, x.type), mmath.SqrtOp(x).result)
        case 0.75:
            root = mmath.SqrtOp(x).result
            return mul(root, mmath.SqrtOp(root).result)
        case -0.75:
            root = mmath.SqrtOp(x).result
            return div(builder.constant(1.0, x.type), mul(root, mmath.SqrtOp(root).result))
        case 1.0:
            return x
        case 2.0:
            return mul(x, x)
        case 3.0:
            return mul(mul(x, x), x)
        case -1.0:
            return div(builder.constant(1.0, x.type), x)
    return None


def cast(builder: Builder, x: Value, source: str, target: str) -> Value:
    """Convert between the compute types of two element types."""
    have, want = like(x, compute_type(source)), like(x, compute_type(target))
    from_float, to_float = source.startswith(("float", "bfloat")), target.startswith(("float", "bfloat"))
    unsigned = source.startswith("uint") or source == "bool"
    if target == "bool":
        if from_float:
            return compare(CmpF.UNE, x, builder.constant(0.0, have))  # NaN is true
        return arith.CmpIOp(CmpI.ne, x, builder.constant(0, have)).result
    if have == want and not (from_float and target in ("float16", "bfloat16") and source != target):
        return x
    if from_float and to_float:
        result = x
        if _bits(want) > _bits(have):
            result = arith.ExtFOp(want, x).result
        elif _bits(want) < _bits(have):
            result = arith.TruncFOp(want, x).result
        if target in ("float16", "bfloat16"):  # round to the narrow type although arithmetic is wider
            narrow = like(x, ir.Type.parse({"float16": "f16", "bfloat16": "bf16"}[target]))
            result = arith.ExtFOp(want, arith.TruncFOp(narrow, result).result).result
        return result
    if from_float:
        return (arith.FPToUIOp if target.startswith("uint") else arith.FPToSIOp)(want, x).result
    if to_float:
        result = (arith.UIToFPOp if unsigned else arith.SIToFPOp)(want, x).result
        return cast(builder, result, "float32", target) if target in ("float16", "bfloat16") else result
    if _bits(want) > _bits(have):
        return (arith.ExtUIOp if unsigned else arith.ExtSIOp)(want, x).result
    return arith.TruncIOp(want, x).result if _bits(want) < _bits(have) else x


def like(x: Value, scalar: ir.Type) -> ir.Type:
    """The type of x with elements of type `scalar`."""
    return ir.VectorType.get(list(x.type.shape), scalar) if isinstance(x.type, ir.VectorType) else scalar


def _bits(t: ir.Type) -> int:
    scalar = t.element_type if isinstance(t, ir.VectorType) else t
    return scalar.width


def identity_of(kind: str, dtype: str) -> float | int:
    """The neutral element of a reduction."""
    floating = dtype.startswith(("float", "bfloat"))
    if kind in ("sum", "mean"):
        return 0.0 if floating else 0
    if kind == "prod":
        return 1.0 if floating else 1
    largest: float | int
    if floating:
        largest = math.inf
    elif dtype.startswith("uint") or dtype == "bool":
        bits = 1 if dtype == "bool" else int(dtype.removeprefix("uint"))
        return 0 if kind == "max" else (1 << bits) - 1
    else:
        largest = (1 << (int(dtype.removeprefix("int")) - 1)) - 1
    if kind == "max":
        return -largest if floating else -int(largest) - 1
    return largest


def combine(builder: Builder, kind: str, x: Value, y: Value, dtype: str) -> Value:
    """One step of a reduction."""
    return binary(builder, {"sum": "add", "mean": "add", "prod": "mul", "max": "max", "min": "min"}[kind], x, y, dtype)


def fill_value(fill: float, dtype: str) -> float | int:
    """Padding's number in `dtype`: integers have no infinities."""
    if dtype.startswith(("float", "bfloat")):
        return fill
    if fill == float("-inf"):
        return identity_of("max", dtype)
    return int(fill)
