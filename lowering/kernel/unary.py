"""The functions of one operand that `dialect/scalar.py` defines in NumPy, as arith and math operations."""

from __future__ import annotations

import math
from collections.abc import Callable

from mlirfuse.lowering.kernel.arithmetic import CmpF, Value, add, compare, div, mul, select
from mlirfuse.lowering.kernel.builder import Builder
from mlirfuse.mlir import arith, ir
from mlirfuse.mlir import math as mmath

__all__ = ["supports_unary", "unary"]


class _Unary:
    """The constants and small compositions that unary functions are made of."""

    def __init__(self, builder: Builder, x: Value, alpha: float, beta: float) -> None:
        self.builder, self.x, self.alpha, self.beta = builder, x, alpha, beta

    def c(self, number: float) -> Value:
        return self.builder.constant(number, self.x.type)

    def zero_or(self, value: Value) -> Value:
        """x > 0 ? x : value"""
        return select(compare(CmpF.OGT, self.x, self.c(0.0)), self.x, value)

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
        negative = select(compare(CmpF.OLT, self.x, self.c(0.0)), self.c(-1.0), self.x)  # zero and NaN stay
        return select(compare(CmpF.OGT, self.x, self.c(0.0)), self.c(1.0), negative)

    def is_infinite(self) -> Value:
        wanted = [s for s, asked in ((-1, self.alpha), (1, self.beta)) if asked]
        hits = [compare(CmpF.OEQ, self.x, self.c(s * math.inf)) for s in wanted]
        if not hits:
            return compare(CmpF.AlwaysFalse, self.x, self.x)
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
    "isnan": lambda f: compare(CmpF.UNO, f.x, f.x),
    "leaky_relu": lambda f: select(compare(CmpF.OGE, f.x, f.c(0.0)), f.x, mul(f.x, f.c(f.alpha))),
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
    "thresholded_relu": lambda f: select(compare(CmpF.OGT, f.x, f.c(f.alpha)), f.x, f.c(0.0)),
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
