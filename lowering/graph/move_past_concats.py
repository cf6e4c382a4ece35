"""Apply element-wise functions to the parts of a concatenation instead of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mlirfuse.dialect import attribute_value, build, onnx_nodes, type_from_mlir
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.lowering.graph.constants import constant_array, make_constant, owner_of
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.patterns import apply_greedily, no_match, patterns_in, register_pattern
from mlirfuse.mlir import ir

__all__ = ["MovePastConcats"]


@register_pass
@dataclass(frozen=True)
class MovePastConcats:
    """f(concat(a, b))  =>  concat(f(a), f(b)), where f ends the kernels of a and b instead of being one.

    Only where nobody else reads the concatenation or its parts, and every part is computed. Exact.
    """

    name: ClassVar[str] = "fusion-move-past-concats"

    def __call__(self, module_op: ir.Operation) -> None:
        apply_greedily(module_op, patterns_in("move-past-concats"))


@register_pattern("move-past-concats", "fusion.unary")
@register_pattern("move-past-concats", "fusion.cast")
def apply_to_each_part(op: Any, rewriter: Any) -> object:
    """f(concat(a, b))  =>  concat(f(a), f(b))"""
    concat = _joined(op.operands[0])
    if concat is None:
        return no_match(op, "it does not follow a concatenation of computed values alone")
    attrs = {k: attribute_value(op, k) for k in op.attributes if k not in ("onnx_nodes", "mapping", "plan")}
    kind = op.operation.name.removeprefix("fusion.")
    with rewriter.ip:
        parts = [build(kind, [part], attrs, onnx_nodes=onnx_nodes(op), loc=op.location) for part in concat.operands]
        whole = _concatenated(parts, concat)
    rewriter.replace_op(op, [whole])
    return None


@register_pattern("move-past-concats", "fusion.binary")
def combine_each_part_with_its_constant(op: Any, rewriter: Any) -> object:
    """concat(a, b) * c  =>  concat(a * c[:n], b * c[n:])"""
    for i, value in enumerate(op.operands):
        concat, c = _joined(value), constant_array(op.operands[1 - i])
        if concat is None or c is None or value.type != op.results[0].type:
            continue
        rank = type_from_mlir(value.type).rank
        aligned = c.reshape([1] * (rank - c.ndim) + list(c.shape))
        axis, start, parts = attribute_value(concat, "axis"), 0, []
        with rewriter.ip:
            for part in concat.operands:
                size = type_from_mlir(part.type).dims[axis]
                share = aligned if aligned.shape[axis] == 1 else aligned.take(range(start, start + size), axis)
                constant = make_constant(share, op.location)
                pair = [part, constant] if i == 0 else [constant, part]
                attrs = {"kind": attribute_value(op, "kind")}
                parts.append(build("binary", pair, attrs, onnx_nodes=onnx_nodes(op), loc=op.location))
                start += size
            whole = _concatenated(parts, concat)
        rewriter.replace_op(op, [whole])
        return None
    return no_match(op, "it does not combine such a concatenation with a constant")


def _joined(value: Any) -> ir.Operation | None:
    """The concat that makes `value`, if `value` and the concat's parts have this one reader and are computed."""
    concat = owner_of(value, "concat")
    if concat is None or len(list(value.uses)) != 1 or len(set(concat.operands)) != len(concat.operands):
        return None
    outside = (*CONSTANTS, "fusion.fallback", "fusion.concat")
    for part in concat.operands:
        owner = owner_of(part)
        if owner is None or owner.name in outside or len(list(part.uses)) != 1:
            return None
    return concat


def _concatenated(parts: list[Any], concat: ir.Operation) -> Any:
    axis = attribute_value(concat, "axis")
    return build("concat", parts, {"axis": axis}, onnx_nodes=onnx_nodes(concat), loc=concat.location)
