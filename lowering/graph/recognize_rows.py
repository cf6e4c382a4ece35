"""Find softmax and normalisation where a network spells them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mlirfuse.dialect import attribute_value, type_from_mlir
from mlirfuse.lowering.graph.constants import constant_array, owner_of, splat_value
from mlirfuse.lowering.graph.replacement import replace_by_op
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.patterns import apply_greedily, no_match, patterns_in, register_pattern
from mlirfuse.mlir import ir

__all__ = ["RecognizeRows"]

Row = tuple[list[ir.Operation], Any, tuple[int, ...]]  # the ops, what they work on, and the axes


@register_pass
@dataclass(frozen=True)
class RecognizeRows:
    """Replace what reads each row several times by the op that reads it once: softmax and normalize.

    Reassociates floating-point arithmetic. The patterns are the set "recognize-rows".
    """

    name: ClassVar[str] = "fusion-recognize-rows"

    def __call__(self, module_op: ir.Operation) -> None:
        apply_greedily(module_op, patterns_in("recognize-rows"))


@register_pattern("recognize-rows", "fusion.binary")
def normalize_by_the_deviation(op: Any, rewriter: Any) -> object:
    """(x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + eps)  =>  normalize(x)"""
    ratio = _ratio(op)
    centred = _centred(ratio[0]) if ratio else None
    if ratio is None or centred is None:
        return no_match(op, "it does not divide a centred value")
    ops, x, axes = centred
    variance = _root_of_variance(ratio[1])
    if variance is None:
        return no_match(op, "it does not divide by a deviation")
    chain, squared, epsilon, over = variance
    again = _centred(squared)
    if again is None or again[1:] != (x, axes) or over != axes:
        return no_match(op, "the deviation is that of another value")
    attrs = {"axes": axes, "epsilon": epsilon}
    replace_by_op(op, "normalize", [x], attrs, rewriter, [*ops, *chain])
    return None


@register_pattern("recognize-rows", "fusion.binary")
def softmax_by_the_sum_of_exponentials(op: Any, rewriter: Any) -> object:
    """exp(x - max(x)) / sum(exp(x - max(x)))  =>  softmax(x), with or without the maximum"""
    ratio = _ratio(op)
    exponential = owner_of(ratio[0], "unary") if ratio else None
    if ratio is None or exponential is None or attribute_value(exponential, "kind") != "exp":
        return no_match(op, "it does not divide an exponential")
    total = _reduced(ratio[1], "sum")
    if total is None or total[1] != ratio[0]:
        return no_match(op, "it does not divide by the sum of what it divides")
    axes, x = total[2], exponential.operands[0]
    merged = [exponential, *total[0]]
    shift = owner_of(x, "binary")
    if shift is not None and attribute_value(shift, "kind") == "sub":
        largest = _reduced(shift.operands[1], "max")
        if largest is not None and largest[1:] == (shift.operands[0], axes):
            x, merged = shift.operands[0], [*largest[0], shift, *merged]
    replace_by_op(op, "softmax", [x], {"axes": axes, "log": False}, rewriter, merged)
    return None


def _ratio(op: Any) -> tuple[Any, Any] | None:
    """(a, b) where the op is a / b, or a * (1 / b), of floats."""
    if type_from_mlir(op.results[0].type).dtype not in ("float16", "bfloat16", "float32", "float64"):
        return None
    a, b = op.operands
    kind = attribute_value(op, "kind")
    if kind == "div":
        return a, b
    inverse = owner_of(b, "unary")
    if kind == "mul" and inverse is not None and attribute_value(inverse, "kind") in ("reciprocal", "rsqrt"):
        return a, b if attribute_value(inverse, "kind") == "rsqrt" else inverse.operands[0]
    return None


def _reduced(value: Any, kind: str) -> Row | None:
    """`value` as a reduction by `kind` that keeps its axes."""
    op = owner_of(value, "reduce")
    if op is None or attribute_value(op, "kind") != kind or not attribute_value(op, "keepdims"):
        return None
    return [op], op.operands[0], tuple(attribute_value(op, "axes"))


def _centred(value: Any) -> Row | None:
    """`value` as x - mean(x)."""
    op = owner_of(value, "binary")
    if op is None or attribute_value(op, "kind") != "sub":
        return None
    mean = _reduced(op.operands[1], "mean")
    return ([*mean[0], op], mean[1], mean[2]) if mean is not None and mean[1] == op.operands[0] else None


def _root_of_variance(value: Any) -> tuple[list[ir.Operation], Any, float, tuple[int, ...]] | None:
    """(its ops, y, eps, axes) where `value` is sqrt(mean(y ** 2) + eps), or 1 / that by rsqrt."""
    root = owner_of(value, "unary")
    if root is None or attribute_value(root, "kind") not in ("sqrt", "rsqrt"):
        return None
    add = owner_of(root.operands[0], "binary")
    if add is None or attribute_value(add, "kind") != "add":
        return None
    for variance, constant in ((add.operands[0], add.operands[1]), (add.operands[1], add.operands[0])):
        epsilon = constant_array(constant) if splat_value(constant) is not None else None
        mean = _reduced(variance, "mean")
        squared = _square(mean[1]) if mean else None
        if epsilon is not None and mean is not None and squared is not None:
            return [squared[0], *mean[0], add, root], squared[1], float(epsilon.flat[0]), mean[2]
    return None


def _square(value: Any) -> tuple[ir.Operation, Any] | None:
    """(op, y) where `value` is y * y."""
    unary, binary = owner_of(value, "unary"), owner_of(value, "binary")
    if unary is not None and attribute_value(unary, "kind") == "square":
        return unary, unary.operands[0]
    if binary is None:
        return None
    kind, (a, b) = attribute_value(binary, "kind"), binary.operands
    if (kind == "mul" and a == b) or (kind == "pow" and splat_value(b) == 2):
        return binary, a
    return None
