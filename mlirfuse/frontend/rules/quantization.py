"""Quantised values as compositions: what integers stand for, computed in floating point."""

import numpy as np
import onnx
from onnx import helper

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.rules.contraction import matrix_product
from mlirfuse.frontend.rules.spatial import windows_of
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32")


def aligned(b: OpBuilder, v: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """A scale or zero point for the whole tensor, for each index of an axis, or for each block along it."""
    if v.type.size == 1:
        return b.reshape(v, ())
    if v.rank == 1:
        return b.reshape(v, [v.dims[0] if i == axis else 1 for i in range(x.rank)])
    if not block or v.rank != x.rank:
        raise InvalidNode(f"has scales {v.type} for {x.type}")
    inner = b.expand(
        b.reshape(v, (*v.dims[: axis + 1], 1, *v.dims[axis + 1 :])), (*v.dims[: axis + 1], block, *v.dims[axis + 1 :])
    )
    repeated = b.reshape(inner, (*v.dims[:axis], v.dims[axis] * block, *v.dims[axis + 1 :]))
    return b.slice(repeated, (0,) * x.rank, x.dims)


def placement(node: NodeCall, x: Tensor) -> tuple[int, int]:
    """The axis and block size of a quantisation node."""
    axis = int(node.attr("axis", 1))
    return (axis + x.rank if axis < 0 else axis), int(node.attr("block_size", 0))


@importer("DequantizeLinear")
def dequantize(b: OpBuilder, node: NodeCall) -> Tensor:
    """(x - zero point) * scale."""
    x, scale, zero = node.input(0), node.input(1), node.optional(2)
    if x.dtype not in INTEGERS:
        raise NoRule(f"reads {x.dtype}")
    axis, block = placement(node, x)
    wide = b.cast(x, "int32")
    if zero is not None:
        wide = b.binary("sub", wide, b.cast(aligned(b, zero, x, axis, block), "int32"))
    return b.binary("mul", b.cast(wide, scale.dtype), aligned(b, scale, x, axis, block))


@importer("QuantizeLinear")
def quantize(b: OpBuilder, node: NodeCall) -> Tensor:
    """clip(round(x / scale) + zero point)."""
    x, scale, zero = node.input(0), node.input(1), node.optional(2)
    code = int(node.attr("output_dtype", 0)) or onnx.TensorProto.UINT8
    dtype = zero.dtype if zero is not None else helper.tensor_dtype_to_np_dtype(code).name
    if dtype not in INTEGERS or dtype == "int32" or not x.floating:
        raise NoRule(f"turns {x.dtype} into {dtype}")
    axis, block = placement(node, x)
    scaled = b.binary("div", b.cast(x, scale.dtype), aligned(b, scale, x, axis, block))
    return quantized(b, scaled, None if zero is None else aligned(b, zero, x, axis, block), dtype)


def quantized(b: OpBuilder, scaled: Tensor, zero: Tensor | None, dtype: str) -> Tensor:
    """Round to even, shift, saturate."""
    y = b.unary("round", b.cast(scaled, "float32"))
    if zero is not None:
        y = b.binary("add", y, b.cast(zero, "float32"))
    limits = np.iinfo(dtype)
    return b.cast(b.unary("clip", y, alpha=float(limits.min), beta=float(limits.max)), dtype)


def centred(b: OpBuilder, x: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """x - zero point in int32; a zero point for each index lies along `axis`."""
    wide = b.cast(x, "int32")
    if zero is None:
        return wide
    zero = b.reshape(zero, ()) if zero.type.size == 1 else zero
    if zero.rank == 1:
        zero = b.reshape(zero, [zero.dims[0] if i == axis % x.rank else 1 for i in range(x.rank)])
    return b.binary("sub", wide, b.cast(zero, "int32"))


@importer("MatMulInteger")
def matmul_integer(b: OpBuilder, node: NodeCall) -> Tensor:
    """(a - zero point) (b - zero point) in int32."""
    x, y = node.input(0), node.input(1)
    return matrix_product(b, centred(b, x, node.optional(2), -2), centred(b, y, node.optional(3), -1))


@importer("QLinearMatMul")
def qlinear_matmul(b: OpBuilder, node: NodeCall) -> Tensor:
    """An integer product, scaled and quantised again."""
    x, x_scale, x_zero, y, y_scale, y_zero, out_scale, out_zero = (node.input(i) for i in range(8))
    product = matrix_product(b, centred(b, x, x_zero, -2), centred(b, y, y_zero, -1))
    return requantized(b, product, scalar_ratio(b, x_scale, y_scale, out_scale), out_zero)


def scalar_ratio(b: OpBuilder, left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """What one unit of an integer product is worth in units of the result."""
    scales = [b.cast(b.reshape(s, ()) if s.type.size == 1 else s, "float32") for s in (left, right, out)]
    if any(s.rank for s in scales):
        raise NoRule("has scales for each row or column")
    return b.binary("div", b.binary("mul", scales[0], scales[1]), scales[2])


def requantized(b: OpBuilder, product: Tensor, ratio: Tensor, zero: Tensor) -> Tensor:
    """An int32 product in the units of the result."""
    return quantized(b, b.binary("mul", b.cast(product, "float32"), ratio), b.reshape(zero, ()), zero.dtype)


def integer_conv(b: OpBuilder, node: NodeCall, x: Tensor, weight: Tensor) -> Tensor:
    """A convolution of int32 values."""
    w = windows_of(node, x.dims[2:], tuple(node.attr("kernel_shape", weight.dims[2:])))
    return b.op(
        "conv",
        [x, weight],
        strides=w.strides,
        pads=w.pads,
        dilations=w.dilations,
        input_dilation=(1,) * len(w.kernel),
        groups=int(node.attr("group", 1)),
    )


@importer("ConvInteger")
def conv_integer(b: OpBuilder, node: NodeCall) -> Tensor:
    """A convolution of values less their zero points; padding is the zero point."""
    x, weight = node.input(0), node.input(1)
    return integer_conv(b, node, centred(b, x, node.optional(2), 1), centred(b, weight, node.optional(3), 0))


@importer("QLinearConv")
def qlinear_conv(b: OpBuilder, node: NodeCall) -> Tensor:
    """An integer convolution, scaled for each output channel and quantised again."""
    x, x_scale, x_zero, weight, w_scale, w_zero, out_scale, out_zero = (node.input(i) for i in range(8))
    y = integer_conv(b, node, centred(b, x, x_zero, 1), centred(b, weight, w_zero, 0))
    channels = (1, y.dims[1], *(1,) * (y.rank - 2))
    if (bias := node.optional(8)) is not None:
        y = b.binary("add", y, b.reshape(bias, channels))
    scale = b.reshape(w_scale, () if w_scale.type.size == 1 else channels)
    ratio = b.binary("div", b.binary("mul", b.reshape(x_scale, ()), scale), b.reshape(out_scale, ()))
    return requantized(b, y, ratio, out_zero)
