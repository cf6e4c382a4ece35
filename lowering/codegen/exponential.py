"""exp, exp2, expm1, the hyperbolic functions and erf as formulas on floats.

exp splits x log2(e) = n + r (Cody and Waite, Software Manual for the Elementary Functions, 1980);
the polynomials are fitted here.
"""

import math

import numpy as np

from mlirfuse.lowering.codegen.function_text import Function, Value
from mlirfuse.lowering.codegen.machine import LOG2_E, Machine, split
from mlirfuse.lowering.codegen.minimax import fit, odd_tail

__all__ = ["cosh", "erf", "exp", "exp2", "expm1", "sinh", "tanh"]

_LOG2_E_HIGH, _LOG2_E_LOW = split(LOG2_E)
_LN_2_HIGH, _LN_2_LOW = split(math.log(2))
_ROUND = 12582912.0  # 1.5 * 2^23: adding it rounds to an integer that the low mantissa bits hold


def exp(f: Function, machine: Machine, x: Value, log2_scale: float = 0.0) -> Value:
    """2^log2_scale e^x; `log2_scale` is a small integer."""

    def rest(n: Value) -> Value:
        shifted = n - log2_scale if log2_scale else n
        return f.fma(x, _LOG2_E_LOW, f.fma(x, _LOG2_E_HIGH, -shifted))

    estimate = x * LOG2_E
    return machine.exp2_sum(f, estimate + log2_scale if log2_scale else estimate, rest)


def exp2(f: Function, machine: Machine, x: Value) -> Value:
    return machine.exp2_sum(f, x, lambda n: x - n)


def _expm1_tail(x: np.ndarray) -> np.ndarray:
    return (np.expm1(x) - x) / x**2


def expm1(f: Function, machine: Machine, x: Value) -> Value:
    """e^x - 1 = 2^n (e^r - 1) + (2^n - 1), x = n ln 2 + r; computed halved, so that 2^n stays finite."""
    bounded = f.select(x < -20.0, -20.0, f.select(x > 89.0, 89.0, x))
    rounded = bounded * LOG2_E + (_ROUND + 126)
    n = rounded - (_ROUND + 126)
    r = f.fma(n, -_LN_2_LOW, f.fma(n, -_LN_2_HIGH, bounded))
    half_power = (rounded.bits() << 23).bits()
    p = f.fma(r * r, f.polynomial(r, fit(_expm1_tail, -0.35, 0.35, 5)), r)
    half = f.fma(p, half_power, half_power - 0.5)
    return half + half


def tanh(f: Function, machine: Machine, x: Value) -> Value:
    """x + x u P(u) with u = x^2 near zero, else sign(x) (1 - 2 / (e^(2|x|) + 1))."""
    a, u = f.abs(x), x * x
    near = f.fma(x * u, f.polynomial(u, fit(odd_tail(np.tanh), 1e-6, 0.37, 4)), x)
    power = exp(f, machine, a + a)
    far = f.fma(machine.reciprocal(f, power + 1.0), -2.0, 1.0)
    return f.select(a < 0.6, near, f.with_sign_of(far, x))


def sinh(f: Function, machine: Machine, x: Value) -> Value:
    """x + x u P(u) for |x| < 1, else sign(x) (h - 1 / (4 h)) with h = e^|x| / 2."""
    a, u = f.abs(x), x * x
    near = f.fma(x * u, f.polynomial(u, fit(odd_tail(np.sinh), 1e-6, 1.0, 3)), x)
    half = exp(f, machine, a, log2_scale=-1)
    far = f.fma(machine.reciprocal(f, half), -0.25, half)
    return f.select(a < 1.0, near, f.with_sign_of(far, x))


def cosh(f: Function, machine: Machine, x: Value) -> Value:
    half = exp(f, machine, f.abs(x), log2_scale=-1)
    return f.fma(machine.reciprocal(f, half), 0.25, half)


def _erf_quotient(u: np.ndarray) -> np.ndarray:
    x = np.sqrt(u)
    return np.array([math.erf(v) for v in x]) / x - 1


def _log2_erfc(x: np.ndarray) -> np.ndarray:
    return np.array([math.log2(math.erfc(v)) for v in x])


def erf(f: Function, machine: Machine, x: Value) -> Value:
    """x + x P(x^2) for |x| < 1, else sign(x) (1 - 2^Q(|x|)) with Q = log2 erfc."""
    a, u = f.abs(x), x * x
    near = f.fma(x, f.polynomial(u, fit(_erf_quotient, 1e-6, 1.0, 6)), x)
    bounded = f.select(a > 4.0, 4.0, a)
    far = 1.0 - machine.exp2_moderate(f, f.polynomial(bounded, fit(_log2_erfc, 1.0, 4.0, 7)))
    return f.select(a < 1.0, near, f.with_sign_of(far, x))
