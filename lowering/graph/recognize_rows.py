"""Find softmax and normalisation where a network spells them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mlirfuse.dialect import attribute_value, build, onnx_nodes, type_from_mlir
from mlirfuse.lowering.graph.constants import constant_array, owner_of, splat_value
from mlirfuse.lowering.graph.replacement import replace_by_op
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.patterns import apply_greedily, no_match, patterns_in, register_pattern
from mlirfuse.mlir import ir

__all__ = ["RecognizeRows"]

_FLOATS = ("float16", "bfloat16", "float32", "float64")
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
def normalize_by_the_root_mean_square(op: Any, rewriter: Any) -> object:
    """x / sqrt(mean(x ** 2) + eps)  =>  normalize(x), not centred"""
    ratio = _ratio(op)
    variance = _root_of_variance(ratio[1]) if ratio else None
    if ratio is None or variance is None or variance[1] != ratio[0]:
        return no_match(op, "it does not divide by its own root mean square")
    if _centred(ratio[0]) is not None:
        return no_match(op, "it is centred: a deviation")
    chain, x, epsilon, axes = variance
    replace_by_op(op, "normalize", [x], {"axes": axes, "epsilon": epsilon, "centred": False}, rewriter, chain)
    return None


@register_pattern("recognize-rows", "fusion.binary")
def normalize_before_its_scale(op: Any, rewriter: Any) -> object:
    """x * k + (b - mean(x) * k), k = s / sqrt(mean((x - mean(x)) ** 2) + eps)  =>  normalize(x) * s + b"""
    found = next(filter(None, (_scaled_and_shifted(*pair) for pair in _orders(op, "add"))), None)
    if found is None or type_from_mlir(op.results[0].type).dtype not in _FLOATS:
        return no_match(op, "it does not add a scaled value and its scaled mean")
    ops, x, axes, k, shift = found
    for inverse, scale in ((k, None), *_orders(owner_of(k, "binary"), "mul")):
        variance = _root_of_variance(_inverted(inverse))
        again = _centred(variance[1]) if variance else None
        if variance is None or again is None or again[1:] != (x, axes) or variance[3] != axes:
            continue
        attrs = {"axes": axes, "epsilon": variance[2]}
        names = tuple(dict.fromkeys(n for o in (*again[0], *variance[0], *ops) for n in onnx_nodes(o)))
        with rewriter.ip:
            y = build("normalize", [x], attrs, onnx_nodes=names, loc=op.location)
            if scale is not None:
                y = build("binary", [y, scale], {"kind": "mul"}, onnx_nodes=names, loc=op.location)
        replace_by_op(op, "binary", [y, shift], {"kind": "add"}, rewriter, ops)
        return None
    return no_match(op, "the factor is no inverse deviation")


def _scaled_and_shifted(scaled: Any, shifted: Any) -> tuple[list[ir.Operation], Any, tuple[int, ...], Any, Any] | None:
    """(ops, x, axes of the mean, k, b) where the values are x * k and b - mean(x) * k."""
    difference = owner_of(shifted, "binary")
    if difference is None or attribute_value(difference, "kind") != "sub":
        return None
    first, second = owner_of(scaled, "binary"), owner_of(difference.operands[1], "binary")
    for x, k in _orders(first, "mul"):
        for centre, again in _orders(second, "mul"):
            mean = _reduced(centre, "mean")
            if mean is not None and k == again and mean[1] == x:
                return [*mean[0], first, second, difference], x, mean[2], k, difference.operands[0]
    return None


def _orders(op: Any, kind: str) -> list[tuple[Any, Any]]:
    """The operands of a commutative binary op of this kind, in both orders; nothing for others."""
    if op is None or attribute_value(op, "kind") != kind:
        return []
    a, b = op.operands
    return [(a, b), (b, a)]


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
    if type_from_mlir(op.results[0].type).dtype not in _FLOATS:
        return None
    a, b = op.operands
    if attribute_value(op, "kind") == "div":
        return None if _is_inverse_root(b) else (a, b)
    for over, factor in _orders(op, "mul"):
        below = _inverted(factor)
        if below is not None:
            return over, below
    return None


def _inverted(value: Any) -> Any | None:
    """b where `value` is 1 / b; the value itself where it is an inverse root."""
    if _is_inverse_root(value):
        return value
    inverse, quotient = owner_of(value, "unary"), owner_of(value, "binary")
    below = None
    if inverse is not None and attribute_value(inverse, "kind") == "reciprocal":
        below = inverse.operands[0]
    if quotient is not None and attribute_value(quotient, "kind") == "div" and splat_value(quotient.operands[0]) == 1:
        below = quotient.operands[1]
    return None if below is None or _is_inverse_root(below) else below


def _is_inverse_root(value: Any) -> bool:
    op = owner_of(value, "unary")
    return op is not None and attribute_value(op, "kind") == "rsqrt"


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
    root = owner_of(value, "unary") if value is not None else None
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
