"""How many floating-point operations one thread does in an operation."""

from typing import Any

from mlirfuse.simulator.element import value_type

__all__ = ["flops"]

_ARITH = frozenset(
    f"arith.{name}"
    for name in ("addf", "subf", "mulf", "divf", "remf", "negf", "maximumf", "minimumf", "maxnumf", "minnumf")
)
_FMA = ("math.fma", "vector.fma")


def flops(op: Any) -> int:
    """One per element of arithmetic and elementary functions, two of an fma; comparisons, casts and moves: none."""
    if op.name == "vector.reduction":
        vector = value_type(op.operands[0].type)
        return vector.size - 1 + len(op.operands) - 1 if vector.is_float else 0
    if op.name in _ARITH or op.name == "vector.fma" or op.name.startswith("math."):
        result = value_type(op.results[0].type)
        return result.size * (2 if op.name in _FMA else 1) if result.is_float else 0
    return 0
