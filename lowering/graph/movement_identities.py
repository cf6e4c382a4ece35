"""Data movement that moves nothing, or that two ops do where one would."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlirfuse.dialect import attribute_value, build, onnx_nodes, type_from_mlir
from mlirfuse.dialect.core import broadcast_shapes
from mlirfuse.lowering.graph.constants import constant_array, owner_of
from mlirfuse.lowering.graph.replacement import replace_by_op, replace_by_value
from mlirfuse.lowering.patterns import no_match, register_pattern

__all__: list[str] = []

SET = "remove-identities"


@register_pattern(SET, "fusion.reshape", benefit=2)
@register_pattern(SET, "fusion.expand", benefit=2)
def keep_what_has_the_shape_already(op: Any, rewriter: Any) -> object:
    """reshape(x), expand(x)  =>  x, of the same shape"""
    if op.operands[0].type != op.results[0].type:
        return no_match(op, "it changes the shape")
    replace_by_value(op, op.operands[0], rewriter)
    return None


@register_pattern(SET, "fusion.reshape")
def reshape_once(op: Any, rewriter: Any) -> object:
    """reshape(reshape(x))  =>  reshape(x)"""
    inner = owner_of(op.operands[0], "reshape")
    if inner is None:
        return no_match(op, "its operand is not reshaped")
    replace_by_op(op, "reshape", [inner.operands[0]], {"shape": _out(op).dims}, rewriter, [inner])
    return None


@register_pattern(SET, "fusion.transpose")
def transpose_once(op: Any, rewriter: Any) -> object:
    """transpose(transpose(x, p), q)  =>  transpose(x, p[q])"""
    inner = owner_of(op.operands[0], "transpose")
    if inner is None:
        return no_match(op, "its operand is not transposed")
    first = attribute_value(inner, "perm")
    perm = tuple(first[axis] for axis in attribute_value(op, "perm"))
    if perm == tuple(range(len(perm))):
        replace_by_value(op, inner.operands[0], rewriter, [inner])
    else:
        replace_by_op(op, "transpose", [inner.operands[0]], {"perm": perm}, rewriter, [inner])
    return None


@register_pattern(SET, "fusion.transpose", benefit=2)
def reshape_where_nothing_changes_place(op: Any, rewriter: Any) -> object:
    """transpose(x)  =>  reshape(x), or x, where only dimensions of size 1 change places"""
    perm, shape = attribute_value(op, "perm"), type_from_mlir(op.operands[0].type).dims
    long = [axis for axis in perm if shape[axis] != 1]
    if long != sorted(long):
        return no_match(op, "it reorders elements")
    if op.operands[0].type == op.results[0].type:
        replace_by_value(op, op.operands[0], rewriter)
    else:
        replace_by_op(op, "reshape", [op.operands[0]], {"shape": _out(op).dims}, rewriter)
    return None


@register_pattern(SET, "fusion.expand")
def expand_once(op: Any, rewriter: Any) -> object:
    """expand(expand(x))  =>  expand(x);  expand(x)  =>  reshape(x), if it only adds dimensions of size 1"""
    inner = owner_of(op.operands[0], "expand")
    if type_from_mlir(op.operands[0].type).size == _out(op).size:
        replace_by_op(op, "reshape", [op.operands[0]], {"shape": _out(op).dims}, rewriter)
    elif inner is not None:
        replace_by_op(op, "expand", [inner.operands[0]], {"shape": _out(op).dims}, rewriter, [inner])
    else:
        return no_match(op, "it repeats elements, once")
    return None


@register_pattern(SET, "fusion.binary")
@register_pattern(SET, "fusion.select")
def broadcast_where_it_is_read(op: Any, rewriter: Any) -> object:
    """binary(expand(x), y)  =>  binary(x, y), which broadcasts by itself"""
    operands = list(op.operands)
    for i, value in enumerate(operands):
        inner = owner_of(value, "expand")
        if inner is None:
            continue
        trial = [*operands[:i], inner.operands[0], *operands[i + 1 :]]
        if broadcast_shapes(*(type_from_mlir(v.type).dims for v in trial)) == _out(op).dims:
            attrs = {k: attribute_value(op, k) for k in ("kind",) if k in op.attributes}
            replace_by_op(op, op.operation.name.removeprefix("fusion."), trial, attrs, rewriter, [inner])
            return None
    return no_match(op, "no operand is expanded to what it would be anyway")


@register_pattern(SET, "fusion.slice", benefit=2)
def keep_all_elements(op: Any, rewriter: Any) -> object:
    """slice(x)  =>  x, if it takes every element in order"""
    if op.operands[0].type != op.results[0].type or any(attribute_value(op, "starts")):
        return no_match(op, "it leaves elements out, or turns them round")
    replace_by_value(op, op.operands[0], rewriter)
    return None


@register_pattern(SET, "fusion.slice")
def slice_once(op: Any, rewriter: Any) -> object:
    """slice(slice(x))  =>  slice(x)"""
    inner = owner_of(op.operands[0], "slice")
    if inner is None:
        return no_match(op, "its operand is no slice")
    starts, steps = attribute_value(op, "starts"), attribute_value(op, "steps")
    before, by = attribute_value(inner, "starts"), attribute_value(inner, "steps")
    attrs = {
        "starts": tuple(b + s * k for b, s, k in zip(before, starts, by, strict=True)),
        "sizes": attribute_value(op, "sizes"),
        "steps": tuple(s * k for s, k in zip(steps, by, strict=True)),
    }
    replace_by_op(op, "slice", [inner.operands[0]], attrs, rewriter, [inner])
    return None


@register_pattern(SET, "fusion.slice")
def slice_the_part(op: Any, rewriter: Any) -> object:
    """slice(concat(a, b))  =>  slice(b), if it takes elements of b only"""
    inner = owner_of(op.operands[0], "concat")
    if inner is None or not _out(op).size:
        return no_match(op, "it does not slice a concatenation")
    axis, starts = attribute_value(inner, "axis"), list(attribute_value(op, "starts"))
    sizes, steps = attribute_value(op, "sizes"), attribute_value(op, "steps")
    ends = (starts[axis], starts[axis] + (sizes[axis] - 1) * steps[axis])
    offset = 0
    for part in inner.operands:
        extent = type_from_mlir(part.type).dims[axis]
        if offset <= min(ends) and max(ends) < offset + extent:
            starts[axis] -= offset
            replace_by_op(op, "slice", [part], {"starts": starts, "sizes": sizes, "steps": steps}, rewriter, [inner])
            return None
        offset += extent
    return no_match(op, "it takes elements of several parts")


@register_pattern(SET, "fusion.gather")
def slice_at_known_places(op: Any, rewriter: Any) -> object:
    """gather(x, i)  =>  reshape(slice(x)), for constant indices that are evenly spaced"""
    indices = constant_array(op.operands[1])
    x, axis = type_from_mlir(op.operands[0].type), attribute_value(op, "axis")
    if indices is None or not indices.size or constant_array(op.operands[0]) is not None:
        return no_match(op, "its indices are not known")
    size = x.dims[axis]
    flat = np.where(indices < 0, indices + size, indices).clip(0, size - 1).reshape(-1).astype(np.int64)
    step = int(flat[1] - flat[0]) if flat.size > 1 else 1
    if step == 0 or np.any(np.diff(flat) != step):
        return no_match(op, "its indices are not evenly spaced")
    attrs = {
        "starts": tuple(int(flat[0]) if i == axis else 0 for i in range(x.rank)),
        "sizes": tuple(flat.size if i == axis else d for i, d in enumerate(x.dims)),
        "steps": tuple(step if i == axis else 1 for i in range(x.rank)),
    }
    with rewriter.ip:
        part = build("slice", [op.operands[0]], attrs, onnx_nodes=onnx_nodes(op), loc=op.location)
    replace_by_op(op, "reshape", [part], {"shape": _out(op).dims}, rewriter)
    return None


@register_pattern(SET, "fusion.pad", benefit=2)
def keep_what_is_not_padded(op: Any, rewriter: Any) -> object:
    """pad(x)  =>  x, by nothing;  pad(x)  =>  slice(x), if it only crops"""
    low, high = attribute_value(op, "low"), attribute_value(op, "high")
    if any(n > 0 for n in (*low, *high)):
        return no_match(op, "it adds elements")
    if not any((*low, *high)):
        replace_by_value(op, op.operands[0], rewriter)
    else:
        attrs = {"starts": tuple(-n for n in low), "sizes": _out(op).dims, "steps": (1,) * len(low)}
        replace_by_op(op, "slice", [op.operands[0]], attrs, rewriter)
    return None


@register_pattern(SET, "fusion.conv")
def pad_where_it_is_convolved(op: Any, rewriter: Any) -> object:
    """conv(pad(x, 0))  =>  conv(x) with larger pads, if only spatial dimensions are padded"""
    inner = owner_of(op.operands[0], "pad")
    if inner is None or attribute_value(inner, "mode") != "constant" or attribute_value(inner, "value", 0.0) != 0.0:
        return no_match(op, "its input is not padded with zeros")
    low, high = attribute_value(inner, "low"), attribute_value(inner, "high")
    if any((*low[:2], *high[:2])) or any(s != 1 for s in attribute_value(op, "input_dilation")):
        return no_match(op, "its batch or channels are padded, or its input is dilated")
    attrs = {k: attribute_value(op, k) for k in ("strides", "dilations", "input_dilation", "groups")}
    more = (*low[2:], *high[2:])
    attrs["pads"] = tuple(a + b for a, b in zip(attribute_value(op, "pads"), more, strict=True))
    if any(n < 0 for n in more):
        return no_match(op, "its input is cropped")
    replace_by_op(op, "conv", [inner.operands[0], op.operands[1]], attrs, rewriter, [inner])
    return None


@register_pattern(SET, "fusion.cast", benefit=2)
def keep_the_type(op: Any, rewriter: Any) -> object:
    """cast(x)  =>  x, of the same type"""
    if op.operands[0].type != op.results[0].type:
        return no_match(op, "it changes the type")
    replace_by_value(op, op.operands[0], rewriter)
    return None


@register_pattern(SET, "fusion.cast")
def cast_once(op: Any, rewriter: Any) -> object:
    """cast(cast(x, wider), t)  =>  cast(x, t), if the first cast loses nothing"""
    inner = owner_of(op.operands[0], "cast")
    if inner is None:
        return no_match(op, "its operand is not cast")
    source, middle = (np.dtype(type_from_mlir(v.type).dtype) for v in (inner.operands[0], inner.results[0]))
    if middle.kind != source.kind or not np.can_cast(source, middle, "safe"):
        return no_match(op, "the first cast is not exact")
    replace_by_op(op, "cast", [inner.operands[0]], {"to": attribute_value(op, "to")}, rewriter, [inner])
    return None


@register_pattern(SET, "fusion.concat")
def concatenate_what_is_there(op: Any, rewriter: Any) -> object:
    """concat(x)  =>  x;  concat(x, empty, y)  =>  concat(x, y)"""
    kept = [v for v in op.operands if type_from_mlir(v.type).size]
    if len(kept) == 1:
        replace_by_value(op, kept[0], rewriter)
    elif kept and len(kept) < len(op.operands):
        replace_by_op(op, "concat", kept, {"axis": attribute_value(op, "axis")}, rewriter)
    else:
        return no_match(op, "it has several parts, none of them empty")
    return None


def _out(op: Any) -> Any:
    return type_from_mlir(op.results[0].type)
