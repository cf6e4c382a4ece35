"""The scalar functions of the element-wise families, each with its NumPy definition.

`UNARY[kind](x, alpha, beta)` and `BINARY[kind](x, y)` work on arrays; the definition is computed in
the array's own type, as ONNX prescribes.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["BINARY", "COMPARISONS", "LOGICAL", "UNARY"]

_erf = np.vectorize(math.erf, otypes=[np.float64])
Array = Any


def _stable_sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def _softplus(x: Array) -> Array:
    return (np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))).astype(x.dtype)


def _gelu(x: Array) -> Array:
    return (0.5 * x * (1 + _erf(x / math.sqrt(2.0)))).astype(x.dtype)


def _gelu_tanh(x: Array) -> Array:
    return (0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))).astype(x.dtype)


def _clip(x: Array, lo: float, hi: float) -> Array:
    return np.minimum(np.maximum(x, np.asarray(lo).astype(x.dtype)), np.asarray(hi).astype(x.dtype))


UNARY: dict[str, Callable[[Array, float, float], Array]] = {
    "abs": lambda x, a, b: np.abs(x),
    "acos": lambda x, a, b: np.arccos(x),
    "acosh": lambda x, a, b: np.arccosh(x),
    "asin": lambda x, a, b: np.arcsin(x),
    "asinh": lambda x, a, b: np.arcsinh(x),
    "atan": lambda x, a, b: np.arctan(x),
    "atanh": lambda x, a, b: np.arctanh(x),
    "ceil": lambda x, a, b: np.ceil(x),
    "celu": lambda x, a, b: (np.maximum(x, 0) + np.minimum(0, a * np.expm1(x / a))).astype(x.dtype),
    "clip": _clip,
    "cos": lambda x, a, b: np.cos(x),
    "cosh": lambda x, a, b: np.cosh(x),
    "elu": lambda x, a, b: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))).astype(x.dtype),
    "erf": lambda x, a, b: _erf(x).astype(x.dtype),
    "exp": lambda x, a, b: np.exp(x),
    "floor": lambda x, a, b: np.floor(x),
    "gelu": lambda x, a, b: _gelu(x),
    "gelu_tanh": lambda x, a, b: _gelu_tanh(x),
    "hardsigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1).astype(x.dtype),
    "hardswish": lambda x, a, b: (x * np.clip(x / 6 + 0.5, 0, 1)).astype(x.dtype),
    "isinf": lambda x, a, b: (np.isposinf(x) & bool(b)) | (np.isneginf(x) & bool(a)),
    "isnan": lambda x, a, b: np.isnan(x),
    "leaky_relu": lambda x, a, b: np.where(x >= 0, x, a * x).astype(x.dtype),
    "log": lambda x, a, b: np.log(x),
    "mish": lambda x, a, b: (x * np.tanh(_softplus(x))).astype(x.dtype),
    "neg": lambda x, a, b: -x,
    "not": lambda x, a, b: np.logical_not(x),
    "reciprocal": lambda x, a, b: (1 / x).astype(x.dtype),
    "relu": lambda x, a, b: np.maximum(x, 0),
    "round": lambda x, a, b: np.rint(x),
    "rsqrt": lambda x, a, b: (1 / np.sqrt(x)).astype(x.dtype),
    "selu": lambda x, a, b: (b * np.where(x > 0, x, a * np.expm1(np.minimum(x, 0)))).astype(x.dtype),
    "sigmoid": lambda x, a, b: _stable_sigmoid(x),
    "sign": lambda x, a, b: np.sign(x),
    "sin": lambda x, a, b: np.sin(x),
    "sinh": lambda x, a, b: np.sinh(x),
    "softplus": lambda x, a, b: _softplus(x),
    "softsign": lambda x, a, b: (x / (1 + np.abs(x))).astype(x.dtype),
    "sqrt": lambda x, a, b: np.sqrt(x),
    "square": lambda x, a, b: x * x,
    "tan": lambda x, a, b: np.tan(x),
    "tanh": lambda x, a, b: np.tanh(x),
    "thresholded_relu": lambda x, a, b: np.where(x > a, x, 0).astype(x.dtype),
}

COMPARISONS = ("equal", "greater", "greater_equal", "less", "less_equal")
LOGICAL = ("and", "or", "xor")


def _divide(x: Array, y: Array) -> Array:
    if not np.issubdtype(np.asarray(x).dtype, np.integer):
        return np.divide(x, y)
    safe = np.where(y == 0, 1, y).astype(y.dtype)
    down = np.floor_divide(x, safe)
    inexact = (np.remainder(x, safe) != 0) & ((x < 0) != (safe < 0))
    return np.where(y == 0, 0, down + inexact).astype(x.dtype)  # towards zero


def _shifted(x: Array, distance: Array, shift: Callable[[Array, Array], Array]) -> Array:
    """Nothing but the sign is left of what is shifted by the width of its type or more, or by less than nothing."""
    dtype = np.asarray(x).dtype
    last = 8 * dtype.itemsize - 1
    inside = (distance >= 0) & (distance <= last)
    gone = shift(x, np.asarray(last, dtype)) if shift is np.right_shift and dtype.kind == "i" else 0
    return np.where(inside, shift(x, np.where(inside, distance, 0).astype(dtype)), gone).astype(dtype)


BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "and": np.logical_and,
    "bit_and": np.bitwise_and,
    "bit_or": np.bitwise_or,
    "bit_xor": np.bitwise_xor,
    "div": _divide,
    "equal": np.equal,
    "fmod": np.fmod,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "max": np.maximum,
    "min": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "or": np.logical_or,
    "pow": lambda x, y: np.power(x, y).astype(np.asarray(x).dtype),
    "prelu": lambda x, y: np.where(x < 0, x * y, x).astype(np.asarray(x).dtype),
    "shift_left": lambda x, y: _shifted(x, y, np.left_shift),
    "shift_right": lambda x, y: _shifted(x, y, np.right_shift),
    "sub": np.subtract,
    "xor": np.logical_xor,
}
