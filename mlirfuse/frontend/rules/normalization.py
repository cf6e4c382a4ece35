"""Normalisations as compositions of normalize, reduce and element-wise ops."""

from collections.abc import Sequence

import numpy as np

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.rules.pooling import power
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []


def per_channel(b: OpBuilder, v: Tensor, rank: int) -> Tensor:
    """[C] (or [C, ...] of a batch norm that is not spatial) aligned with axis 1."""
    return b.reshape(v, (1, *v.dims, *(1,) * (rank - 1 - v.rank)))


def affine(b: OpBuilder, x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    """x * scale + shift."""
    y = x if scale is None else b.binary("mul", x, scale)
    return y if shift is None else b.binary("add", y, shift)


@importer("BatchNormalization")
def batch_normalization(b: OpBuilder, node: NodeCall) -> Tensor:
    """x * s + t with s = scale / sqrt(variance + epsilon), t = bias - mean * s; constants where the statistics are."""
    x, scale, bias, mean, variance = (node.input(i) for i in range(5))
    if node.attr("training_mode", 0) or any(node.used[1:]):
        raise NoRule("is in training mode: it computes statistics of the batch")
    if any(v.dims != x.dims[1 : 1 + v.rank] or not v.rank for v in (scale, bias, mean, variance)):
        raise InvalidNode(
            f"has statistics {scale.type}, {bias.type}, {mean.type}, {variance.type} "
            f"that do not fit the channels of {x.type}"
        )
    epsilon = float(node.attr("epsilon", 1e-5))
    if all(v.known for v in (scale, bias, mean, variance)):
        wide = [np.asarray(v.array, np.float64) for v in (scale, bias, mean, variance)]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # not a number or infinite, as when run
            factor = wide[0] / np.sqrt(wide[3] + epsilon)
        s, t = b.constant(factor, x.dtype), b.constant(wide[1] - wide[2] * factor, x.dtype)
    else:
        s = b.binary("div", scale, b.unary("sqrt", b.binary("add", b.cast(variance, scale.dtype), epsilon)))
        t = b.cast(b.binary("sub", bias, b.binary("mul", b.cast(mean, scale.dtype), s)), x.dtype)
        s = b.cast(s, x.dtype)
    return affine(b, x, per_channel(b, s, x.rank), per_channel(b, t, x.rank))


@importer("LRN")
def local_response(b: OpBuilder, node: NodeCall) -> Tensor:
    """x / (bias + alpha / size * sum of squares over neighbouring channels) ** beta."""
    x, size = node.input(), int(node.attr("size", 1))
    total = b.op(
        "window",
        [b.unary("square", x)],
        kind="sum",
        axes=(1,),
        kernel=(size,),
        strides=(1,),
        dilations=(1,),
        pads=((size - 1) // 2, size // 2),
        sizes=(x.dims[1],),
        count_include_pad=False,
    )
    base = affine(
        b, total, b.constant(node.attr("alpha", 1e-4) / size, x.dtype), b.constant(node.attr("bias", 1.0), x.dtype)
    )
    return b.binary("div", x, power(b, base, float(node.attr("beta", 0.75))))


def normalize(b: OpBuilder, x: Tensor, axes: Sequence[int], epsilon: float) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) over `axes`."""
    return b.op("normalize", [x], axes=tuple(axes), epsilon=float(epsilon))


@importer("LayerNormalization")
def layer_normalization(b: OpBuilder, node: NodeCall) -> list[Tensor]:
    """Over the last axes, then scale and bias; mean and inverse deviation only where they are read."""
    x, epsilon = node.input(), float(node.attr("epsilon", 1e-5))
    axes = range(node.axis(-1, x.rank), x.rank)
    results = [affine(b, normalize(b, x, axes, epsilon), node.input(1), node.optional(2))]
    if any(node.used[1:]):
        mean = b.reduce("mean", x, axes)
        variance = b.reduce("mean", b.unary("square", b.binary("sub", x, mean)), axes)
        results += [mean, b.unary("rsqrt", b.binary("add", variance, epsilon))]
    return results


@importer("InstanceNormalization")
def instance_normalization(b: OpBuilder, node: NodeCall) -> Tensor:
    """Over the spatial axes of each channel."""
    x = node.input()
    y = normalize(b, x, range(2, x.rank), node.attr("epsilon", 1e-5))
    return affine(b, y, per_channel(b, node.input(1), x.rank), per_channel(b, node.input(2), x.rank))


@importer("GroupNormalization")
def group_normalization(b: OpBuilder, node: NodeCall) -> Tensor:
    """Over groups of channels; scale and bias are per group before opset 21, per channel since."""
    x, scale, bias, groups = node.input(0), node.input(1), node.input(2), int(node.attr("num_groups", 1))
    if groups < 1 or x.dims[1] % groups:
        raise InvalidNode(f"cannot split {x.dims[1]} channels into {groups} groups")
    grouped = b.reshape(x, (x.dims[0], groups, x.dims[1] // groups, *x.dims[2:]))
    y = normalize(b, grouped, range(2, grouped.rank), node.attr("epsilon", 1e-5))
    if scale.dims == (groups,) and node.opset < 21:
        return b.reshape(affine(b, y, per_channel(b, scale, y.rank), per_channel(b, bias, y.rank)), x.dims)
    return affine(b, b.reshape(y, x.dims), per_channel(b, scale, x.rank), per_channel(b, bias, x.rank))


@importer("RMSNormalization")
def rms_normalization(b: OpBuilder, node: NodeCall) -> Tensor:
    """x / sqrt(mean(x ** 2) + epsilon) * scale over the last axes."""
    x = node.input()
    axes = range(node.axis(-1, x.rank), x.rank)
    mean = b.reduce("mean", b.unary("square", x), axes)
    root = b.unary("sqrt", b.binary("add", mean, float(node.attr("epsilon", 1e-5))))
    return affine(b, b.binary("div", x, root), node.input(1), None)


@importer("MeanVarianceNormalization")
def mean_variance(b: OpBuilder, node: NodeCall) -> Tensor:
    """(x - mean) / (deviation + 1e-9)."""
    x = node.input()
    return normalize(b, x, sorted(node.axes(node.attr("axes", (0, 2, 3)), x.rank)), 1e-18)


@importer("LpNormalization")
def lp_normalization(b: OpBuilder, node: NodeCall) -> Tensor:
    """x / (sum |x| ** p) ** (1 / p) along an axis; zero where the norm is."""
    x, p = node.input(), int(node.attr("p", 2))
    if p not in (1, 2):
        raise InvalidNode(f"has p = {p}; ONNX knows 1 and 2")
    axes = [node.axis(-1, x.rank)]
    norm = (
        b.reduce("sum", b.unary("abs", x), axes)
        if p == 1
        else b.unary("sqrt", b.reduce("sum", b.unary("square", x), axes))
    )
    zero = b.binary("equal", norm, 0.0)
    return b.select(zero, b.constant(0.0, x.dtype), b.binary("div", x, norm))


@importer("Softmax", "LogSoftmax")
def softmax(b: OpBuilder, node: NodeCall) -> Tensor:
    """Over one axis since opset 13; before, over that axis and all that follow."""
    x, log = node.input(), node.op_type == "LogSoftmax"
    if not x.rank:
        return b.op("softmax", [b.reshape(x, (1,))], axes=(0,), log=log)
    if node.opset >= 13:
        return b.op("softmax", [x], axes=(node.axis(-1, x.rank),), log=log)
    axes = tuple(range(node.axis(1, x.rank, end=True), x.rank))
    return (
        b.op("softmax", [x], axes=axes, log=log) if axes else b.constant(np.full(x.dims, 0.0 if log else 1.0), x.dtype)
    )
