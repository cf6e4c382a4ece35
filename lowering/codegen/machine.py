"""The primitives of elementary functions that differ between machines."""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from mlirfuse.lowering.codegen.function_text import Function, Value

__all__ = ["LOG2_E", "Machine", "split"]

LOG2_E = math.log2(math.e)


def split(value: float) -> tuple[float, float]:
    """`value` as float32 high + float32 low part."""
    high = float(np.float32(value))
    return high, float(np.float32(value - high))


class Machine(Protocol):
    """What a target does best in its own way; errors are a few ulp, NaN and infinities are exact."""

    def exp2_sum(self, f: Function, estimate: Value, rest: Callable[[Value], Value]) -> Value:
        """2^(n + rest(n)) where n is an integer near `estimate`, with |rest(n)| <= 1/2 unless 2^n is out of range."""
        ...

    def exp2_moderate(self, f: Function, x: Value) -> Value:
        """2^x for -100 < x < 100."""
        ...

    def reciprocal(self, f: Function, x: Value) -> Value:
        """1 / x where x is not subnormal."""
        ...

    def sqrt(self, f: Function, x: Value) -> Value: ...

    def rsqrt(self, f: Function, x: Value) -> Value: ...

    def reduce_half_pi(self, f: Function, x: Value) -> tuple[Value, Value]:
        """(q, r) with x = q pi/2 + r, |r| <= pi/4; q is i32 and meaningful modulo 4."""
        ...
