"""The result of any op from its indexing function alone, element by element."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mlirfuse.dialect import Node, TensorType, semantics
from mlirfuse.dialect.indexing import Expr

__all__ = ["COMBINE", "evaluate"]


def evaluate(node: Node, arrays: list[Any]) -> Any:
    """The result of `node` from its indexing alone: loops over result and reduction domain."""
    indexing = semantics(node.op).indexing(node)
    result = np.zeros(node.out.dims, node.out.dtype)
    for place in itertools.product(*(range(d) for d in node.out.dims)):
        point = dict(_bound(indexing.out, place))
        domain = itertools.product(*(range(size) for size in indexing.reduction_sizes))
        rows = [
            [_read(access, array, point | dict(_bound(indexing.reduction, inner)), arrays)
             for access, array in zip(indexing.operands, arrays, strict=True)]
            for inner in domain
        ]  # fmt: skip
        result[place] = COMBINE[node.op](node, rows, place)
    return result


def _bound(expressions: tuple[Expr, ...], values: tuple[int, ...]) -> Iterator[tuple[Any, int]]:
    return ((e.terms[0][0], v) for e, v in zip(expressions, values, strict=True) if e.terms)


def _read(access: Any, array: Any, point: dict[Any, int], arrays: list[Any]) -> tuple[bool, Any]:
    """Whether the conditions hold, and the element (or the fill)."""

    def fetched(fetch: Any) -> Expr:
        index = int(arrays[fetch.operand][tuple(e.evaluate(point) for e in fetch.index)])
        return Expr(min(max(index + fetch.size if index < 0 else index, 0), fetch.size - 1))

    if not all(c.lo <= c.value.evaluate(point) <= c.hi for c in access.conditions):
        return False, access.fill
    return True, array[tuple(e.rewrite_fetches(fetched).evaluate(point) for e in access.index)]


def _only(node: Node, rows: list[Any], place: tuple[int, ...]) -> list[Any]:
    [row] = rows
    return [value for _, value in row]


def _elementwise(node: Node, rows: list[Any], place: tuple[int, ...]) -> Any:
    scalars = [np.asarray(v, t.dtype) for v, t in zip(_only(node, rows, place), node.inputs, strict=True)]
    out = TensorType((), node.out.dtype)
    return semantics(node.op).reference(Node(node.op, node.attrs, node.inputs, (out,)), *scalars)


def _sum_of_products(node: Node, rows: list[Any], place: tuple[int, ...]) -> float:
    return sum(float(a) * float(b) for (_, a), (_, b) in rows)


def _reduce(node: Node, rows: list[Any], place: tuple[int, ...]) -> Any:
    values = [float(value) for [(_, value)] in rows]
    match node.attrs["kind"]:
        case "argmax" | "argmin" as kind:
            best = max(values) if kind == "argmax" else min(values)
            where = [i for i, v in enumerate(values) if v == best]
            return where[-1] if node.get("select_last") else where[0]
        case kind:
            fold = {"sum": sum, "mean": lambda v: sum(v) / len(v), "max": max, "min": min, "prod": math.prod}[kind]
            return fold(values)


def _window(node: Node, rows: list[Any], place: tuple[int, ...]) -> Any:
    values = [float(value) for [(_, value)] in rows]
    if node.attrs["kind"] == "max":
        return max(values)
    if node.attrs["kind"] == "argmax":
        return _position_of_maximum(node, place, [inside for [(inside, _)] in rows], values)
    if node.attrs["kind"] == "sum":
        return sum(values)
    counts = semantics("window").counts(node)
    return sum(values) / max(math.prod(c[place[axis]] for c, axis in zip(counts, node.attrs["axes"], strict=True)), 1)


def _position_of_maximum(node: Node, place: tuple[int, ...], inside: list[bool], values: list[float]) -> int:
    axes, indexing = node.attrs["axes"], semantics("window").indexing(node)
    found = []
    for inner, here, value in zip(
        itertools.product(*(range(s) for s in indexing.reduction_sizes)), inside, values, strict=True
    ):
        point = dict(_bound(indexing.out, place)) | dict(_bound(indexing.reduction, inner))
        index = [indexing.operands[0].index[axis].evaluate(point) for axis in axes]
        position = 0
        for axis, i in zip(axes, index, strict=True):
            position = position * node.inputs[0].dims[axis] + i
        if here:
            found.append((-value, position))
    return min(found)[1] if found else 0


def _scatter(node: Node, rows: list[Any], place: tuple[int, ...]) -> float:
    """The element, with every update whose index is its place."""
    fold = {"replace": lambda a, b: b, "sum": lambda a, b: a + b, "prod": lambda a, b: a * b, "max": max, "min": min}
    value = rows[0][0][1]
    for _, (_, index), (_, update) in rows:
        if index == place[node.attrs["axis"]]:
            value = fold[node.attrs["kind"]](value, update)
    return value


def _row(node: Node, rows: list[Any], place: tuple[int, ...]) -> Any:
    """softmax and normalize: the whole row comes in, one of its elements goes out."""
    axes = node.attrs["axes"]
    row = np.array([value for [(_, value)] in rows]).reshape([node.inputs[0].dims[a] for a in axes])
    attrs = {**node.attrs, "axes": tuple(range(row.ndim))}
    kind = TensorType(row.shape, node.out.dtype)
    return semantics(node.op).reference(Node(node.op, attrs, (kind,), (kind,)), row)[tuple(place[a] for a in axes)]


def _concat(node: Node, rows: list[Any], place: tuple[int, ...]) -> Any:
    [value] = [value for inside, value in rows[0] if inside]
    return value


def _sort(node: Node, rows: list[Any], place: tuple[int, ...]) -> int:
    """The positions of a run's elements, in order; which of them is the place in the result's run."""
    axis, keep = node.attrs["axis"], node.attrs["keep"]
    number, rank = divmod(place[axis], keep)
    values = [value for [(inside, value)] in rows if inside]
    return number * node.attrs["run"] + _ranked(node, values, range(len(values)))[rank]


def _merge(node: Node, rows: list[Any], place: tuple[int, ...]) -> int:
    pairs = [(value, position) for (inside, value), (_, position) in rows if inside]
    return _ranked(node, *zip(*pairs, strict=True))[place[node.attrs["axis"]] % node.attrs["keep"]]


def _roi_align(node: Node, rows: list[Any], place: tuple[int, ...]) -> float:
    """One bin of one channel of one region, from its plane and its region."""
    h, w = node.inputs[0].dims[2:]
    plane = np.array([x for (_, x), _, _ in rows[::4]], np.float32).reshape(1, 1, h, w)
    roi = np.array([[value for _, (_, value), _ in rows[:4]]], np.float32)
    one = Node("roi_align", node.attrs, (_type(plane), _type(roi), TensorType((1,))))
    result = semantics("roi_align").reference(one, plane, roi, np.zeros(1, np.int64))
    return result[0, 0][place[2:]]


def _grid_sample(node: Node, rows: list[Any], place: tuple[int, ...]) -> float:
    """One place of one channel, from its plane and its coordinates."""
    spatial = node.inputs[0].dims[2:]
    plane = np.array([x for (_, x), _ in rows[:: len(spatial)]], np.float32).reshape(1, 1, *spatial)
    grid = np.array([value for _, (_, value) in rows[: len(spatial)]], np.float32)
    result = semantics("grid_sample").reference(node, plane, grid.reshape(1, *(1,) * len(spatial), len(spatial)))
    return result.reshape(-1)[0]


def _type(array: Any) -> TensorType:
    return TensorType(array.shape, array.dtype.name)


def _ranked(node: Node, values: Any, positions: Any) -> list[int]:
    sign = -1 if node.attrs["largest"] else 1
    return [p for _, p in sorted((sign * v, p) for v, p in zip(values, positions, strict=True))]


COMBINE: dict[str, Callable[[Node, list[Any], tuple[int, ...]], Any]] = {
    "binary": _elementwise,
    "cast": _elementwise,
    "concat": _concat,
    "contract": _sum_of_products,
    "conv": _sum_of_products,
    "expand": lambda node, rows, place: _only(node, rows, place)[0],
    "gather": lambda node, rows, place: _only(node, rows, place)[0],
    "grid_sample": _grid_sample,
    "merge": _merge,
    "normalize": _row,
    "pad": lambda node, rows, place: _only(node, rows, place)[0],
    "reduce": _reduce,
    "reshape": lambda node, rows, place: _only(node, rows, place)[0],
    "roi_align": _roi_align,
    "scatter": _scatter,
    "select": _elementwise,
    "slice": lambda node, rows, place: _only(node, rows, place)[0],
    "softmax": _row,
    "sort": _sort,
    "transpose": lambda node, rows, place: _only(node, rows, place)[0],
    "unary": _elementwise,
    "window": _window,
}
