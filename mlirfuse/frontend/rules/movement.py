"""Elements at other places: shapes, order, pieces, repetition."""

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []


@importer("Identity")
def identity(b: OpBuilder, node: NodeCall) -> Tensor:
    """The value itself."""
    return node.input()


@importer("Dropout")
def dropout(b: OpBuilder, node: NodeCall) -> list[Tensor]:
    """The value itself when inferring; the mask keeps everything."""
    x = node.input()
    training, ratio = node.optional(2), node.optional(1)
    inferring = training is None or (training.known and not training.array.any())
    if not inferring and not (ratio is not None and ratio.known and float(ratio.array.reshape(())) == 0.0):
        raise NoRule("may be in training mode: it drops elements at random")
    mask = "bool" if node.opset >= 10 else x.dtype
    return [x, b.expand(b.constant(1, mask), x.dims)] if any(node.used[1:]) else [x]


@importer("Reshape")
def reshape(b: OpBuilder, node: NodeCall) -> Tensor:
    """0 copies a dimension (unless allowzero), -1 takes what is left."""
    x = node.input()
    wanted = node.ints("shape", 1)
    if wanted is None:
        raise InvalidNode("has no shape")
    return b.reshape(x, resolved_shape(b, x, wanted, bool(node.attr("allowzero", 0))))


def resolved_shape(b: OpBuilder, x: Tensor, wanted: Sequence[int], allow_zero: bool) -> tuple[int, ...]:
    """The shape that a Reshape asks for."""
    shape = list(wanted)
    for axis, size in enumerate(shape):
        if size == 0 and not allow_zero:
            if axis >= x.rank:
                raise InvalidNode(f"copies dimension {axis} of {x.type} into the shape {tuple(wanted)}")
            shape[axis] = x.dims[axis]
    if any(size < -1 for size in shape) or shape.count(-1) > 1:
        raise InvalidNode(f"asks for the shape {tuple(wanted)}")
    rest = math.prod(size for size in shape if size != -1)
    if -1 in shape:
        if rest == 0 or x.type.size % rest:
            raise InvalidNode(f"cannot give {x.type} the shape {tuple(wanted)}")
        shape[shape.index(-1)] = x.type.size // rest
    elif b.rebatch is not None and shape and shape[0] == b.rebatch[0] and rest != x.type.size:
        shape[0] = b.rebatch[1]  # the batch size that an exporter wrote into the graph
    if math.prod(shape) != x.type.size:
        raise InvalidNode(
            f"cannot give {x.type} the shape {tuple(wanted)}: {x.type.size} elements against {math.prod(shape)}"
        )
    return tuple(shape)


@importer("Flatten")
def flatten(b: OpBuilder, node: NodeCall) -> Tensor:
    """A matrix, split before `axis`."""
    x = node.input()
    axis = node.axis(1, x.rank, end=True) if x.rank else 0
    return b.reshape(x, (math.prod(x.dims[:axis]), math.prod(x.dims[axis:])))


@importer("Squeeze")
def squeeze(b: OpBuilder, node: NodeCall) -> Tensor:
    """Without the named dimensions of size 1, or without all of them."""
    x, given = node.input(), node.ints("axes", 1)
    axes = [i for i, d in enumerate(x.dims) if d == 1] if given is None else node.axes(given, x.rank)
    if any(x.dims[i] != 1 for i in axes):
        raise InvalidNode(f"removes the axes {tuple(axes)} of {x.type}, which are not all of size 1")
    return b.reshape(x, [d for i, d in enumerate(x.dims) if i not in axes])


@importer("Unsqueeze")
def unsqueeze(b: OpBuilder, node: NodeCall) -> Tensor:
    """With dimensions of size 1 at the named places of the result."""
    x, given = node.input(), node.ints("axes", 1)
    if given is None:
        raise InvalidNode("has no axes")
    axes = node.axes(given, x.rank + len(given))
    rest = iter(x.dims)
    return b.reshape(x, [1 if i in axes else next(rest) for i in range(x.rank + len(axes))])


@importer("Transpose")
def transpose(b: OpBuilder, node: NodeCall) -> Tensor:
    """Reversed, unless `perm` says otherwise."""
    x = node.input()
    perm = tuple(node.attr("perm", range(x.rank - 1, -1, -1)))
    if sorted(perm) != list(range(x.rank)):
        raise InvalidNode(f"has perm {perm}, which is no permutation of the axes of {x.type}")
    return b.transpose(x, perm)


@importer("Concat")
def concat(b: OpBuilder, node: NodeCall) -> Tensor:
    """Operands without elements vanish."""
    xs = node.given()
    axis = node.axis(1, xs[0].rank)
    rest = {(*x.dims[:axis], *x.dims[axis + 1 :]) for x in xs if x.rank == xs[0].rank}
    if len(rest) != 1 or any(x.rank != xs[0].rank or x.dtype != xs[0].dtype for x in xs):
        raise InvalidNode(f"joins {', '.join(str(x.type) for x in xs)}, which do not agree but for axis {axis}")
    return b.concat(xs, axis)


@importer("Split")
def split(b: OpBuilder, node: NodeCall) -> list[Tensor]:
    """Into the given sizes, or into equal parts, the last one smaller where it does not divide."""
    x, sizes = node.input(), node.ints("split", 1)
    axis, parts = node.axis(0, x.rank), int(node.attr("num_outputs", len(node.used)))
    if sizes is None:
        each = -(-x.dims[axis] // parts)
        sizes = tuple(max(0, min(each, x.dims[axis] - i * each)) for i in range(parts))
    if sum(sizes) != x.dims[axis] or len(sizes) < len(node.used) or min(sizes, default=0) < 0:
        raise InvalidNode(f"splits axis {axis} of {x.type} into {sizes}")
    results = []
    for start, size in zip(accumulate((0, *sizes)), sizes, strict=False):
        starts = [start if i == axis else 0 for i in range(x.rank)]
        results.append(b.slice(x, starts, [size if i == axis else d for i, d in enumerate(x.dims)]))
    return results[: len(node.used)]


@importer("Slice")
def slice_(b: OpBuilder, node: NodeCall) -> Tensor:
    """Python's slices: bounds are clamped, negative ones count from the end, steps may be negative."""
    x = node.input()
    starts, ends = node.ints("starts", 1), node.ints("ends", 2)
    if starts is None or ends is None or len(starts) != len(ends):
        raise InvalidNode("needs starts and ends of the same length")
    axes = node.axes(node.ints("axes", 3) or range(len(starts)), x.rank)
    steps = node.ints("steps", 4) or (1,) * len(starts)
    if len(axes) != len(starts) or len(steps) != len(starts) or 0 in steps:
        raise InvalidNode(f"has {len(starts)} starts, {len(axes)} axes and the steps {steps}")
    begin, sizes, stride = [0] * x.rank, list(x.dims), [1] * x.rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        places = range(*slice(start, end, step).indices(x.dims[axis]))
        begin[axis], sizes[axis], stride[axis] = places.start, len(places), step
    return b.slice(x, begin, sizes, stride)


@importer("Pad")
def pad(b: OpBuilder, node: NodeCall) -> Tensor:
    """Low and high ends of each axis; negative ones crop."""
    x = node.input()
    pads = node.ints("paddings" if node.has("paddings") else "pads", 1)
    if pads is None:
        raise InvalidNode("has no pads")
    given = node.ints("axes", 3) if node.opset >= 18 else None
    axes = tuple(range(x.rank)) if given is None else node.axes(given, x.rank)
    if len(pads) != 2 * len(axes):
        raise InvalidNode(f"has {len(pads)} pads for {len(axes)} axes")
    low, high = [0] * x.rank, [0] * x.rank
    for i, axis in enumerate(axes):
        low[axis], high[axis] = pads[i], pads[len(axes) + i]
    mode = node.attr("mode", "constant")
    if mode == "constant" and (fill := node.optional(2)) is not None and node.opset >= 11:
        if not fill.known:
            return _pad_with(b, x, low, high, fill)
        return b.pad(x, low, high, value=float(fill.array.reshape(-1)[0]))
    return b.pad(x, low, high, mode, float(node.attr("value", 0.0)))


def _pad_with(b: OpBuilder, x: Tensor, low: Sequence[int], high: Sequence[int], fill: Tensor) -> Tensor:
    """Padding with a value known only at run time: chosen where a mask is padded."""
    inside = b.pad(b.expand(b.constant(True), x.dims), low, high)
    return b.select(inside, b.pad(x, low, high), b.reshape(fill, ()))


@importer("Expand")
def expand(b: OpBuilder, node: NodeCall) -> Tensor:
    """Broadcast to a shape (both ways)."""
    shape = node.array(1, "shape")
    assert shape is not None
    return b.expand(node.input(), [int(d) for d in shape])


@importer("Tile")
def tile(b: OpBuilder, node: NodeCall) -> Tensor:
    """Repetition: [a] -> [1, a] -> [r, a] -> [r * a] on every axis."""
    x, repeats = node.input(), node.array(1, "repeats")
    assert repeats is not None
    counts = [int(r) for r in repeats]
    if len(counts) != x.rank:
        raise InvalidNode(f"has {len(counts)} repeats for {x.type}")
    if all(r == 1 or d == 1 for r, d in zip(counts, x.dims, strict=True)):
        return b.expand(x, [r * d for r, d in zip(counts, x.dims, strict=True)])
    interleaved = b.reshape(x, [size for d in x.dims for size in (1, d)])
    repeated = b.expand(interleaved, [size for r, d in zip(counts, x.dims, strict=True) for size in (r, d)])
    return b.reshape(repeated, [r * d for r, d in zip(counts, x.dims, strict=True)])


@importer("DepthToSpace")
def depth_to_space(b: OpBuilder, node: NodeCall) -> Tensor:
    """Blocks of channels become blocks of pixels."""
    x, block = node.input(), int(node.attr("blocksize"))
    n, c, h, w = x.dims
    depth = c // block**2
    if node.attr("mode", "DCR") == "DCR":
        y = b.transpose(b.reshape(x, (n, block, block, depth, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        y = b.transpose(b.reshape(x, (n, depth, block, block, h, w)), (0, 1, 4, 2, 5, 3))
    return b.reshape(y, (n, depth, h * block, w * block))


@importer("SpaceToDepth")
def space_to_depth(b: OpBuilder, node: NodeCall) -> Tensor:
    """Blocks of pixels become channels."""
    x, block = node.input(), int(node.attr("blocksize"))
    n, c, h, w = x.dims
    if h % block or w % block:
        raise InvalidNode(f"cannot cut {x.type} into blocks of {block}")
    order = (0, 3, 5, 1, 2, 4) if node.attr("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    y = b.transpose(b.reshape(x, (n, c, h // block, block, w // block, block)), order)
    return b.reshape(y, (n, c * block**2, h // block, w // block))


@importer("Trilu")
def trilu(b: OpBuilder, node: NodeCall) -> Tensor:
    """The upper or lower triangle, chosen by a constant mask."""
    x, k = node.input(), node.array(1, "k")
    offset = 0 if k is None else int(np.asarray(k).reshape(-1)[0])
    ones = np.ones(x.dims[-2:], bool)
    mask = np.triu(ones, offset) if node.attr("upper", 1) else np.tril(ones, offset)
    return b.select(b.constant(mask), x, b.constant(0, x.dtype))
