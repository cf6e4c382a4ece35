"""Scalar functions as arith and math operations, on scalars and vectors alike.

`unary` and `binary` emit the functions that `dialect/scalar.py` defines in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlirfuse.lowering.kernel.builder import Builder, compute_type
from mlirfuse.mlir import arith, ir
from mlirfuse.mlir import math as mmath

__all__ = ["binary", "cast", "combine", "fused_multiply_add", "identity_of", "select", "unary"]

Value = Any
_CONTRACT = "#arith.fastmath<contract>"
CmpF, CmpI = arith.CmpFPredicate, arith.CmpIPredicate
# Of each comparison: the predicate for floats, for signed and for unsigned integers.
_PREDICATES = {
    "equal": (CmpF.OEQ, CmpI.eq, CmpI.eq),
    "greater": (CmpF.OGT, CmpI.sgt, CmpI.ugt),
    "greater_equal": (CmpF.OGE, CmpI.sge, CmpI.uge),
    "less": (CmpF.OLT, CmpI.slt, CmpI.ult),
    "less_equal": (CmpF.OLE, CmpI.sle, CmpI.ule),
}


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
    from mlirfuse.mlir import vector

    if isinstance(a.type, ir.VectorType):
        return vector.FMAOp(a, b, c).result
    return add(mul(a, b), c)


def select(condition: Value, a: Value, b: Value) -> Value:
    return arith.SelectOp(condition, a, b).result


def _compare(predicate: Any, a: Value, b: Value) -> Value:
    return arith.CmpFOp(predicate, a, b).result


class _Unary:
    """The constants and small compositions that unary functions are made of."""

    def __init__(self, builder: Builder, x: Value, alpha: float, beta: float) -> None:
        self.builder, self.x, self.alpha, self.beta = builder, x, alpha, beta

    def c(self, number: float) -> Value:
        return self.builder.constant(number, self.x.type)

    def zero_or(self, value: Value) -> Value:
        """x > 0 ? x : value"""
        return select(_compare(CmpF.OGT, self.x, self.c(0.0)), self.x, value)

    def expm1_of_negative(self, x: Value) -> Value:
        return mmath.ExpM1Op(arith.MinimumFOp(x, self.c(0.0)).result).result

    def sigmoid(self, x: Value) -> Value:
        return div(self.c(1.0), add(self.c(1.0), mmath.ExpOp(arith.NegFOp(x).result).result))

    def softplus(self, x: Value) -> Value:
        decay = mmath.ExpOp(arith.NegFOp(mmath.AbsFOp(x).result).result).result
        return add(arith.MaximumFOp(x, self.c(0.0)).result, mmath.Log1pOp(decay).result)

    def clamp(self, x: Value, lo: float, hi: float) -> Value:
        return arith.MinimumFOp(arith.MaximumFOp(x, self.c(lo)).result, self.c(hi)).result

    def hardsigmoid(self) -> Value:
        return self.clamp(add(mul(self.x, self.c(self.alpha)), self.c(self.beta)), 0.0, 1.0)

    def gelu(self) -> Value:
        erf = mmath.ErfOp(mul(self.x, self.c(math.sqrt(0.5)))).result
        return mul(mul(self.x, self.c(0.5)), add(erf, self.c(1.0)))

    def gelu_tanh(self) -> Value:
        cube = mul(mul(self.x, self.x), self.x)
        inner = mul(add(self.x, mul(cube, self.c(0.044715))), self.c(math.sqrt(2 / math.pi)))
        return mul(mul(self.x, self.c(0.5)), add(mmath.TanhOp(inner).result, self.c(1.0)))

    def sign(self) -> Value:
        negative = select(_compare(CmpF.OLT, self.x, self.c(0.0)), self.c(-1.0), self.x)  # zero and NaN stay
        return select(_compare(CmpF.OGT, self.x, self.c(0.0)), self.c(1.0), negative)

    def is_infinite(self) -> Value:
        wanted = [s for s, asked in ((-1, self.alpha), (1, self.beta)) if asked]
        hits = [_compare(CmpF.OEQ, self.x, self.c(s * math.inf)) for s in wanted]
        if not hits:
            return _compare(CmpF.AlwaysFalse, self.x, self.x)
        return hits[0] if len(hits) == 1 else arith.OrIOp(*hits).result


_FLOAT_UNARY: dict[str, Callable[[_Unary], Value]] = {
    "abs": lambda f: mmath.AbsFOp(f.x).result,
    "acos": lambda f: mmath.AcosOp(f.x).result,
    "acosh": lambda f: mmath.AcoshOp(f.x).result,
    "asin": lambda f: mmath.AsinOp(f.x).result,
    "asinh": lambda f: mmath.AsinhOp(f.x).result,
    "atan": lambda f: mmath.AtanOp(f.x).result,
    "atanh": lambda f: mmath.AtanhOp(f.x).result,
    "ceil": lambda f: mmath.CeilOp(f.x).result,
    "celu": lambda f: f.zero_or(mul(f.c(f.alpha), f.expm1_of_negative(div(f.x, f.c(f.alpha))))),
    "clip": lambda f: f.clamp(f.x, f.alpha, f.beta),
    "cos": lambda f: mmath.CosOp(f.x).result,
    "cosh": lambda f: mmath.CoshOp(f.x).result,
    "elu": lambda f: f.zero_or(mul(f.c(f.alpha), f.expm1_of_negative(f.x))),
    "erf": lambda f: mmath.ErfOp(f.x).result,
    "exp": lambda f: mmath.ExpOp(f.x).result,
    "floor": lambda f: mmath.FloorOp(f.x).result,
    "gelu": lambda f: f.gelu(),
    "gelu_tanh": lambda f: f.gelu_tanh(),
    "hardsigmoid": lambda f: f.hardsigmoid(),
    "hardswish": lambda f: mul(f.x, f.clamp(add(mul(f.x, f.c(1 / 6)), f.c(0.5)), 0.0, 1.0)),
    "isinf": lambda f: f.is_infinite(),
    "isnan": lambda f: _compare(CmpF.UNO, f.x, f.x),
    "leaky_relu": lambda f: select(_compare(CmpF.OGE, f.x, f.c(0.0)), f.x, mul(f.x, f.c(f.alpha))),
    "log": lambda f: mmath.LogOp(f.x).result,
    "mish": lambda f: mul(f.x, mmath.TanhOp(f.softplus(f.x)).result),
    "neg": lambda f: arith.NegFOp(f.x).result,
    "reciprocal": lambda f: div(f.c(1.0), f.x),
    "relu": lambda f: arith.MaximumFOp(f.x, f.c(0.0)).result,
    "round": lambda f: mmath.RoundEvenOp(f.x).result,
    "rsqrt": lambda f: div(f.c(1.0), mmath.SqrtOp(f.x).result),
    "selu": lambda f: mul(f.c(f.beta), f.zero_or(mul(f.c(f.alpha), f.expm1_of_negative(f.x)))),
    "sigmoid": lambda f: f.sigmoid(f.x),
    "sign": lambda f: f.sign(),
    "sin": lambda f: mmath.SinOp(f.x).result,
    "sinh": lambda f: mmath.SinhOp(f.x).result,
    "softplus": lambda f: f.softplus(f.x),
    "softsign": lambda f: div(f.x, add(f.c(1.0), mmath.AbsFOp(f.x).result)),
    "sqrt": lambda f: mmath.SqrtOp(f.x).result,
    "square": lambda f: mul(f.x, f.x),
    "tan": lambda f: mmath.TanOp(f.x).result,
    "tanh": lambda f: mmath.TanhOp(f.x).result,
    "thresholded_relu": lambda f: select(_compare(CmpF.OGT, f.x, f.c(f.alpha)), f.x, f.c(0.0)),
}

_INTEGER_UNARY: dict[str, Callable[[_Unary], Value]] = {
    "abs": lambda f: arith.MaxSIOp(f.x, arith.SubIOp(f.c(0), f.x).result).result,
    "clip": lambda f: (
        arith.MinSIOp(arith.MaxSIOp(f.x, f.c(_to_int(f.alpha, f.x))).result, f.c(_to_int(f.beta, f.x))).result
    ),
    "neg": lambda f: arith.SubIOp(f.c(0), f.x).result,
    "not": lambda f: arith.XOrIOp(f.x, f.c(1)).result,
    "relu": lambda f: arith.MaxSIOp(f.x, f.c(0)).result,
    "sign": lambda f: arith.MaxSIOp(arith.MinSIOp(f.x, f.c(1)).result, f.c(-1)).result,
    "square": lambda f: arith.MulIOp(f.x, f.x).result,
}


def _to_int(number: float, x: Value) -> int:
    """A bound of `clip` in the integer type of x."""
    scalar = x.type.element_type if isinstance(x.type, ir.VectorType) else x.type
    limit = (1 << (scalar.width - 1)) - 1
    return int(max(-limit - 1, min(limit, number)))


def unary(builder: Builder, kind: str, x: Value, dtype: str, alpha: float, beta: float) -> Value:
    """f(x) for x of `dtype`; KeyError where the function has no code for that type."""
    floating = dtype.startswith(("float", "bfloat"))
    if dtype.startswith("uint") and kind in ("abs", "relu"):
        return x
    return (_FLOAT_UNARY if floating else _INTEGER_UNARY)[kind](_Unary(builder, x, alpha, beta))


def supports_unary(kind: str, dtype: str) -> bool:
    floating = dtype.startswith(("float", "bfloat"))
    if dtype.startswith("uint") and kind in ("clip", "sign", "neg"):
        return False
    return kind in (_FLOAT_UNARY if floating else _INTEGER_UNARY)


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
    opposite = _compare(CmpF.OLT, mul(r, y), zero)
    return select(opposite, add(r, y), r)


def _integer_power(builder: Builder, x: Value, y: Value, dtype: str) -> Value:
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
            return _integer_power(builder, x, y, dtype)
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
        return _compare(_PREDICATES[kind][0], x, y)
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
            return select(_compare(CmpF.OLT, x, builder.constant(0.0, x.type)), mul(x, y), x)
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
            return _compare(CmpF.UNE, x, builder.constant(0.0, have))  # NaN is true
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
