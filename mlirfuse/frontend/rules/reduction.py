"""Reductions over axes, positions of extremes, running sums."""

import math

import numpy as np

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import NoRule, importer
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []

# Operator: what is done to each element, how elements combine, what is done to the result.
REDUCTIONS = {
    "ReduceL1": ("abs", "sum", None),
    "ReduceL2": ("square", "sum", "sqrt"),
    "ReduceLogSum": (None, "sum", "log"),
    "ReduceMax": (None, "max", None),
    "ReduceMean": (None, "mean", None),
    "ReduceMin": (None, "min", None),
    "ReduceProd": (None, "prod", None),
    "ReduceSum": (None, "sum", None),
    "ReduceSumSquare": ("square", "sum", None),
}
# The result over no elements at all.
IDENTITY = {"max": -math.inf, "mean": math.nan, "min": math.inf, "prod": 1.0, "sum": 0.0}
CUMULATIVE_LIMIT = 1024  # a running sum is a product with a triangular matrix up to this length,
CUMULATIVE_BLOCK = 256  # and one of products of this length beyond


def reduced_axes(node: NodeCall, x: Tensor) -> tuple[int, ...]:
    """The axes of a Reduce node: an attribute, later an input; none named means all, or none at all."""
    given = node.ints("axes", 1)
    if given:
        return tuple(sorted(node.axes(given, x.rank)))
    return () if node.attr("noop_with_empty_axes", 0) else tuple(range(x.rank))


@importer(*REDUCTIONS)
def reduce(b: OpBuilder, node: NodeCall) -> Tensor:
    """after(combine(before(x)))."""
    x = node.input()
    before, kind, after = REDUCTIONS[node.op_type]
    y = b.unary(before, x) if before else x
    y = _over(b, kind, y, reduced_axes(node, x), bool(node.attr("keepdims", 1)))
    if after is None:
        return y
    return b.unary(after, y) if y.floating else b.cast(b.unary(after, b.cast(y, "float64")), y.dtype)


def _over(b: OpBuilder, kind: str, x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    """A reduction that may be over no axes, or over no elements."""
    if x.type.size:
        return b.reduce(kind, x, axes, keepdims)
    shape = [1 if i in axes else d for i, d in enumerate(x.dims) if keepdims or i not in axes]
    value = IDENTITY[kind]
    if x.dtype == "bool":
        value = kind == "min"
    elif not x.floating and math.isinf(value):
        value = np.iinfo(x.dtype).min if value < 0 else np.iinfo(x.dtype).max
    return b.expand(b.constant(np.array(value).astype(x.dtype)), shape)


@importer("ReduceLogSumExp")
def reduce_log_sum_exp(b: OpBuilder, node: NodeCall) -> Tensor:
    """max + log(sum(exp(x - max))): no overflow."""
    x, keepdims = node.input(), bool(node.attr("keepdims", 1))
    axes = reduced_axes(node, x)
    if not x.floating:
        raise NoRule(f"is over {x.dtype}")
    largest = _over(b, "max", x, axes, True)
    # where every element is -inf, so is the result, and nothing may be subtracted from itself
    infinite = b.unary("isinf", largest, alpha=1.0, beta=1.0)
    largest = b.select(infinite, b.constant(0, x.dtype), largest)
    total = _over(b, "sum", b.unary("exp", b.binary("sub", x, largest)), axes, True)
    y = b.binary("add", b.unary("log", total), largest)
    return y if keepdims else b.reshape(y, [d for i, d in enumerate(x.dims) if i not in axes])


@importer("ArgMax", "ArgMin")
def arg_extreme(b: OpBuilder, node: NodeCall) -> Tensor:
    """The first of equals, or the last."""
    x = node.input()
    return b.op(
        "reduce",
        [x],
        kind=node.op_type.lower(),
        axes=(node.axis(0, x.rank),),
        keepdims=bool(node.attr("keepdims", 1)),
        select_last=bool(node.attr("select_last_index", 0)),
    )


@importer("Hardmax")
def hardmax(b: OpBuilder, node: NodeCall) -> Tensor:
    """One where the first maximum is; before opset 13 over all axes from `axis` on."""
    x = node.input()
    axis = node.axis(-1 if node.opset >= 13 else 1, x.rank, end=node.opset < 13)
    flat = x if node.opset >= 13 else b.reshape(x, (math.prod(x.dims[:axis]), math.prod(x.dims[axis:])))
    axis = axis if node.opset >= 13 else 1
    first = b.op("reduce", [flat], kind="argmax", axes=(axis,), keepdims=True, select_last=False)
    y = b.cast(b.binary("equal", first, positions(b, flat.dims[axis], axis, flat.rank)), x.dtype)
    return b.reshape(y, x.dims)


def positions(b: OpBuilder, size: int, axis: int, rank: int) -> Tensor:
    """0, 1, ... along an axis, of size 1 along the others."""
    return b.constant(np.arange(size).reshape([size if i == axis else 1 for i in range(rank)]), "int64")


@importer("CumSum")
def cumulative_sum(b: OpBuilder, node: NodeCall) -> Tensor:
    """A contraction with a triangle of ones; a long axis in blocks, which begin with the sum of those before."""
    x, axis = node.input(), node.array(1, "axis")
    where = node.checked_axis(int(np.asarray(axis).reshape(-1)[0]), x.rank, x.rank)
    return running_sum(b, x, where, bool(node.attr("exclusive", 0)), bool(node.attr("reverse", 0)))


def running_sum(b: OpBuilder, x: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    """The sum of all elements before each along `axis` (behind it, in reverse), itself included unless `exclusive`."""
    size = x.dims[axis]
    if size <= CUMULATIVE_LIMIT:
        return _triangle_product(b, x, axis, exclusive, reverse)
    blocks = -(-size // CUMULATIVE_BLOCK)
    high = [blocks * CUMULATIVE_BLOCK - size if i == axis else 0 for i in range(x.rank)]
    padded = b.pad(x, [0] * x.rank, high)
    cut = b.reshape(padded, (*x.dims[:axis], blocks, CUMULATIVE_BLOCK, *x.dims[axis + 1 :]))
    within = _triangle_product(b, cut, axis + 1, exclusive, reverse)
    before = running_sum(b, b.reduce("sum", cut, [axis + 1]), axis, True, reverse)
    whole = b.reshape(b.binary("add", within, before), padded.dims)
    return b.slice(whole, [0] * x.rank, x.dims)


def _triangle_product(b: OpBuilder, x: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    ones, offset = np.ones((x.dims[axis], x.dims[axis])), int(exclusive)
    triangle = np.tril(ones, -offset) if reverse else np.triu(ones, offset)
    letters = "abcdefghijkl"[: x.rank]
    summed = letters[axis]
    return b.contract(f"{letters},{summed}z->{letters.replace(summed, 'z')}", x, b.constant(triangle, x.dtype))
