"""Reductions and windows of one element, and windows that are whole rows."""

from __future__ import annotations

from typing import Any

from mlirfuse.dialect import attribute_value, type_from_mlir
from mlirfuse.lowering.graph.replacement import replace_by_op, replace_by_value
from mlirfuse.lowering.patterns import no_match, register_pattern

__all__: list[str] = []

SET = "remove-identities"


@register_pattern(SET, "fusion.reduce")
def reshape_where_nothing_is_reduced(op: Any, rewriter: Any) -> object:
    """reduce(x)  =>  reshape(x), over axes of size 1"""
    x, axes = type_from_mlir(op.operands[0].type), attribute_value(op, "axes")
    if attribute_value(op, "kind").startswith("arg") or any(x.dims[axis] != 1 for axis in axes):
        return no_match(op, "it reduces something")
    if op.operands[0].type == op.results[0].type:
        replace_by_value(op, op.operands[0], rewriter)
    else:
        shape = type_from_mlir(op.results[0].type).dims
        replace_by_op(op, "reshape", [op.operands[0]], {"shape": shape}, rewriter)
    return None


@register_pattern(SET, "fusion.window", benefit=2)
def keep_windows_of_one_element(op: Any, rewriter: Any) -> object:
    """window(x)  =>  x, with a kernel of one element and steps of one"""
    ones = (*attribute_value(op, "kernel"), *attribute_value(op, "strides"))
    if any(n != 1 for n in ones) or any(attribute_value(op, "pads")) or op.operands[0].type != op.results[0].type:
        return no_match(op, "its windows have several elements, or leave some out")
    replace_by_value(op, op.operands[0], rewriter)
    return None


@register_pattern(SET, "fusion.window")
def reduce_where_the_window_is_everything(op: Any, rewriter: Any) -> object:
    """window(x)  =>  reduce(x), with one window that covers its axes"""
    x, axes = type_from_mlir(op.operands[0].type), attribute_value(op, "axes")
    kernel, sizes = attribute_value(op, "kernel"), attribute_value(op, "sizes")
    whole = all(x.dims[a] == k for a, k in zip(axes, kernel, strict=True)) and all(n == 1 for n in sizes)
    if not whole or any(attribute_value(op, "pads")) or any(d != 1 for d in attribute_value(op, "dilations")):
        return no_match(op, "there are several windows, or padding")
    if list(axes) != sorted(axes):
        return no_match(op, "its axes are not in order")
    attrs = {"kind": attribute_value(op, "kind"), "axes": axes, "keepdims": True}
    replace_by_op(op, "reduce", [op.operands[0]], attrs, rewriter)
    return None
