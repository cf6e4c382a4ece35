"""Elements chosen by index: Gather and its relatives, all through the gather op over flattened axes."""

import math

import numpy as np

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.rules.reduction import positions
from mlirfuse.frontend.tensor import Tensor

__all__ = ["along_axis"]

TABLE_LIMIT = 1 << 22  # elements of a constant index table that a rule may make
SEARCH_LIMIT = 1 << 31  # comparisons that a scatter may cost
# How ONNX calls what happens to an element and its update, and how the scatter op does.
COMBINATIONS = {"none": "replace", "add": "sum", "mul": "prod", "max": "max", "min": "min"}


@importer("Gather")
def gather(b: OpBuilder, node: NodeCall) -> Tensor:
    """Whole slices; a single known index is a slice."""
    x, indices = node.input(0), node.input(1)
    axis = node.axis(0, x.rank)
    if indices.known:
        size = x.dims[axis]
        if ((indices.array < -size) | (indices.array >= size)).any():
            raise InvalidNode(f"has an index outside axis {axis} of {x.type}")
        if indices.type.size == 1 and not x.known:
            start = int(indices.array.reshape(-1)[0]) % size
            starts, sizes = [0] * x.rank, list(x.dims)
            starts[axis], sizes[axis] = start, 1
            return b.reshape(b.slice(x, starts, sizes), (*x.dims[:axis], *indices.dims, *x.dims[axis + 1 :]))
    return b.gather(x, indices, axis)


def wrapped(b: OpBuilder, indices: Tensor, size: int) -> Tensor:
    """Indices counted from the front, as int64; InvalidNode if one that is known lies outside."""
    if indices.known and ((indices.array < -size) | (indices.array >= size)).any():
        raise InvalidNode(f"has an index outside an axis of {size} elements")
    indices = b.cast(indices, "int64")
    return b.select(b.binary("less", indices, 0), b.binary("add", indices, size), indices)


@importer("GatherElements")
def gather_elements(b: OpBuilder, node: NodeCall) -> Tensor:
    """result[i, j] = x[indices[i, j], j]: a gather from the flattened x, at index * stride + a constant offset."""
    x, indices = node.input(0), node.input(1)
    axis = node.axis(0, x.rank)
    if x.known and indices.known:
        wrapped(b, indices, x.dims[axis])
        return b.constant(np.take_along_axis(x.array, _front(indices.array, x.dims[axis]), axis)[_cut(indices, axis)])
    return along_axis(b, x, wrapped(b, indices, x.dims[axis]), axis)


def along_axis(b: OpBuilder, x: Tensor, places: Tensor, axis: int) -> Tensor:
    """result[i, j] = x[places[i, j], j] for places that count from the front (int64)."""
    if x.rank == 1:
        return b.gather(x, places, 0)
    if places.type.size > TABLE_LIMIT:
        raise NoRule(f"chooses {places.type.size} elements, more than a table should hold")
    strides = x.type.strides()
    offset = np.zeros(places.dims, np.int64)
    for i, size in enumerate(places.dims):
        if i != axis:
            offset += (np.arange(size) * strides[i]).reshape([size if j == i else 1 for j in range(x.rank)])
    place = b.binary("mul", places, strides[axis]) if strides[axis] != 1 else places
    return b.gather(b.reshape(x, (x.type.size,)), b.binary("add", place, b.constant(offset)), 0)


def _front(indices: np.ndarray, size: int) -> np.ndarray:
    return np.where(indices < 0, indices + size, indices)


def _cut(indices: Tensor, axis: int) -> tuple[slice, ...]:
    return tuple(slice(None) if i == axis else slice(0, d) for i, d in enumerate(indices.dims))


@importer("GatherND")
def gather_nd(b: OpBuilder, node: NodeCall) -> Tensor:
    """Index tuples into the leading axes: a gather over those axes flattened, at a linear index."""
    x, indices, batch = node.input(0), node.input(1), int(node.attr("batch_dims", 0))
    if not indices.rank or not 0 <= batch < min(x.rank, indices.rank):
        raise InvalidNode(f"has batch_dims {batch} for {x.type} and {indices.type}")
    depth = indices.dims[-1]
    if batch + depth > x.rank:
        raise InvalidNode(f"has tuples of {depth} indices for {x.type}")
    chosen = x.dims[batch : batch + depth]
    linear = linear_index(b, indices, chosen)
    if batch:
        shape = x.dims[:batch]
        start = np.arange(math.prod(shape)).reshape(*shape, *(1,) * (linear.rank - batch)) * math.prod(chosen)
        linear = b.binary("add", linear, b.constant(start, "int64"))
    rest = x.dims[batch + depth :]
    return b.gather(b.reshape(x, (math.prod(x.dims[: batch + depth]), *rest)), linear, 0)


def linear_index(b: OpBuilder, indices: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Row-major positions of the index tuples along the last axis."""
    total: Tensor | None = None
    for k, size in enumerate(sizes):
        starts = [0] * indices.rank
        starts[-1] = k
        part = b.reshape(b.slice(indices, starts, (*indices.dims[:-1], 1)), indices.dims[:-1])
        part = b.binary("mul", wrapped(b, part, size), math.prod(sizes[k + 1 :]))
        total = part if total is None else b.binary("add", total, part)
    return b.expand(b.constant(0, "int64"), indices.dims[:-1]) if total is None else total


@importer("ScatterND", "ScatterElements", "Scatter")
def scatter(b: OpBuilder, node: NodeCall) -> Tensor:
    """With known indices a gather by a constant table, else the scatter op along one axis."""
    x, indices, updates = (node.input(i) for i in range(3))
    reduction = node.attr("reduction", "none") or "none"
    if reduction not in COMBINATIONS:
        raise InvalidNode(f"has the unknown reduction '{reduction}'")
    if indices.known and reduction == "none" and x.type.size <= TABLE_LIMIT:
        return _scattered_by_table(b, node, x, indices, updates)
    if node.op_type == "ScatterND":
        depth = indices.dims[-1]
        chosen, rest = x.dims[:depth], x.dims[depth:]
        count, inner = math.prod(indices.dims[:-1]), math.prod(rest)
        if updates.dims != (*indices.dims[:-1], *rest):
            raise InvalidNode(f"puts {updates.type} at {indices.type} of {x.type}")
        places = b.reshape(linear_index(b, indices, chosen), (count, 1))
        flat = b.reshape(x, (math.prod(chosen), inner)), b.reshape(updates, (count, inner))
        return b.reshape(_scattered(b, flat[0], places, flat[1], 0, reduction), x.dims)
    axis = node.axis(0, x.rank)
    return _scattered(b, x, wrapped(b, indices, x.dims[axis]), updates, axis, reduction)


def _scattered(b: OpBuilder, x: Tensor, places: Tensor, updates: Tensor, axis: int, reduction: str) -> Tensor:
    if not updates.type.size:
        return x
    if x.type.size * updates.dims[axis] > SEARCH_LIMIT:
        raise NoRule(f"would look for {x.type.size} elements among {updates.dims[axis]} indices each")
    return b.op("scatter", [x, places, updates], axis=axis, kind=COMBINATIONS[reduction])


def _scattered_by_table(b: OpBuilder, node: NodeCall, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """A gather from x and the updates end to end, by a constant table of where to look."""
    table = np.arange(x.type.size).reshape(x.dims)
    fresh = x.type.size + np.arange(updates.type.size).reshape(updates.dims)
    if node.op_type == "ScatterND":
        for k, size in enumerate(x.dims[: indices.dims[-1]]):
            wrapped(b, b.constant(indices.array[..., k]), size)
        table[tuple(np.moveaxis(indices.array, -1, 0))] = fresh
    else:
        axis = node.axis(0, x.rank)
        wrapped(b, indices, x.dims[axis])
        np.put_along_axis(table[_outside(indices.array, axis)], _front(indices.array, x.dims[axis]), fresh, axis)
    both = b.concat([b.reshape(x, (x.type.size,)), b.reshape(updates, (updates.type.size,))], 0)
    return b.gather(both, b.constant(table, "int64"), 0)


def _outside(indices: np.ndarray, axis: int) -> tuple[slice, ...]:
    return tuple(slice(None) if i == axis else slice(0, d) for i, d in enumerate(indices.shape))


@importer("OneHot")
def one_hot(b: OpBuilder, node: NodeCall) -> Tensor:
    """on where the position equals the index, off elsewhere; indices outside are off everywhere."""
    indices, depth, values = node.input(0), node.array(1, "depth"), node.input(2)
    assert depth is not None
    size = int(np.asarray(depth).reshape(-1)[0])
    axis = node.checked_axis(int(node.attr("axis", -1)), indices.rank + 1, indices.rank + 1)
    where = wrapped(b, b.reshape(indices, (*indices.dims[:axis], 1, *indices.dims[axis:])), size)
    hit = b.binary("equal", where, positions(b, size, axis, where.rank))
    off, on = (b.reshape(b.slice(values, (i,), (1,)), ()) for i in range(2))
    return b.select(hit, on, off)


@importer("ReverseSequence")
def reverse_sequence(b: OpBuilder, node: NodeCall) -> Tensor:
    """With known lengths: a gather by a constant table."""
    x, lengths = node.input(0), node.array(1, "sequence_lens")
    assert lengths is not None
    batch, time = node.axis(1, x.rank, "batch_axis"), node.axis(0, x.rank, "time_axis")
    if x.type.size > TABLE_LIMIT:
        raise NoRule(f"has {x.type.size} elements, more than a table should hold")
    steps = np.arange(x.dims[time])
    order = np.stack([np.where(steps < n, n - 1 - steps, steps) for n in lengths])  # [batch, time]
    order = order if batch < time else order.T
    shape = [d if i in (batch, time) else 1 for i, d in enumerate(x.dims)]
    table = np.take_along_axis(
        np.arange(x.type.size).reshape(x.dims), np.broadcast_to(order.reshape(shape), x.dims), time
    )
    return b.gather(b.reshape(x, (x.type.size,)), b.constant(table, "int64"), 0)


@importer("TensorScatter")
def tensor_scatter(b: OpBuilder, node: NodeCall) -> Tensor:
    """A cache of sequences [batch, ..., longest, ...] with new elements from each batch's own place on."""
    cache, update, starts = node.input(0), node.input(1), node.optional(2)
    axis, mode = node.axis(-2, cache.rank), node.attr("mode", "linear")
    if mode not in ("linear", "circular"):
        raise InvalidNode(f"has mode '{mode}', which is neither linear nor circular")
    ones = [1] * cache.rank
    places = b.constant(np.arange(update.dims[axis]).reshape([-1 if a == axis else 1 for a in range(cache.rank)]))
    if starts is not None:
        places = b.binary("add", places, b.reshape(b.cast(starts, "int64"), (cache.dims[0], *ones[1:])))
    if mode == "circular":
        places = b.binary("mod", places, cache.dims[axis])
    return _scattered(b, cache, b.cast(places, "int64"), update, axis, "none")
