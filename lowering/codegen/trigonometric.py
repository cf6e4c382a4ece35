"""Trigonometric functions and their inverses as formulas on floats."""

import math

import numpy as np

from mlirfuse.lowering.codegen.function_text import Function, Value
from mlirfuse.lowering.codegen.machine import Machine, split
from mlirfuse.lowering.codegen.minimax import fit, odd_tail

__all__ = ["acos", "asin", "atan", "atan2", "cos", "reduce_in_double", "sin", "tan"]

_HALF_PI_HIGH, _HALF_PI_LOW = split(math.pi / 2)
# pi/2 = high + middle + low in doubles; the two last from pi's known digits beyond the double
_HALF_PI_DOUBLES = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33)
_QUARTER_PI_SQUARED = (math.pi / 4) ** 2 * 1.01


def reduce_in_double(f: Function, x: Value) -> tuple[Value, Value]:
    """(q, r), x = q pi/2 + r, for |x| < 2^50; beyond, r is only bounded, and NaN for infinities."""
    wide = x.convert("d")
    n = f.intrinsic("rint", wide * (2 / math.pi), kind="d")
    r = wide
    for part in _HALF_PI_DOUBLES:
        r = f.fma(n, -part, r)
    r = f.select(r > 0.8, 0.8, f.select(r < -0.8, -0.8, r)).convert("f")
    turns = n - f.intrinsic("floor", n * 0.25, kind="d") * 4.0
    known = f.abs(n) < 2.0**52
    return f.select(known, turns, 0.0).convert("i"), r


def _cos_tail(u: np.ndarray) -> np.ndarray:
    # cos x - 1 = -2 sin^2(x / 2), without cancellation
    return (0.5 - 2 * np.sin(np.sqrt(u) / 2) ** 2 / u) / u


def _sin_and_cos(f: Function, r: Value) -> tuple[Value, Value]:
    """Both, for |r| <= pi/4."""
    u = r * r
    sine = f.fma(r * u, f.polynomial(u, fit(odd_tail(np.sin), 1e-5, _QUARTER_PI_SQUARED, 3)), r)
    cosine = f.fma(u * u, f.polynomial(u, fit(_cos_tail, 1e-5, _QUARTER_PI_SQUARED, 3)), f.fma(u, -0.5, 1.0))
    return sine, cosine


def _quadrant(f: Function, q: Value, sine: Value, cosine: Value) -> Value:
    """sin(q pi/2 + r)"""
    value = f.select((q & 1).equals(0), sine, cosine)
    return (value.bits() ^ ((q & 2) << 30)).bits()


def sin(f: Function, machine: Machine, x: Value) -> Value:
    q, r = machine.reduce_half_pi(f, x)
    return _quadrant(f, q, *_sin_and_cos(f, r))


def cos(f: Function, machine: Machine, x: Value) -> Value:
    q, r = machine.reduce_half_pi(f, x)
    return _quadrant(f, q + 1, *_sin_and_cos(f, r))


def tan(f: Function, machine: Machine, x: Value) -> Value:
    q, r = machine.reduce_half_pi(f, x)
    sine, cosine = _sin_and_cos(f, r)
    even = (q & 1).equals(0)
    return f.select(even, sine, -cosine) * machine.reciprocal(f, f.select(even, cosine, sine))


def _atan_of_magnitude(f: Function, a: Value, inverse: Value) -> Value:
    """atan(a) for a >= 0, given 1/a: pi/2 - atan(1/a) for a > 1."""
    large = a > 1.0
    t = f.select(large, inverse, a)
    u = t * t
    near = f.fma(t * u, f.polynomial(u, fit(odd_tail(np.arctan), 1e-5, 1.0, 9)), t)
    return f.select(large, (_HALF_PI_LOW - near) + _HALF_PI_HIGH, near)


def atan(f: Function, machine: Machine, x: Value) -> Value:
    a = f.abs(x)
    return f.with_sign_of(_atan_of_magnitude(f, a, machine.reciprocal(f, a)), x)


def atan2(f: Function, machine: Machine, y: Value, x: Value) -> Value:
    """The angle of (x, y) in (-pi, pi]; both zero gives 0 or pi by the sign of x, as in C."""
    ay, ax = f.abs(y), f.abs(x)
    same = ay.equals(ax)  # also both infinite or both zero, where the quotient is not a number
    quotient = f.select(same, f.select(ay.equals(0.0), f.value(0.0, "f"), 1.0), ay * machine.reciprocal(f, ax))
    inverse = ax * machine.reciprocal(f, ay)
    angle = _atan_of_magnitude(f, quotient, inverse)
    negative = f.with_sign_of(f.value(1.0, "f"), x) < 0.0
    turned = f.select(negative, (2 * _HALF_PI_LOW - angle) + 2 * _HALF_PI_HIGH, angle)
    return f.with_sign_of(turned, y)


def _asin_near(f: Function, machine: Machine, magnitude: Value, inner: Value) -> tuple[Value, Value]:
    """Whether |x| = `magnitude` < 1/2, and asin(inner) if so, else asin(sqrt((1 - |x|) / 2)); `inner` is x or |x|."""
    small = magnitude < 0.5
    half = f.fma(magnitude, -0.5, 0.5)
    u = f.select(small, magnitude * magnitude, half)
    t = f.select(small, inner, machine.sqrt(f, half))
    return small, f.fma(t * u, f.polynomial(u, fit(odd_tail(np.arcsin), 1e-5, 0.26, 5)), t)


def asin(f: Function, machine: Machine, x: Value) -> Value:
    """Near zero a polynomial, else pi/2 - 2 asin(sqrt((1 - |x|) / 2)) with the sign of x."""
    a = f.abs(x)
    small, near = _asin_near(f, machine, a, a)
    far = f.fma(near, -2.0, _HALF_PI_LOW) + _HALF_PI_HIGH
    return f.with_sign_of(f.select(small, near, far), x)


def acos(f: Function, machine: Machine, x: Value) -> Value:
    """pi/2 - asin(x) near zero, 2 asin(sqrt((1 - x) / 2)) near one, pi minus that near minus one."""
    small, near = _asin_near(f, machine, f.abs(x), x)
    middle = (_HALF_PI_LOW - near) + _HALF_PI_HIGH
    double = near + near
    left = (2 * _HALF_PI_LOW - double) + 2 * _HALF_PI_HIGH
    return f.select(small, middle, f.select(x < 0.0, left, double))
