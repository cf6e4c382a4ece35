"""The primitives of a CPU with fused multiply-add, on vectors of any width."""

from collections.abc import Callable

import numpy as np

from mlirfuse.lowering.codegen.function_text import Function, Value
from mlirfuse.lowering.codegen.minimax import fit
from mlirfuse.lowering.codegen.trigonometric import reduce_in_double

__all__ = ["HostMachine"]

_ROUND = 12582912.0  # 1.5 * 2^23: adding it rounds to an integer that the low mantissa bits hold


def _twice_exp2(r: np.ndarray) -> np.ndarray:
    return 2 * np.exp2(r)


class HostMachine:
    """Branch-free code, so that it vectorises (a `Machine`)."""

    def exp2_sum(self, f: Function, estimate: Value, rest: Callable[[Value], Value]) -> Value:
        """(2 2^r) 2^(n-1), which reaches infinity by itself; results below 2^-125 are flushed to zero."""
        bounded = f.select(estimate > 128.0, 128.0, f.select(estimate < -125.0, -125.0, estimate))
        rounded = bounded + (_ROUND + 126)
        half_power = (rounded.bits() << 23).bits()
        r = rest(rounded - (_ROUND + 126))
        value = f.polynomial(r, fit(_twice_exp2, -0.5, 0.5, 6)) * half_power
        return f.select(estimate < -125.5, 0.0, value)

    def exp2_moderate(self, f: Function, x: Value) -> Value:
        rounded = x + (_ROUND + 126)
        r = x - (rounded - (_ROUND + 126))
        return f.polynomial(r, fit(_twice_exp2, -0.5, 0.5, 6)) * (rounded.bits() << 23).bits()

    def reciprocal(self, f: Function, x: Value) -> Value:
        return f.value(1.0, "f") / x

    def sqrt(self, f: Function, x: Value) -> Value:
        return f.intrinsic("sqrt", x)

    def rsqrt(self, f: Function, x: Value) -> Value:
        return f.value(1.0, "f") / f.intrinsic("sqrt", x)

    def reduce_half_pi(self, f: Function, x: Value) -> tuple[Value, Value]:
        return reduce_in_double(f, x)
