"""Compute what depends on constants alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlirfuse.dialect import Node, node_of, onnx_nodes, semantics
from mlirfuse.dialect.core import CONSTANTS, OPS
from mlirfuse.lowering.graph.constants import constant_array, make_constant, splat_value
from mlirfuse.lowering.passes import register_pass
from mlirfuse.mlir import ir

__all__ = ["FoldConstants"]

POINTWISE = ("unary", "binary", "select", "cast")
MOVEMENT = ("reshape", "transpose", "slice", "expand", "gather", "concat")
MIB = 1 << 20


@register_pass
@dataclass(frozen=True)
class FoldConstants:
    """op(weights, splats)  =>  a weight, or a splat where all elements are the same number.

    Needs the bytes of the weights in the active store. A result of more than `max_mib`, or one that takes more than
    `max_gflop` to compute, is left to run time; so is a weight that is only repeated to a larger one.
    """

    name: ClassVar[str] = "fusion-fold-constants"
    max_mib: int = 64
    max_gflop: int = 2

    def __call__(self, module_op: ir.Operation) -> None:
        for function in module_op.regions[0].blocks[0]:
            if function.operation.name == "func.func":
                for op in list(function.operation.regions[0].blocks[0].operations):  # in order: operands come first
                    self._fold(op.operation)

    def _fold(self, op: ir.Operation) -> None:
        kind = op.name.removeprefix("fusion.")
        if op.name in CONSTANTS or kind not in OPS or semantics(kind).structural or not op.operands:
            return
        arrays = [constant_array(v) for v in op.operands]
        if any(a is None for a in arrays):
            return
        node = node_of(op)
        splats = [splat_value(v) for v in op.operands]
        result = _of_splats(node, arrays, splats) if None not in splats else None
        if result is None:
            if not self._worthwhile(node, arrays):
                return
            result = semantics(kind).reference(node, *arrays)
        with ir.InsertionPoint(op):
            folded = make_constant(np.asarray(result).reshape(node.out.dims), op.location, onnx_nodes(op))
        if folded.type != op.results[0].type:
            folded.owner.operation.erase()
            return
        op.results[0].replace_all_uses_with(folded)
        op.erase()

    def _worthwhile(self, node: Node, arrays: list[Any]) -> bool:
        if node.op == "expand" and node.out.bytes > max(MIB, 4 * arrays[0].nbytes):
            return False
        return node.out.bytes <= self.max_mib * MIB and semantics(node.op).flops(node) <= self.max_gflop * 10**9


def _of_splats(node: Node, arrays: list[Any], splats: list[Any]) -> Any | None:
    """The result for splats where one element tells all of it, as a view of that element; else None."""
    if not node.out.size:
        return None
    if node.op in POINTWISE:
        elements = (np.asarray(s).astype(a.dtype) for s, a in zip(splats, arrays, strict=True))
        element = semantics(node.op).reference(node, *elements)
    elif node.op in MOVEMENT and len(set(map(_with_sign, splats if node.op == "concat" else splats[:1]))) == 1:
        element = np.asarray(splats[0]).astype(node.out.dtype)
    else:
        return None
    return np.broadcast_to(element, node.out.dims)


def _with_sign(number: Any) -> tuple[Any, float]:
    """Tells 0.0 from -0.0."""
    return number, math.copysign(1.0, number)
