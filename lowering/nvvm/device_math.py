"""The primitives of a CUDA thread: hardware 2^x, reciprocal and roots, with IR for what they lack.

Errors of the hardware instructions, from the PTX ISA: ex2.approx 2 ulp, rcp.approx 1 ulp,
sqrt.approx and rsqrt.approx about 1 ulp.
"""

import math
from collections.abc import Callable

import numpy as np

from mlirfuse.lowering.codegen.function_text import Function, Value
from mlirfuse.lowering.codegen.trigonometric import reduce_in_double

__all__ = ["DeviceMachine", "double_functions"]

_ROUND = 12582912.0  # 1.5 * 2^23: adding it rounds to an integer that the low mantissa bits hold
_FAR = 30000.0  # beyond, the reduction modulo pi/2 needs doubles


def _three_parts(value: float) -> tuple[float, float, float]:
    high = float(np.float32(value))
    middle = float(np.float32(value - high))
    return high, middle, float(np.float32(value - high - middle))


class DeviceMachine:
    """Scalar code for NVIDIA GPUs (a `Machine`)."""

    def exp2_sum(self, f: Function, estimate: Value, rest: Callable[[Value], Value]) -> Value:
        """ex2(rest) 2^n; n stops at the ends of the exponent's range, and ex2 saturates by itself."""
        bounded = f.intrinsic("minnum", f.intrinsic("maxnum", estimate, -126.0), 127.0)
        rounded = bounded + (_ROUND + 127)
        power = (rounded.bits() << 23).bits()
        return f.call("llvm.nvvm.ex2.approx.ftz.f", rest(rounded - (_ROUND + 127))) * power

    def exp2_moderate(self, f: Function, x: Value) -> Value:
        return f.call("llvm.nvvm.ex2.approx.ftz.f", x)

    def reciprocal(self, f: Function, x: Value) -> Value:
        return f.call("llvm.nvvm.rcp.approx.ftz.f", x)

    def sqrt(self, f: Function, x: Value) -> Value:
        return f.call("llvm.nvvm.sqrt.approx.f", x)

    def rsqrt(self, f: Function, x: Value) -> Value:
        return f.call("llvm.nvvm.rsqrt.approx.f", x)

    def reduce_half_pi(self, f: Function, x: Value) -> tuple[Value, Value]:
        rounded = x * (2 / math.pi) + _ROUND
        n = rounded - _ROUND
        r = x
        for part in _three_parts(math.pi / 2):
            r = f.fma(n, -part, r)
        q, reduced = f.branch(f.abs(x) > _FAR, lambda: reduce_in_double(f, x), (rounded.bits(), r))
        return q, reduced


_DOUBLE_INTRINSICS = {
    "__nv_ceil": ("ceil", 1),
    "__nv_copysign": ("copysign", 2),
    "__nv_fabs": ("fabs", 1),
    "__nv_floor": ("floor", 1),
    "__nv_fma": ("fma", 3),
    "__nv_rint": ("roundeven", 1),
    "__nv_round": ("round", 1),
    "__nv_sqrt": ("sqrt", 1),
    "__nv_trunc": ("trunc", 1),
}


def double_functions() -> dict[str, str]:
    """Definitions, as LLVM IR text, of the f64 functions that upstream calls and LLVM has instructions for."""
    texts = {}
    for name, (intrinsic, count) in _DOUBLE_INTRINSICS.items():
        types = ", ".join(["double"] * count)
        values = ", ".join(f"double %x{k}" for k in range(count))
        callee = f"@llvm.{intrinsic}.f64"
        texts[name] = (
            f"declare double {callee}({types})\n"
            f"define double @{name}({values}) alwaysinline nounwind {{\n"
            f"  %r = call double {callee}({values})\n  ret double %r\n}}\n"
        )
    return texts
