"""Constants of scalar and vector types."""

from __future__ import annotations

from typing import Any

from mlirfuse.mlir import arith, ir

__all__ = ["whole"]


def whole(kind: Any, value: int) -> Any:
    """An integer, or a vector of equal ones."""
    if isinstance(kind, ir.VectorType):
        one = ir.IntegerAttr.get(kind.element_type, value)
        return arith.ConstantOp(kind, ir.DenseElementsAttr.get_splat(kind, one)).result
    return arith.ConstantOp(kind, ir.IntegerAttr.get(kind, value)).result
