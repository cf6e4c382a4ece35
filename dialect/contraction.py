"""Contractions: convolution of any rank and the sum of products over named dimensions."""

import itertools
import math
from typing import Any

import numpy as np

from mlirfuse.dialect.core import FusionOp, MappingType, elements
from mlirfuse.dialect.indexing import Condition, Expr, var
from mlirfuse.dialect.node import Access, Indexing, Node, TensorType, out_variables
from mlirfuse.mlir import ext, ir

__all__ = ["ContractOp", "ConvOp"]

Tensor = ext.Operand[Any]


def dilated(size: int, dilation: int) -> int:
    """The extent of `size` elements that are `dilation` apart."""
    return (size - 1) * dilation + 1


class ConvOp(FusionOp, name="conv"):
    """Cross-correlation of any spatial rank.

    `x` is [N, C, *spatial], `weight` is [M, C / groups, *kernel]; `pads` are all the low ends, then all the high
    ends (importers resolve auto_pad). `input_dilation` puts that many steps between neighbours of x: with a
    flipped weight, this is the transposed convolution. A bias is a `binary` add beside it.
    """

    x: Tensor
    weight: Tensor
    strides: ir.DenseI64ArrayAttr
    pads: ir.DenseI64ArrayAttr
    dilations: ir.DenseI64ArrayAttr
    input_dilation: ir.DenseI64ArrayAttr
    groups: ir.IntegerAttr
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    @staticmethod
    def complaint(node: Node) -> str | None:
        x, w = node.inputs
        groups, rank = node.attrs["groups"], x.rank - 2
        if x.rank < 3 or w.rank != x.rank:
            return f"needs x [N, C, *spatial] and a weight of the same rank, not {x} and {w}"
        if (
            any(len(node.attrs[a]) != rank for a in ("strides", "dilations", "input_dilation"))
            or len(node.attrs["pads"]) != 2 * rank
        ):
            return f"needs {rank} strides, dilations and input_dilation and {2 * rank} pads"
        if x.dims[1] != w.dims[1] * groups:
            return f"expects {w.dims[1] * groups} input channels ({w.dims[1]} in each of {groups} groups), but x is {x}"
        if w.dims[0] % groups:
            return f"cannot split {w.dims[0]} output channels into {groups} groups"
        if any(d < 0 for d in ConvOp.infer(node).dims):
            return f"has a kernel larger than its padded input {x}"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        x, w = node.inputs
        a, rank = node.attrs, x.rank - 2
        spatial = tuple(
            (
                dilated(x.dims[2 + i], a["input_dilation"][i])
                + a["pads"][i]
                + a["pads"][rank + i]
                - dilated(w.dims[2 + i], a["dilations"][i])
            )
            // a["strides"][i]
            + 1
            for i in range(rank)
        )
        return TensorType((x.shape[0], w.shape[0], *spatial), x.dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        x, w = node.inputs
        a, out = node.attrs, out_variables(node.out.dims)
        depth = w.dims[1]
        channel = var("c", depth)
        kernel = tuple(var(f"k{i}", size) for i, size in enumerate(w.dims[2:]))
        group = out[1] // (w.dims[0] // a["groups"])
        index, conditions = [out[0], group * depth + channel], []
        for i, tap in enumerate(kernel):
            position = out[2 + i] * a["strides"][i] + tap * a["dilations"][i] - a["pads"][i]
            step = a["input_dilation"][i]
            on_grid = Condition(position % step, 0, 0)
            inside = Condition(position // step, 0, x.dims[2 + i] - 1)
            conditions += [c for c in (on_grid, inside) if not c.always]
            index.append(position // step)
        return Indexing(
            out, (channel, *kernel), (Access(tuple(index), tuple(conditions)), Access((out[1], channel, *kernel)))
        )

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        x, w = arrays
        a, rank, out = node.attrs, x.ndim - 2, ConvOp.infer(node).dims
        spread = np.zeros(
            (*x.shape[:2], *(dilated(d, s) for d, s in zip(x.shape[2:], a["input_dilation"], strict=True))), np.float64
        )
        spread[(slice(None), slice(None), *(slice(None, None, s) for s in a["input_dilation"]))] = x
        low, high = a["pads"][:rank], a["pads"][rank:]
        crop = tuple(slice(max(0, -lo), d - max(0, -hi)) for d, lo, hi in zip(spread.shape[2:], low, high, strict=True))
        widths = [(0, 0), (0, 0), *((max(0, lo), max(0, hi)) for lo, hi in zip(low, high, strict=True))]
        padded = np.pad(spread[(slice(None), slice(None), *crop)], widths)
        groups = a["groups"]
        padded = padded.reshape(x.shape[0], groups, w.shape[1], *padded.shape[2:])
        weight = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).astype(np.float64)
        result = np.zeros((x.shape[0], groups, w.shape[0] // groups, math.prod(out[2:])), np.float64)
        for tap in itertools.product(*(range(k) for k in w.shape[2:])):
            starts = [t * d for t, d in zip(tap, a["dilations"], strict=True)]
            window = tuple(
                slice(s, s + (o - 1) * t + 1, t) for s, o, t in zip(starts, out[2:], a["strides"], strict=True)
            )
            patch = padded[(slice(None), slice(None), slice(None), *window)].reshape(x.shape[0], groups, w.shape[1], -1)
            result += np.einsum(
                "ngcp,gmc->ngmp", patch, weight[(slice(None), slice(None), slice(None), *tap)], optimize=True
            )
        return result.reshape(out).astype(x.dtype)

    @staticmethod
    def flops(node: Node) -> int:
        return 2 * elements(node) * math.prod(node.inputs[1].dims[1:])


class ContractOp(FusionOp, name="contract"):
    """Sum of products over named dimensions: `equation` "bmk,bkn->bmn" is a batched matrix product.

    One letter per dimension, none repeated within an operand; letters that the result lacks are summed. A dimension of
    size 1 broadcasts against the other operand's.
    """

    a: Tensor
    b: Tensor
    equation: ir.StringAttr
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    @staticmethod
    def terms(node: Node) -> tuple[str, str, str, dict[str, int]]:
        """The letters of a, b and the result, and the size of each letter."""
        operands, result = node.attrs["equation"].split("->")
        a, b = operands.split(",")
        sizes: dict[str, int] = {}
        for letters, tensor in ((a, node.inputs[0]), (b, node.inputs[1])):
            for letter, size in zip(letters, tensor.dims, strict=True):
                sizes[letter] = max(size, sizes.get(letter, 1))
        return a, b, result, sizes

    @staticmethod
    def complaint(node: Node) -> str | None:
        equation = node.attrs["equation"]
        if equation.count("->") != 1 or equation.split("->")[0].count(",") != 1:
            return f"needs an equation such as 'mk,kn->mn', not '{equation}'"
        operands, result = equation.split("->")
        for letters, tensor in zip(operands.split(","), node.inputs, strict=True):
            if len(letters) != tensor.rank or len(set(letters)) != len(letters):
                return f"'{letters}' in '{equation}' does not name the dimensions of {tensor} once each"
        if not set(result) <= set(operands):
            return f"the result of '{equation}' has a dimension that no operand has"
        _, _, _, sizes = ContractOp.terms(node)
        for letters, tensor in zip(operands.split(","), node.inputs, strict=True):
            for letter, size in zip(letters, tensor.dims, strict=True):
                if size not in (1, sizes[letter]):
                    return f"dimension '{letter}' of '{equation}' is {size} in {tensor}, {sizes[letter]} in the other"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        _, _, result, sizes = ContractOp.terms(node)
        return TensorType(tuple(sizes[letter] for letter in result), node.inputs[0].dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        a, b, result, sizes = ContractOp.terms(node)
        out = out_variables(node.out.dims)
        summed = tuple(dict.fromkeys(letter for letter in a + b if letter not in result))
        where: dict[str, Expr] = dict(zip(result, out, strict=True)) | {s: var(s, sizes[s]) for s in summed}
        accesses = (
            Access(
                tuple(
                    Expr(0) if size == 1 else where[letter] for letter, size in zip(letters, tensor.dims, strict=True)
                )
            )
            for letters, tensor in ((a, node.inputs[0]), (b, node.inputs[1]))
        )
        return Indexing(out, tuple(where[s] for s in summed), tuple(accesses))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        a, b, _, sizes = ContractOp.terms(node)
        expanded = [
            np.broadcast_to(x.astype(np.float64), [sizes[s] for s in letters])
            for letters, x in zip((a, b), arrays, strict=True)
        ]
        return np.einsum(node.attrs["equation"], *expanded, optimize=True).astype(node.out.dtype)

    @staticmethod
    def flops(node: Node) -> int:
        _, _, _, sizes = ContractOp.terms(node)
        return 2 * math.prod(sizes.values())
