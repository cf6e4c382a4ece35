"""Logarithms, powers and the inverse hyperbolic functions as formulas on floats."""

import math
from dataclasses import dataclass

import numpy as np

from mlirfuse.lowering.codegen.function_text import Function, Value
from mlirfuse.lowering.codegen.machine import LOG2_E, Machine, split
from mlirfuse.lowering.codegen.minimax import fit

__all__ = ["acosh", "asinh", "atanh", "log", "log1p", "log2", "log10", "pow"]

_INFINITY = float("inf")
_SMALLEST_NORMAL = 2.0**-126
_SQRT_HALF_BITS = 0x3F3504F3


@dataclass(frozen=True)
class _Reduced:
    """x = 2^exponent m with m in [sqrt(1/2), sqrt(2)); exponent is a float holding an integer."""

    exponent: Value
    mantissa: Value


def _reduce(f: Function, x: Value) -> _Reduced:
    subnormal = x < _SMALLEST_NORMAL
    bits = f.select(subnormal, x * 2.0**23, x).bits()
    power = (bits - _SQRT_HALF_BITS) & -(1 << 23)
    exponent = (power >> 23).convert("f") - f.select(subnormal, f.value(23.0, "f"), 0.0)
    return _Reduced(exponent, (bits - power).bits())


def _special(f: Function, x: Value, result: Value) -> Value:
    """`result` where x is positive and finite, and a logarithm's limits elsewhere."""
    above = f.select(x < _INFINITY, result, x)
    return f.select(x > 0.0, above, f.select(x.equals(0.0), f.value(-_INFINITY, "f"), float("nan")))


def _log_tail(z: np.ndarray) -> np.ndarray:
    return (np.log1p(z) - z + z**2 / 2) / z**3


def _log_mantissa(f: Function, m: Value) -> tuple[Value, Value]:
    """(z, tail) with log(m) = z + tail, z = m - 1 exact."""
    z = m - 1.0
    square = z * z
    cubic = square * z * f.polynomial(z, fit(_log_tail, math.sqrt(0.5) - 1, math.sqrt(2) - 1, 8))
    return z, f.fma(square, -0.5, cubic)


def _scaled_log(f: Function, x: Value, base_of_2: float, scale: float) -> Value:
    """exponent base_of_2 + log(m) scale, each constant in two parts."""
    parts = _reduce(f, x)
    z, tail = _log_mantissa(f, parts.mantissa)
    high, low = split(base_of_2)
    if scale == 1.0:
        fraction = z + f.fma(parts.exponent, low, tail)
    else:
        scale_high, scale_low = split(scale)
        mantissa = z + tail
        fraction = f.fma(mantissa, scale_high, f.fma(mantissa, scale_low, parts.exponent * low))
    return _special(f, x, f.fma(parts.exponent, high, fraction))


def log(f: Function, machine: Machine, x: Value) -> Value:
    return _scaled_log(f, x, math.log(2), 1.0)


def log2(f: Function, machine: Machine, x: Value) -> Value:
    return _scaled_log(f, x, 1.0, LOG2_E)


def log10(f: Function, machine: Machine, x: Value) -> Value:
    return _scaled_log(f, x, math.log10(2), math.log10(math.e))


def log1p(f: Function, machine: Machine, x: Value) -> Value:
    """log(u) + c / u where u = fl(1 + x) and c is what that rounding lost."""
    u = x + 1.0
    lost = f.select(x < 1.0, x - (u - 1.0), 1.0 - (u - x))
    plain = log(f, machine, u)
    corrected = f.fma(lost, machine.reciprocal(f, u), plain)
    return f.select((u > 0.0) & (u < _INFINITY), corrected, plain)


def _atanh_tail(u: np.ndarray) -> np.ndarray:
    s = np.sqrt(u)
    return (np.arctanh(s) / s - 1) / u * (2 * LOG2_E)


def _log2_in_two_parts(f: Function, machine: Machine, x: Value) -> tuple[Value, Value]:
    """log2(x) = high + low for finite x > 0, to about 2^-32: log m = 2 atanh(s), s = (m - 1) / (m + 1)."""
    parts = _reduce(f, x)
    m = parts.mantissa
    a, b = m - 1.0, m + 1.0
    b_lost = m - (b - 1.0)
    inverse = machine.reciprocal(f, b)
    s = a * inverse
    s_lost = f.fma(-s, b_lost, f.fma(-s, b, a)) * inverse
    c_high, c_low = split(2 * LOG2_E)
    u = s * s
    tail = s * u * f.polynomial(u, fit(_atanh_tail, 1e-6, 0.0295, 3))
    product = s * c_high
    product_lost = f.fma(s, c_high, -product)
    low = f.fma(s_lost, c_high, f.fma(s, c_low, product_lost)) + tail
    high = parts.exponent + product
    # |exponent| >= |product| or exponent = 0: the fast two-sum is exact
    low = low + (product - (high - parts.exponent))
    total = high + low
    return total, low - (total - high)


def pow(f: Function, machine: Machine, x: Value, y: Value) -> Value:
    """x^y = 2^(y log2 |x|) with the sign and the special cases of C99's powf."""
    a = f.abs(x)
    regular = (a > 0.0) & (a < _INFINITY)
    high, low = _log2_in_two_parts(f, machine, a)
    high = f.select(regular, high, f.select(a.equals(0.0), f.value(-_INFINITY, "f"), a))
    low = f.select(regular, low, 0.0)
    product = high * y
    rest = f.fma(high, y, -product) + low * y
    rest = f.select(f.abs(product) < _INFINITY, rest, 0.0)
    magnitude = machine.exp2_sum(f, product, lambda n: (product - n) + rest)
    magnitude = f.select(a.equals(1.0) & f.abs(y).equals(_INFINITY), 1.0, magnitude)

    whole = f.intrinsic("trunc", y).equals(y)
    half = y * 0.5
    odd = whole & (f.intrinsic("trunc", half).equals(half) ^ True)
    negative = f.with_sign_of(f.value(1.0, "f"), x) < 0.0
    signed = f.select(negative & odd, -magnitude, magnitude)
    undefined = (x < 0.0) & (whole ^ True) & (a < _INFINITY)
    result = f.select(undefined, float("nan"), signed)
    return f.select(y.equals(0.0) | x.equals(1.0), 1.0, result)


def asinh(f: Function, machine: Machine, x: Value) -> Value:
    """sign(x) log1p(a + a^2 / (1 + sqrt(a^2 + 1))), a = |x|; log(2 a) where a^2 would overflow."""
    a = f.abs(x)
    large = a > 1e8
    square = a * a
    root = machine.sqrt(f, square + 1.0)
    near = log1p(f, machine, f.fma(square, machine.reciprocal(f, root + 1.0), a))
    far = log(f, machine, a) + math.log(2)
    return f.with_sign_of(f.select(large, far, near), x)


def acosh(f: Function, machine: Machine, x: Value) -> Value:
    """log1p(t + sqrt(t (t + 2))), t = x - 1; log(2 x) where the square would overflow."""
    t = f.select(x < 1.0, float("nan"), x - 1.0)
    near = log1p(f, machine, t + machine.sqrt(f, t * (t + 2.0)))
    return f.select(x > 1e8, log(f, machine, x) + math.log(2), near)


def atanh(f: Function, machine: Machine, x: Value) -> Value:
    """sign(x) log1p(2 a / (1 - a)) / 2, a = |x|."""
    a = f.abs(x)
    half = log1p(f, machine, (a + a) * machine.reciprocal(f, 1.0 - a)) * 0.5
    return f.with_sign_of(half, x)
