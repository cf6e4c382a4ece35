"""Element-wise functions that change nothing, or that two ops compute where one would."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlirfuse.dialect import attribute_value, type_from_mlir
from mlirfuse.lowering.graph.constants import constant_array, owner_of
from mlirfuse.lowering.graph.replacement import replace_by_op, replace_by_value
from mlirfuse.lowering.patterns import no_match, register_pattern

__all__: list[str] = []

SET = "remove-identities"
SIGNED_ZEROS = "remove-identities-but-for-zeros"  # equal numbers, but perhaps a zero of the other sign
IDEMPOTENT = frozenset({"abs", "ceil", "floor", "relu", "round", "sign"})
INVOLUTIONS = frozenset({"neg", "not"})
NEVER_SIGNED = frozenset({"abs", "exp", "sigmoid", "softplus", "square"})
NEVER_NEGATIVE = frozenset({*NEVER_SIGNED, "hardsigmoid", "relu", "sqrt"})  # but these may give -0.0
# kind -> the constant that leaves the other operand as it is, and whether it may stand on the left.
NEUTRAL: dict[str, tuple[float, bool]] = {
    "add": (0, True), "sub": (0, False), "mul": (1, True), "div": (1, False), "pow": (1, False),
    "and": (True, True), "or": (False, True), "bit_or": (0, True), "bit_xor": (0, True), "xor": (False, True),
}  # fmt: skip


@register_pattern(SET, "fusion.binary", benefit=2)
def keep_what_a_neutral_constant_leaves(op: Any, rewriter: Any) -> object:
    """x + -0.0, x - 0.0, x * 1, x ** 1, x and true, ...  =>  x"""
    return _keep(op, rewriter, exact=True)


@register_pattern(SIGNED_ZEROS, "fusion.binary")
def keep_what_a_zero_leaves(op: Any, rewriter: Any) -> object:
    """x + 0.0, x - -0.0  =>  x, which turn -0.0 into 0.0"""
    return _keep(op, rewriter, exact=False)


def _keep(op: Any, rewriter: Any, exact: bool) -> object:
    kind = attribute_value(op, "kind")
    if kind not in NEUTRAL:
        return no_match(op, "no constant is neutral")
    neutral, commutes = NEUTRAL[kind]
    for x, other in ((op.operands[0], op.operands[1]), (op.operands[1], op.operands[0])):
        if x.type == op.results[0].type:
            c = constant_array(other)
            if c is not None and c.size and bool(np.all(c == neutral)) and not (exact and _loses_a_sign(kind, c)):
                replace_by_value(op, x, rewriter)
                return None
        if not commutes:
            break
    return no_match(op, "neither operand is neutral")


def _loses_a_sign(kind: str, zero: Any) -> bool:
    """Whether adding or subtracting this zero would change -0.0."""
    if kind not in ("add", "sub") or zero.dtype.kind in "iub":
        return False
    negative = np.signbit(zero)
    return not bool(negative.all()) if kind == "add" else bool(negative.any())


@register_pattern(SET, "fusion.binary")
def keep_what_is_given_twice(op: Any, rewriter: Any) -> object:
    """max(x, x), min(x, x), and(x, x), or(x, x)  =>  x"""
    if attribute_value(op, "kind") not in ("max", "min", "and", "or") or op.operands[0] != op.operands[1]:
        return no_match(op, "its operands differ")
    replace_by_value(op, op.operands[0], rewriter)
    return None


@register_pattern(SET, "fusion.unary", benefit=2)
def apply_once(op: Any, rewriter: Any) -> object:
    """relu(relu(x))  =>  relu(x);  relu(sigmoid(x))  =>  sigmoid(x);  neg(neg(x))  =>  x"""
    kind, inner = attribute_value(op, "kind"), owner_of(op.operands[0], "unary")
    if inner is None:
        return no_match(op, "its operand is no unary function")
    first = attribute_value(inner, "kind")
    if (kind == first and kind in IDEMPOTENT) or (kind in ("relu", "abs") and first in NEVER_SIGNED):
        replace_by_value(op, op.operands[0], rewriter)
    elif kind == first and kind in INVOLUTIONS:
        replace_by_value(op, inner.operands[0], rewriter, [inner])
    else:
        return no_match(op, "the second function changes the result of the first")
    return None


@register_pattern(SIGNED_ZEROS, "fusion.unary")
def keep_what_is_not_negative(op: Any, rewriter: Any) -> object:
    """relu(sqrt(x))  =>  sqrt(x);  abs(relu(x))  =>  relu(x), which may be -0.0"""
    inner = owner_of(op.operands[0], "unary")
    first = None if inner is None else attribute_value(inner, "kind")
    if attribute_value(op, "kind") not in ("relu", "abs") or first not in NEVER_NEGATIVE:
        return no_match(op, "its operand may be negative")
    replace_by_value(op, op.operands[0], rewriter)
    return None


@register_pattern(SET, "fusion.unary")
def clip_once(op: Any, rewriter: Any) -> object:
    """clip(clip(x, a, b), c, d)  =>  clip(x, the bounds of both), relu being clip(x, 0, inf)"""
    inner = owner_of(op.operands[0], "unary")
    outer_bounds, inner_bounds = _bounds(op), _bounds(inner) if inner is not None else None
    if inner is None or outer_bounds is None or inner_bounds is None:
        return no_match(op, "there are not two clips")
    low, high = (min(max(bound, outer_bounds[0]), outer_bounds[1]) for bound in inner_bounds)
    if (low, high) == (0.0, math.inf):
        replace_by_op(op, "unary", [inner.operands[0]], {"kind": "relu"}, rewriter, [inner])
    else:
        attrs = {"kind": "clip", "alpha": low, "beta": high}
        replace_by_op(op, "unary", [inner.operands[0]], attrs, rewriter, [inner])
    return None


@register_pattern(SET, "fusion.unary")
def spell_a_clip_at_zero_as_relu(op: Any, rewriter: Any) -> object:
    """clip(x, 0, inf)  =>  relu(x)"""
    if attribute_value(op, "kind") != "clip" or _bounds(op) != (0.0, math.inf):
        return no_match(op, "it is no clip at zero alone")
    replace_by_op(op, "unary", [op.operands[0]], {"kind": "relu"}, rewriter)
    return None


@register_pattern(SET, "fusion.select")
def choose_what_is_known(op: Any, rewriter: Any) -> object:
    """select(true, a, b)  =>  a;  select(false, a, b)  =>  b;  select(c, a, a)  =>  a"""
    condition, a, b = op.operands
    known = constant_array(condition)
    if a == b:
        chosen = a
    elif known is not None and known.size and (known.all() or not known.any()):
        chosen = a if known.all() else b
    else:
        return no_match(op, "its condition is not known")
    if chosen.type != op.results[0].type:
        return no_match(op, "it broadcasts what it chooses")
    replace_by_value(op, chosen, rewriter)
    return None


def _bounds(op: Any) -> tuple[float, float] | None:
    """What a floating-point value is limited to by clip or relu."""
    kind = attribute_value(op, "kind")
    if type_from_mlir(op.results[0].type).dtype not in ("float32", "float64"):
        return None
    if kind == "relu":
        return 0.0, math.inf
    if kind != "clip" or "alpha" not in op.attributes or "beta" not in op.attributes:
        return None
    low, high = attribute_value(op, "alpha"), attribute_value(op, "beta")
    return (low, high) if low <= high else None
