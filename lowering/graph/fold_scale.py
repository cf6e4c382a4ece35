"""Move constant factors and terms into weights: what is left of a batch normalisation is one addition."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from mlirfuse.dialect import attribute_value, build, onnx_nodes, type_from_mlir
from mlirfuse.lowering.graph.constants import constant_array, make_constant, owner_of
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.patterns import apply_greedily, no_match, patterns_in, register_pattern
from mlirfuse.mlir import ir

__all__ = ["FoldScale"]


@register_pass
@dataclass(frozen=True)
class FoldScale:
    """Scale weights at compile time instead of results at run time, and merge chains of constant factors and terms.

    Reassociates floating-point arithmetic. The patterns are the set "fold-scale"; none applies to a value that others
    read too, or without the bytes of the weights.
    """

    name: ClassVar[str] = "fusion-fold-scale"

    def __call__(self, module_op: ir.Operation) -> None:
        apply_greedily(module_op, patterns_in("fold-scale"))


@register_pattern("fold-scale", "fusion.binary", benefit=2)
def divide_by_multiplying(op: Any, rewriter: Any) -> object:
    """x / c  =>  x * (1 / c);  x - c  =>  x + (-c)"""
    kind = attribute_value(op, "kind")
    if kind not in ("div", "sub") or not _is_float(op.results[0]) or owner_of(op.operands[0], "splat"):
        return no_match(op, "it is no division by or subtraction of a constant")
    c = constant_array(op.operands[1])
    if c is None or constant_array(op.operands[0]) is not None or (kind == "div" and not np.all(c)):
        return no_match(op, "what it divides by is not known")
    opposite = _rounded(1.0 / c.astype(np.float64) if kind == "div" else -c, c)
    if kind == "div" and not _keeps_precision(opposite):
        return no_match(op, "the reciprocal overflows or is subnormal")
    with rewriter.ip:
        other = make_constant(opposite, op.location)
        made = _binary("mul" if kind == "div" else "add", op.operands[0], other, [op])
    rewriter.replace_op(op, [made])
    return None


@register_pattern("fold-scale", "fusion.binary")
def scale_the_weight_of_a_convolution(op: Any, rewriter: Any) -> object:
    """conv(x, w) * c  =>  conv(x, w * c), c one number for each output channel"""
    match = _scaled(op, "conv")
    if match is None:
        return no_match(op, "it does not scale a convolution")
    conv, c = match
    weight = constant_array(conv.operands[1])
    shape = type_from_mlir(op.results[0].type).dims
    factors = _along(c, shape, 1)
    if weight is None or factors is None:
        return no_match(op, "its factor is not one number for each channel of a known weight")
    scaled = _product(weight, factors.reshape(-1, *[1] * (weight.ndim - 1)))
    if not np.isfinite(scaled).all():
        return no_match(op, "the scaled weight overflows")
    _replace_with_scaled(op, conv, 1, scaled, rewriter)
    return None


@register_pattern("fold-scale", "fusion.binary")
def scale_the_weight_of_a_contraction(op: Any, rewriter: Any) -> object:
    """contract(x, w) * c  =>  contract(x, w * c), c constant along all dimensions that w lacks"""
    match = _scaled(op, "contract")
    if match is None:
        return no_match(op, "it does not scale a contraction")
    contract, c = match
    operands, result = attribute_value(contract, "equation").split("->")
    for i, letters in enumerate(operands.split(",")):
        weight = constant_array(contract.operands[i])
        factors = None if weight is None else _in_terms_of(c, result, letters, type_from_mlir(op.results[0].type).rank)
        if weight is None or factors is None or any(f > w for f, w in zip(factors.shape, weight.shape, strict=True)):
            continue
        scaled = _product(weight, factors)
        if not np.isfinite(scaled).all():
            return no_match(op, "the scaled weight overflows")
        _replace_with_scaled(op, contract, i, scaled, rewriter)
        return None
    return no_match(op, "its factor varies along a dimension that no known weight has")


@register_pattern("fold-scale", "fusion.conv")
def scale_the_weight_by_the_input_channel(op: Any, rewriter: Any) -> object:
    """conv(x * c, w)  =>  conv(x, w * c), c one number for each input channel (padding is 0 either way)"""
    factor, weight = _constant_side(op.operands[0], "mul"), constant_array(op.operands[1])
    if factor is None or weight is None:
        return no_match(op, "its input is not scaled, or its weight is not known")
    mul, x, c = factor
    per_channel = _along(c, type_from_mlir(op.operands[0].type).dims, 1)
    if per_channel is None or len(list(mul.results[0].uses)) != 1 or x.type != mul.results[0].type:
        return no_match(op, "the factor of its input is not one number for each channel")
    groups, depth = attribute_value(op, "groups"), weight.shape[1]
    grouped = np.broadcast_to(per_channel, (groups * depth,)).reshape(groups, 1, depth, *[1] * (weight.ndim - 2))
    scaled = _product(weight.reshape(groups, -1, *weight.shape[1:]), grouped).reshape(weight.shape)
    if not np.isfinite(scaled).all():
        return no_match(op, "the scaled weight overflows")
    with rewriter.ip:
        made = _like(op.operation, [x, make_constant(scaled, op.location)], [mul, op])
    rewriter.replace_op(op, [made])
    return None


@register_pattern("fold-scale", "fusion.binary")
def scale_before_adding(op: Any, rewriter: Any) -> object:
    """(y + c1) * c2  =>  y * c2 + c1 * c2, where a weight or another factor can take c2"""
    outer = _constant_side_of(op.operation, "mul")
    inner = _constant_side(outer[1], "add") if outer else None
    if outer is None or inner is None or len(list(outer[1].uses)) != 1:
        return no_match(op, "it does not scale a constant term")
    (_, _, c2), (add, y, c1) = outer, inner
    absorbs = _constant_side(y, "mul") or _has_weight(y)
    if not absorbs or len(list(y.uses)) != 1 or y.type != op.results[0].type or not _stays_small(c1, c2):
        return no_match(op, "nothing before the term can take the factor")
    term = _product(c1, c2)
    if not np.isfinite(term).all():
        return no_match(op, "the scaled term overflows")
    with rewriter.ip:
        scaled = _binary("mul", y, make_constant(c2, op.location), [op])
        made = _binary("add", scaled, make_constant(term, op.location), [add, op])
    rewriter.replace_op(op, [made])
    return None


@register_pattern("fold-scale", "fusion.binary")
def scale_before_moving(op: Any, rewriter: Any) -> object:
    """reshape(y) * c  =>  reshape(y * c), and transposed, where c is one number that what makes y can take"""
    outer = _constant_side_of(op.operation, "mul")
    moved = _movement(outer[1]) if outer else None
    if outer is None or moved is None or outer[2].size != 1 or outer[1].type != op.results[0].type:
        return no_match(op, "it does not scale moved elements by one number")
    source = moved.operands[0]
    while (inner := _movement(source)) is not None:
        source = inner.operands[0]
    term = _constant_side(source, "add")
    y = term[1] if term is not None else source
    if len(list(source.uses)) != 1 or len(list(y.uses)) != 1 or not _has_weight(y):
        return no_match(op, "nothing before the movement can take the factor")
    with rewriter.ip:
        scaled = _binary("mul", moved.operands[0], make_constant(outer[2].reshape(()), op.location), [op])
        made = _like(moved, [scaled], [moved])
    rewriter.replace_op(op, [made])
    return None


def _movement(value: Any) -> ir.Operation | None:
    """The reshape or transposition that makes `value`, if nobody else reads it."""
    op = owner_of(value, "reshape") or owner_of(value, "transpose")
    return op if op is not None and len(list(value.uses)) == 1 else None


def _has_weight(value: Any) -> bool:
    """Whether a factor can go into a constant operand of what makes `value`."""
    made = owner_of(value, "conv") or owner_of(value, "contract")
    return made is not None and any(constant_array(v) is not None for v in made.operands)


@register_pattern("fold-scale", "fusion.binary")
def merge_constant_terms(op: Any, rewriter: Any) -> object:
    """(y + c1) + c2  =>  y + (c1 + c2)"""
    return _merge(op, rewriter, "add")


@register_pattern("fold-scale", "fusion.binary")
def merge_constant_factors(op: Any, rewriter: Any) -> object:
    """(y * c1) * c2  =>  y * (c1 * c2)"""
    return _merge(op, rewriter, "mul")


def _merge(op: Any, rewriter: Any, kind: str) -> object:
    outer = _constant_side_of(op.operation, kind)
    inner = _constant_side(outer[1], kind) if outer else None
    if outer is None or inner is None or len(list(outer[1].uses)) != 1:
        return no_match(op, "there is no second constant")
    (_, _, c2), (first, y, c1) = outer, inner
    if not _stays_small(c1, c2) or y.type != op.results[0].type:
        return no_match(op, "the constants together would be larger than each")
    merged = _product(c1, c2) if kind == "mul" else _rounded(c1.astype(np.float64) + c2, c1)
    if not (_keeps_precision(merged) if kind == "mul" else np.isfinite(merged).all()):
        return no_match(op, "the constants together overflow, or are subnormal")
    with rewriter.ip:
        made = _binary(kind, y, make_constant(merged, op.location), [first, op])
    rewriter.replace_op(op, [made])
    return None


def _is_float(value: Any) -> bool:
    return type_from_mlir(value.type).dtype in ("float16", "float32", "float64")


def _constant_side(value: Any, kind: str) -> tuple[ir.Operation, Any, Any] | None:
    """(op, x, c) where `value` is x `kind` c, or c `kind` x, for floating-point x and a known constant c."""
    op = owner_of(value, "binary")
    return None if op is None else _constant_side_of(op, kind)


def _constant_side_of(op: ir.Operation, kind: str) -> tuple[ir.Operation, Any, Any] | None:
    if op.attributes["kind"].value != kind or not _is_float(op.results[0]):
        return None
    for x, other in ((op.operands[0], op.operands[1]), (op.operands[1], op.operands[0])):
        c = constant_array(other)
        if c is not None and constant_array(x) is None:
            return op, x, c
    return None


def _scaled(op: Any, name: str) -> tuple[ir.Operation, Any] | None:
    """(producer, c) where `op` is producer * c, nobody else reads the producer, and the shape stays."""
    if op.attributes["kind"].value != "mul" or all(owner_of(v, name) is None for v in op.operands):
        return None
    match = _constant_side_of(op.operation, "mul")
    producer = owner_of(match[1], name) if match else None
    if match is None or producer is None or match[1].type != op.results[0].type or len(list(match[1].uses)) != 1:
        return None
    return producer, match[2]


def _along(c: Any, shape: tuple[int, ...], axis: int) -> Any | None:
    """The numbers of `c` along `axis` of `shape`, against which it broadcasts; None if it varies elsewhere."""
    aligned = c.reshape([1] * (len(shape) - c.ndim) + list(c.shape))
    if any(size > 1 for i, size in enumerate(aligned.shape) if i != axis):
        return None
    return aligned.reshape(-1)


def _in_terms_of(c: Any, result: str, letters: str, rank: int) -> Any | None:
    """`c`, whose dimensions broadcast against `result`, with dimensions `letters`; None if it varies along others."""
    aligned = c.reshape([1] * (rank - c.ndim) + list(c.shape))
    if any(size > 1 and letter not in letters for letter, size in zip(result, aligned.shape, strict=True)):
        return None
    kept = [letter for letter in letters if letter in result]
    ordered = aligned.transpose([result.index(k) for k in kept] + [i for i, k in enumerate(result) if k not in kept])
    return ordered.reshape([aligned.shape[result.index(k)] if k in result else 1 for k in letters])


def _stays_small(a: Any, b: Any) -> bool:
    """Whether two constants together need no more elements than the larger one."""
    return int(np.prod(np.broadcast_shapes(a.shape, b.shape), dtype=np.int64)) <= max(a.size, b.size)


def _product(a: Any, b: Any) -> Any:
    return (a * b.astype(a.dtype)).astype(a.dtype) if a.size > (1 << 20) else _rounded(a.astype(np.float64) * b, a)


def _keeps_precision(array: Any) -> bool:
    """Whether every element is finite and normal: a factor that is not would lose what the two steps kept."""
    smallest = float(ml_dtypes.finfo(array.dtype).tiny)
    return bool(np.isfinite(array).all() and (np.abs(array.astype(np.float64)) >= smallest).all())


def _rounded(array: Any, like: Any) -> Any:
    return np.asarray(array).astype(like.dtype)


def _binary(kind: str, a: Any, b: Any, merged: Iterable[Any]) -> Any:
    ops = [m.operation for m in merged]
    names = tuple(dict.fromkeys(name for op in ops for name in onnx_nodes(op)))
    return build("binary", [a, b], {"kind": kind}, onnx_nodes=names, loc=ops[-1].location)


def _like(op: ir.Operation, operands: list[Any], merged: Iterable[Any]) -> Any:
    """A copy of `op` on other operands that stands for all of `merged`."""
    names = tuple(dict.fromkeys(name for m in merged for name in onnx_nodes(m)))
    attributes = {name: op.attributes[name] for name in op.attributes if name != "onnx_nodes"}
    if names:
        attributes["onnx_nodes"] = ir.ArrayAttr.get([ir.StringAttr.get(name) for name in names])
    made = ir.Operation.create(
        op.name, results=[r.type for r in op.results], operands=operands, attributes=attributes, loc=op.location
    )
    return made.results[0]


def _replace_with_scaled(op: Any, producer: ir.Operation, operand: int, weight: Any, rewriter: Any) -> None:
    operands = list(producer.operands)
    with rewriter.ip:
        operands[operand] = make_constant(weight, producer.location)
        made = _like(producer, operands, [producer, op])
    rewriter.replace_op(op, [made])
