"""Data movement: the result's elements are operand elements at other places.

Inside a group these vanish into index arithmetic; their `indexing` is all that they are.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlirfuse.dialect.core import FusionOp, MappingType, broadcast_access, broadcast_shapes
from mlirfuse.dialect.indexing import Condition, Expr, delinearize, fetch, linearize, maximum, minimum
from mlirfuse.dialect.mixed import mixed_types
from mlirfuse.dialect.node import Access, Indexing, Node, TensorType, out_variables
from mlirfuse.mlir import ext, ir

__all__ = ["ConcatOp", "ExpandOp", "GatherOp", "PadOp", "ReshapeOp", "SliceOp", "TransposeOp"]

Tensor = ext.Operand[Any]
PAD_MODES = ("constant", "edge", "reflect", "wrap")


class ReshapeOp(FusionOp, name="reshape"):
    """The same elements in row-major order under another `shape`."""

    x: Tensor
    shape: ir.DenseI64ArrayAttr
    result: ext.Result[Any]
    mapping_type = MappingType.REORGANIZE

    @staticmethod
    def complaint(node: Node) -> str | None:
        x, shape = node.inputs[0], tuple(node.attrs["shape"])
        return (
            None
            if x.size == math.prod(shape)
            else f"cannot give {x} the shape {shape}: {x.size} elements against {math.prod(shape)}"
        )

    @staticmethod
    def infer(node: Node) -> TensorType:
        return TensorType(tuple(node.attrs["shape"]), node.inputs[0].dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        out = out_variables(node.out.dims)
        return Indexing(out, (), (Access(delinearize(linearize(out, node.out.dims), node.inputs[0].dims)),))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        return arrays[0].reshape(node.attrs["shape"])


class TransposeOp(FusionOp, name="transpose"):
    """result[i_0, ..., i_n] has axis k from operand axis `perm`[k]."""

    x: Tensor
    perm: ir.DenseI64ArrayAttr
    result: ext.Result[Any]
    mapping_type = MappingType.SHUFFLE

    @staticmethod
    def complaint(node: Node) -> str | None:
        perm = tuple(node.attrs["perm"])
        return (
            None
            if sorted(perm) == list(range(node.inputs[0].rank))
            else f"perm {perm} is no permutation of the axes of {node.inputs[0]}"
        )

    @staticmethod
    def infer(node: Node) -> TensorType:
        return TensorType(tuple(node.inputs[0].shape[p] for p in node.attrs["perm"]), node.inputs[0].dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        out = out_variables(node.out.dims)
        index: list[Expr] = [Expr(0)] * len(out)
        for axis, source in enumerate(node.attrs["perm"]):
            index[source] = out[axis]
        return Indexing(out, (), (Access(tuple(index)),))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        return np.asarray(arrays[0].transpose(node.attrs["perm"]), order="C")


class SliceOp(FusionOp, name="slice"):
    """result[i] = x[starts + i * steps], `sizes` elements along each axis; steps may be negative."""

    x: Tensor
    starts: ir.DenseI64ArrayAttr
    sizes: ir.DenseI64ArrayAttr
    steps: ir.DenseI64ArrayAttr
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_ONE

    @staticmethod
    def complaint(node: Node) -> str | None:
        a = node.attrs
        for axis, (dim, start, size, step) in enumerate(
            zip(node.inputs[0].dims, a["starts"], a["sizes"], a["steps"], strict=True)
        ):
            last = start + (size - 1) * step
            if size and not (0 <= start < dim and 0 <= last < dim):
                return f"reads {start}..{last} on axis {axis} of {node.inputs[0]}"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        return TensorType(tuple(node.attrs["sizes"]), node.inputs[0].dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        out = out_variables(node.out.dims)
        index = tuple(
            e * step + start for e, start, step in zip(out, node.attrs["starts"], node.attrs["steps"], strict=True)
        )
        return Indexing(out, (), (Access(index),))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        a = node.attrs
        for axis, (start, size, step) in enumerate(zip(a["starts"], a["sizes"], a["steps"], strict=True)):
            arrays = (np.take(arrays[0], start + np.arange(size) * step, axis=axis),)
        return arrays[0]


@mixed_types
class ConcatOp(FusionOp, name="concat"):
    """The operands one after the other along `axis`."""

    xs: Sequence[Tensor]
    axis: ir.IntegerAttr
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_ONE

    @staticmethod
    def complaint(node: Node) -> str | None:
        axis = node.attrs["axis"]
        rest = {(t.dtype, t.shape[:axis], t.shape[axis + 1 :]) for t in node.inputs}
        return (
            None
            if len(rest) == 1
            else f"needs operands that agree but for axis {axis}, not {', '.join(map(str, node.inputs))}"
        )

    @staticmethod
    def infer(node: Node) -> TensorType:
        axis, first = node.attrs["axis"], node.inputs[0]
        total = sum(t.dims[axis] for t in node.inputs)
        return TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        """Every operand is read where its own condition holds; exactly one does."""
        axis, out, accesses, start = node.attrs["axis"], out_variables(node.out.dims), [], 0
        for tensor in node.inputs:
            size = tensor.dims[axis]
            inside = Condition(out[axis], start, start + size - 1)
            index = (*out[:axis], out[axis] - start, *out[axis + 1 :])
            accesses.append(Access(index, () if inside.always else (inside,)))
            start += size
        return Indexing(out, (), tuple(accesses))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        return np.concatenate(arrays, axis=node.attrs["axis"])


class PadOp(FusionOp, name="pad"):
    """`low` elements before and `high` after each axis (negative: cropped); mode constant, edge, reflect or wrap."""

    x: Tensor
    low: ir.DenseI64ArrayAttr
    high: ir.DenseI64ArrayAttr
    mode: ir.StringAttr
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_ONE

    @staticmethod
    def complaint(node: Node) -> str | None:
        if node.attrs["mode"] not in PAD_MODES:
            return f"has no mode '{node.attrs['mode']}'; known: {', '.join(PAD_MODES)}"
        if node.attrs["mode"] != "constant" and min((*node.attrs["low"], *node.attrs["high"]), default=0) < 0:
            return f"crops only in mode constant, not {node.attrs['mode']}: slice first"
        if node.attrs["mode"] == "reflect":
            for axis, (size, low, high) in enumerate(
                zip(node.inputs[0].dims, node.attrs["low"], node.attrs["high"], strict=True)
            ):
                if max(low, high) >= size:
                    return f"reflects {max(low, high)} elements on axis {axis} of {node.inputs[0]}, which has fewer"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        sizes = zip(node.inputs[0].dims, node.attrs["low"], node.attrs["high"], strict=True)
        return TensorType(tuple(d + lo + hi for d, lo, hi in sizes), node.inputs[0].dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        out, index, conditions = out_variables(node.out.dims), [], []
        for e, size, low in zip(out, node.inputs[0].dims, node.attrs["low"], strict=True):
            i = e - low
            inside = Condition(i, 0, size - 1)
            if inside.always:
                pass
            elif node.attrs["mode"] == "constant":
                conditions.append(inside)
            elif node.attrs["mode"] == "edge":
                i = maximum(minimum(i, size - 1), 0)
            elif node.attrs["mode"] == "wrap":
                i = i % size
            else:
                i = maximum(i, -i)
                i = minimum(i, 2 * (size - 1) - i)
            index.append(i)
        return Indexing(out, (), (Access(tuple(index), tuple(conditions), float(node.get("value", 0.0))),))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        x, mode = arrays[0], node.attrs["mode"]
        low, high = node.attrs["low"], node.attrs["high"]
        x = x[tuple(slice(max(0, -lo), d - max(0, -hi)) for d, lo, hi in zip(x.shape, low, high, strict=True))]
        widths = [(max(0, lo), max(0, hi)) for lo, hi in zip(low, high, strict=True)]
        extra = {"constant_values": node.get("value", 0.0)} if mode == "constant" else {}
        return np.pad(x, widths, mode=mode, **extra)


class ExpandOp(FusionOp, name="expand"):
    """Broadcast to `shape` by NumPy's rules."""

    x: Tensor
    shape: ir.DenseI64ArrayAttr
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_MANY

    @staticmethod
    def infer(node: Node) -> TensorType:
        return TensorType(broadcast_shapes(node.inputs[0].dims, tuple(node.attrs["shape"])), node.inputs[0].dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        out = out_variables(node.out.dims)
        return Indexing(out, (), (broadcast_access(node.inputs[0].dims, out),))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        return np.array(np.broadcast_to(arrays[0], node.out.dims), order="C")


class GatherOp(FusionOp, name="gather"):
    """result[..., j..., ...] = x[..., indices[j...], ...] along `axis`; negative indices count from the end.

    An index outside the axis is undefined by ONNX; it is clamped here, so that nothing is read out of bounds.
    """

    x: Tensor
    indices: Tensor
    axis: ir.IntegerAttr
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_MANY

    @staticmethod
    def complaint(node: Node) -> str | None:
        return (
            None
            if node.inputs[1].dtype in ("int32", "int64")
            else f"needs int32 or int64 indices, not {node.inputs[1]}"
        )

    @staticmethod
    def infer(node: Node) -> TensorType:
        x, indices = node.inputs
        axis = node.attrs["axis"]
        return TensorType((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        x, indices = node.inputs
        axis, out = node.attrs["axis"], out_variables(node.out.dims)
        where = out[axis : axis + indices.rank]
        index = (*out[:axis], fetch(1, where, x.dims[axis]), *out[axis + indices.rank :])
        return Indexing(out, (), (Access(index), Access(where)))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        x, indices = arrays
        size = x.shape[node.attrs["axis"]]
        index = np.where(indices < 0, indices + size, indices).clip(0, size - 1)
        return np.take(x, index, axis=node.attrs["axis"])
