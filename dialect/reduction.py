"""Reductions: whole axes, sliding windows, and the row operations softmax and normalisation."""

import itertools
import math
from typing import Any

import numpy as np

from mlirfuse.dialect.contraction import dilated
from mlirfuse.dialect.core import FusionOp, MappingType, elements, like_operand
from mlirfuse.dialect.indexing import Condition, Expr, var
from mlirfuse.dialect.node import Access, Indexing, Node, TensorType, out_variables
from mlirfuse.mlir import ext, ir

__all__ = ["NormalizeOp", "ReduceOp", "SoftmaxOp", "WindowOp"]

Tensor = ext.Operand[Any]
REDUCTIONS = ("sum", "mean", "max", "min", "prod", "argmax", "argmin")
WINDOWS = ("max", "sum", "mean", "argmax")


class ReduceOp(FusionOp, name="reduce"):
    """Reduce `axes` (sorted, not empty) by `kind`: sum, mean, max, min, prod, argmax or argmin.

    Reduced axes stay with size 1 if `keepdims`. Arg-reductions take one axis and give int64, the first of equals (the
    last, with `select_last`).
    """

    x: Tensor
    kind: ir.StringAttr
    axes: ir.DenseI64ArrayAttr
    keepdims: Any
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    @staticmethod
    def complaint(node: Node) -> str | None:
        if node.attrs["kind"] not in REDUCTIONS:
            return f"has no kind '{node.attrs['kind']}'; known: {', '.join(REDUCTIONS)}"
        axes = node.attrs["axes"]
        if not axes or list(axes) != sorted(set(axes)) or not 0 <= axes[0] <= axes[-1] < node.inputs[0].rank:
            return f"needs sorted, distinct axes of {node.inputs[0]}, not {tuple(axes)}"
        if node.attrs["kind"].startswith("arg") and len(axes) != 1:
            return "takes one axis for argmax and argmin"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        x, axes = node.inputs[0], node.attrs["axes"]
        if node.attrs["keepdims"]:
            shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
        else:
            shape = tuple(d for i, d in enumerate(x.shape) if i not in axes)
        return TensorType(shape, "int64" if node.attrs["kind"].startswith("arg") else x.dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        x, axes = node.inputs[0], node.attrs["axes"]
        out = out_variables(node.out.dims)
        kept = iter(e for i, e in enumerate(out) if not (node.attrs["keepdims"] and i in axes))
        summed = tuple(var(f"r{i}", x.dims[i]) for i in axes)
        inner = iter(summed)
        index = tuple(next(inner) if i in axes else next(kept) for i in range(x.rank))
        return Indexing(out, summed, (Access(index),))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        x, kind = arrays[0], node.attrs["kind"]
        axes, keep = tuple(node.attrs["axes"]), node.attrs["keepdims"]
        if kind.startswith("arg"):
            find = np.argmax if kind == "argmax" else np.argmin
            if node.get("select_last", False):
                index = x.shape[axes[0]] - 1 - find(np.flip(x, axes[0]), axis=axes[0])
            else:
                index = find(x, axis=axes[0])
            return (np.expand_dims(index, axes[0]) if keep else index).astype(np.int64)
        wide = x.astype(np.float64) if x.dtype.kind == "f" else x
        return getattr(np, kind)(wide, axis=axes, keepdims=keep).astype(x.dtype)

    @staticmethod
    def flops(node: Node) -> int:
        return node.inputs[0].size


class WindowOp(FusionOp, name="window"):
    """Reduce a sliding window by `kind` (max, sum, mean, argmax) over `axes`: pooling, and LRN's sum over channels.

    `kernel`, `strides`, `dilations` have one entry for each of `axes`, `pads` two (all low ends, then all high ends).
    The result's extent is `sizes` (ceil_mode lets the last window leave the padded input). A mean divides by the
    window's positions inside the input, or inside the padded input with `count_include_pad`. An argmax is the
    row-major position (int64) of the first maximum among the input's extents along `axes`.
    """

    x: Tensor
    kind: ir.StringAttr
    axes: ir.DenseI64ArrayAttr
    kernel: ir.DenseI64ArrayAttr
    strides: ir.DenseI64ArrayAttr
    dilations: ir.DenseI64ArrayAttr
    pads: ir.DenseI64ArrayAttr
    sizes: ir.DenseI64ArrayAttr
    count_include_pad: Any
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    @staticmethod
    def complaint(node: Node) -> str | None:
        if node.attrs["kind"] not in WINDOWS:
            return f"has no kind '{node.attrs['kind']}'; known: {', '.join(WINDOWS)}"
        rank = len(node.attrs["axes"])
        if (
            any(len(node.attrs[a]) != rank for a in ("kernel", "strides", "dilations", "sizes"))
            or len(node.attrs["pads"]) != 2 * rank
        ):
            return f"needs {rank} of kernel, strides, dilations and sizes and {2 * rank} pads"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        shape = list(node.inputs[0].shape)
        for axis, size in zip(node.attrs["axes"], node.attrs["sizes"], strict=True):
            shape[axis] = size
        return TensorType(tuple(shape), "int64" if node.attrs["kind"] == "argmax" else node.inputs[0].dtype)

    @staticmethod
    def taps(node: Node) -> tuple[tuple[Expr, ...], tuple[Expr, ...], tuple[Expr, ...]]:
        """Result variables, window variables, and the operand position along each of `axes`."""
        a, out = node.attrs, out_variables(node.out.dims)
        window = tuple(var(f"k{i}", size) for i, size in enumerate(a["kernel"]))
        positions = tuple(
            out[axis] * a["strides"][i] + window[i] * a["dilations"][i] - a["pads"][i]
            for i, axis in enumerate(a["axes"])
        )
        return out, window, positions

    @staticmethod
    def indexing(node: Node) -> Indexing:
        x, a = node.inputs[0], node.attrs
        out, window, positions = WindowOp.taps(node)
        index, conditions = list(out), []
        for axis, position in zip(a["axes"], positions, strict=True):
            inside = Condition(position, 0, x.dims[axis] - 1)
            index[axis] = position
            if not inside.always:
                conditions.append(inside)
        fill = -math.inf if a["kind"] in ("max", "argmax") else 0.0
        return Indexing(out, window, (Access(tuple(index), tuple(conditions), fill),))

    @staticmethod
    def counts(node: Node) -> tuple[tuple[int, ...], ...]:
        """Along each of `axes`, how many positions of the window at each place count for a mean."""
        a, x, rank = node.attrs, node.inputs[0], len(node.attrs["axes"])
        counts = []
        for i, axis in enumerate(a["axes"]):
            low, high = (a["pads"][i], a["pads"][rank + i]) if a["count_include_pad"] else (0, 0)
            counts.append(
                tuple(
                    sum(
                        -low <= o * a["strides"][i] + k * a["dilations"][i] - a["pads"][i] < x.dims[axis] + high
                        for k in range(a["kernel"][i])
                    )
                    for o in range(a["sizes"][i])
                )
            )
        return tuple(counts)

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        x, a = arrays[0], node.attrs
        fill = -math.inf if a["kind"] in ("max", "argmax") else 0.0
        if x.dtype.kind in "iu" and fill:
            fill = np.iinfo(x.dtype).min
        widths, rank = [(0, 0)] * x.ndim, len(a["axes"])
        for i, axis in enumerate(a["axes"]):
            reach = (a["sizes"][i] - 1) * a["strides"][i] + dilated(a["kernel"][i], a["dilations"][i])
            widths[axis] = (a["pads"][i], max(0, reach - x.shape[axis] - a["pads"][i]))
        padded = np.pad(x.astype(np.float64) if x.dtype.kind == "f" else x, widths, constant_values=fill)
        if a["kind"] == "argmax":
            return _first_maximum(node, padded, widths)
        result = None
        for tap in itertools.product(*(range(k) for k in a["kernel"])):
            where = [slice(None)] * x.ndim
            for i, axis in enumerate(a["axes"]):
                start = tap[i] * a["dilations"][i]
                where[axis] = slice(start, start + (a["sizes"][i] - 1) * a["strides"][i] + 1, a["strides"][i])
            part = padded[tuple(where)]
            result = part if result is None else (np.maximum(result, part) if a["kind"] == "max" else result + part)
        assert result is not None
        if a["kind"] == "mean":
            for axis, counts in zip(a["axes"], WindowOp.counts(node), strict=True):
                shape = [1] * x.ndim
                shape[axis] = len(counts)
                result = result / np.maximum(np.asarray(counts, np.float64), 1).reshape(shape)
        del rank
        return result.astype(x.dtype)

    @staticmethod
    def flops(node: Node) -> int:
        return elements(node) * math.prod(node.attrs["kernel"])


def _first_maximum(node: Node, padded: Any, widths: Any) -> Any:
    """The position of each window's first maximum, of `padded` values with `widths` of padding."""
    a, x = node.attrs, node.inputs[0]
    extents = [x.dims[axis] for axis in a["axes"]]
    best, found = None, None
    for tap in itertools.product(*(range(k) for k in a["kernel"])):
        where = [slice(None)] * x.rank
        position, inside = np.zeros((1,) * x.rank, np.int64), np.ones((1,) * x.rank, bool)
        for i, axis in enumerate(a["axes"]):
            start = tap[i] * a["dilations"][i]
            where[axis] = slice(start, start + (a["sizes"][i] - 1) * a["strides"][i] + 1, a["strides"][i])
            line = np.arange(a["sizes"][i]) * a["strides"][i] + start - widths[axis][0]
            line = line.reshape([-1 if d == axis else 1 for d in range(x.rank)])
            position, inside = position * extents[i] + line, inside & (line >= 0) & (line < extents[i])
        part = padded[tuple(where)]
        if best is None or found is None:
            best, found = part, np.where(inside, position, -1) + np.zeros(part.shape, np.int64)
            continue
        wins = inside & ((part > best) | (found < 0))
        best, found = np.where(wins, part, best), np.where(wins, position, found)
    assert found is not None
    return np.maximum(found, 0)


def _row_indexing(node: Node) -> Indexing:
    """A result element needs its whole row: the operand along all of `axes`."""
    x, axes = node.inputs[0], node.attrs["axes"]
    out = out_variables(node.out.dims)
    row = {axis: var(f"r{axis}", x.dims[axis]) for axis in axes}
    return Indexing(out, tuple(row.values()), (Access(tuple(row.get(i, e) for i, e in enumerate(out))),))


class SoftmaxOp(FusionOp, name="softmax"):
    """exp(x - max) / sum(exp(x - max)) over `axes`, or its logarithm with `log`.

    One kernel from one reading of each row (memory-efficient CNNs, section V.B).
    """

    x: Tensor
    axes: ir.DenseI64ArrayAttr
    log: Any
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    infer = staticmethod(like_operand)

    indexing = staticmethod(_row_indexing)

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        x, axes = arrays[0].astype(np.float64), tuple(node.attrs["axes"])
        with np.errstate(all="ignore"):  # a row of -inf has no softmax
            shifted = x - x.max(axis=axes, keepdims=True)
            total = np.exp(shifted).sum(axis=axes, keepdims=True)
            return (shifted - np.log(total) if node.attrs["log"] else np.exp(shifted) / total).astype(arrays[0].dtype)

    @staticmethod
    def flops(node: Node) -> int:
        return 5 * elements(node)


class NormalizeOp(FusionOp, name="normalize"):
    """(x - mean) / sqrt(variance + epsilon) over `axes`: the normalisations before their scale and shift.

    With `centred` false (it is true where absent), x / sqrt(mean(x ** 2) + epsilon): the root mean square norm.
    """

    x: Tensor
    axes: ir.DenseI64ArrayAttr
    epsilon: ir.FloatAttr
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    infer = staticmethod(like_operand)

    indexing = staticmethod(_row_indexing)

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        x, axes = arrays[0].astype(np.float64), tuple(node.attrs["axes"])
        centred = x - x.mean(axis=axes, keepdims=True) if node.get("centred", True) else x
        return (centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + node.attrs["epsilon"])).astype(
            arrays[0].dtype
        )

    @staticmethod
    def flops(node: Node) -> int:
        return (6 if node.get("centred", True) else 4) * elements(node)
