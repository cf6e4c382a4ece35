"""Max, average and Lp pooling, sliding and global, of any rank; LRN's window over channels lies in normalization."""

import math

import numpy as np

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.rules.spatial import windows_of
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []


def pool(b: OpBuilder, node: NodeCall, x: Tensor, kind: str, *, count_include_pad: bool = False) -> Tensor:
    """A window op over the spatial axes."""
    if x.rank < 3:
        raise InvalidNode(f"needs an input [N, C, spatial...], not {x.type}")
    w = windows_of(node, x.dims[2:], tuple(node.attr("kernel_shape", ())))
    return b.op(
        "window",
        [x],
        kind=kind,
        axes=tuple(range(2, x.rank)),
        kernel=w.kernel,
        strides=w.strides,
        dilations=w.dilations,
        pads=w.pads,
        sizes=w.sizes,
        count_include_pad=count_include_pad,
    )


@importer("MaxPool")
def max_pool(b: OpBuilder, node: NodeCall) -> Tensor | tuple[Tensor, Tensor]:
    """The maxima, and where they lie if that is asked for."""
    x = node.input()
    largest = pool(b, node, x, "max")
    if len(node.used) < 2 or not node.used[1]:
        return largest
    place, plane = pool(b, node, x, "argmax"), x.dims[2:]
    if node.attr("storage_order", 0):  # the first spatial axis is the innermost
        strides = [math.prod(plane[:i]) for i in range(len(plane))]
        place = _restrided(b, place, plane, strides)
    return largest, b.binary("add", place, b.constant(plane_starts(x), "int64"))


def _restrided(b: OpBuilder, place: Tensor, plane: tuple[int, ...], strides: list[int]) -> Tensor:
    """A row-major position in `plane` under other strides."""
    total: Tensor | None = None
    for i, size in enumerate(plane):
        part = b.binary("mod", b.binary("div", place, math.prod(plane[i + 1 :])), size)
        part = b.binary("mul", part, strides[i])
        total = part if total is None else b.binary("add", total, part)
    assert total is not None
    return total


def plane_starts(x: Tensor) -> np.ndarray:
    """Where each plane of [N, C, *spatial] begins, in [N, C, 1, ...]."""
    n, c, *spatial = x.dims
    return (np.arange(n * c) * math.prod(spatial)).reshape(n, c, *(1 for _ in spatial))


@importer("MaxUnpool")
def max_unpool(b: OpBuilder, node: NodeCall) -> Tensor:
    """Zeros, with each element at its index, where windows do not overlap: an element's place is in its own window."""
    x, indices = node.input(0), node.input(1)
    kernel = tuple(node.attr("kernel_shape", ()))
    rank = x.rank - 2
    if rank < 1 or len(kernel) != rank or indices.dims != x.dims:
        raise InvalidNode(f"has a kernel {kernel} and indices {indices.type} for {x.type}")
    strides = tuple(node.attr("strides", (1,) * rank))
    pads = tuple(node.attr("pads", (0,) * 2 * rank))
    if strides != kernel or any(pads):
        raise NoRule(f"has windows {kernel} at strides {strides} with pads {pads}, which overlap or lie apart")
    plane = tuple(d * s for d, s in zip(x.dims[2:], strides, strict=True))
    whole = (*x.dims[:2], *plane)

    def spread(t: Tensor) -> Tensor:
        """Every element over its window."""
        apart = [f for d in t.dims[2:] for f in (d, 1)]
        window = [f for d, s in zip(t.dims[2:], strides, strict=True) for f in (d, s)]
        return b.reshape(b.expand(b.reshape(t, (*t.dims[:2], *apart)), (*t.dims[:2], *window)), whole)

    starts = np.arange(math.prod(x.dims[:2])).reshape(*x.dims[:2], *(1,) * rank) * math.prod(plane)
    local = b.binary("sub", indices, b.constant(starts, "int64"))
    here = b.binary("equal", spread(local), b.constant(np.arange(math.prod(plane)).reshape(1, 1, *plane), "int64"))
    y = b.select(here, spread(x), b.constant(0, x.dtype))
    wanted = node.array(2, "output_shape")
    if wanted is None:
        return y
    return b.pad(y, [0] * y.rank, [int(w) - d for w, d in zip(wanted, y.dims, strict=True)])


@importer("AveragePool")
def average_pool(b: OpBuilder, node: NodeCall) -> Tensor:
    """AveragePool; the divisor is a matter of the window op."""
    return pool(b, node, node.input(), "mean", count_include_pad=bool(node.attr("count_include_pad", 0)))


def power(b: OpBuilder, x: Tensor, p: float) -> Tensor:
    """x ** p for a number p, with the cheap cases by their names."""
    named = {1.0: None, 2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}
    if p in named and (x.floating or p in (1.0, 2.0)):
        kind = named[p]
        return x if kind is None else b.unary(kind, x)
    return b.binary("pow", x, p)


@importer("LpPool")
def lp_pool(b: OpBuilder, node: NodeCall) -> Tensor:
    """(sum |x| ** p) ** (1 / p) over each window."""
    p = float(node.attr("p", 2))
    total = pool(b, node, power(b, b.unary("abs", node.input()), p), "sum")
    return power(b, total, 1 / p)


@importer("GlobalMaxPool", "GlobalAveragePool")
def global_pool(b: OpBuilder, node: NodeCall) -> Tensor:
    """The maximum or mean of each channel."""
    x = node.input()
    return b.reduce("max" if node.op_type == "GlobalMaxPool" else "mean", x, range(2, x.rank))


@importer("GlobalLpPool")
def global_lp_pool(b: OpBuilder, node: NodeCall) -> Tensor:
    """(sum |x| ** p) ** (1 / p) over each channel."""
    x, p = node.input(), float(node.attr("p", 2))
    return power(b, b.reduce("sum", power(b, b.unary("abs", x), p), range(2, x.rank)), 1 / p)
