"""Every op's indexing function, evaluated element by element, gives what its NumPy reference gives."""

import itertools
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mlirfuse.dialect import Node, TensorType, semantics
from mlirfuse.dialect.indexing import Expr
from mlirfuse.dialect.scalar import BINARY, UNARY

CASES = 25
Case = tuple[str, dict[str, Any], list[Any]]


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


def shape(rng: Any, rank: int | None = None, low: int = 1, high: int = 5) -> tuple[int, ...]:
    return tuple(int(d) for d in rng.integers(low, high, rng.integers(1, 5) if rank is None else rank))


def floats(rng: Any, dims: tuple[int, ...]) -> Any:
    return rng.standard_normal(dims, dtype=np.float32)


def broadcastable(rng: Any, dims: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if rng.random() < 0.3 else d for d in dims)[rng.integers(0, len(dims)) if len(dims) > 1 else 0 :]


def ints(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def unary(rng: Any) -> Case:
    kind = str(rng.choice(sorted(set(UNARY) - {"not"})))
    return "unary", {"kind": kind, "alpha": 0.5, "beta": 1.5}, [floats(rng, shape(rng))]


def binary(rng: Any) -> Case:
    kind = str(rng.choice(sorted(BINARY)))
    dims = shape(rng)
    operands = [floats(rng, broadcastable(rng, dims)), floats(rng, dims)]
    if kind in ("and", "or", "xor"):
        operands = [x > 0 for x in operands]
    elif kind.startswith(("bit_", "shift_")):
        operands = [(x * 10).astype(np.int32) for x in operands]
    return "binary", {"kind": kind}, operands


def select(rng: Any) -> Case:
    dims = shape(rng)
    return (
        "select",
        {},
        [floats(rng, broadcastable(rng, dims)) > 0, floats(rng, dims), floats(rng, broadcastable(rng, dims))],
    )


def cast(rng: Any) -> Case:
    return "cast", {"to": str(rng.choice(["int64", "bool", "float16"]))}, [floats(rng, shape(rng)) * 3]


def conv(rng: Any) -> Case:
    rank, groups = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    depth, filters = int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
    kernel = shape(rng, rank, 1, 4)
    attrs = {
        "strides": shape(rng, rank, 1, 3),
        "dilations": shape(rng, rank, 1, 3),
        "input_dilation": shape(rng, rank, 1, 4),
        "pads": ints(rng.integers(-1, 4, 2 * rank)),
        "groups": groups,
    }
    x = floats(rng, (int(rng.integers(1, 3)), groups * depth, *shape(rng, rank, 6, 9)))
    return "conv", attrs, [x, floats(rng, (filters, depth, *kernel))]


def contract(rng: Any) -> Case:
    equation = str(
        rng.choice(["mk,kn->mn", "bmk,kn->bmn", "km,nk->nm", "bhmk,bhnk->bmhn", "ab,c->cba", "i,i->", "abk,bk->a"])
    )
    sizes = {c: int(rng.integers(1, 5)) for c in equation if c.isalpha()}
    operands = equation.split("->")[0].split(",")
    one = [set() if rng.random() < 0.7 else {str(rng.choice(list(term)))} for term in operands]
    shared = set(operands[0]) & set(operands[1])
    arrays = [
        floats(rng, tuple(1 if c in o & shared and i == 0 else sizes[c] for c in term))
        for i, (term, o) in enumerate(zip(operands, one, strict=True))
    ]
    return "contract", {"equation": equation}, arrays


def reduce(rng: Any) -> Case:
    x = np.round(floats(rng, shape(rng)) * 2) / 2
    kind = str(rng.choice(["sum", "mean", "max", "min", "prod", "argmax", "argmin"]))
    count = 1 if kind.startswith("arg") else int(rng.integers(1, x.ndim + 1))
    axes = ints(sorted(rng.choice(x.ndim, count, replace=False)))
    return (
        "reduce",
        {"kind": kind, "axes": axes, "keepdims": bool(rng.integers(2)), "select_last": bool(rng.integers(2))},
        [x],
    )


def window(rng: Any) -> Case:
    x = floats(rng, shape(rng, 3, 4, 7))
    axes = ints(sorted(rng.choice(3, int(rng.integers(1, 3)), replace=False)))
    n = len(axes)
    kernel, strides, dilations = shape(rng, n, 1, 4), shape(rng, n, 1, 3), shape(rng, n, 1, 3)
    pads = ints(rng.integers(0, 2, 2 * n))
    sizes = []
    for i, axis in enumerate(axes):
        free = x.shape[axis] + pads[i] + pads[n + i] - (kernel[i] - 1) * dilations[i] - 1
        sizes.append(max(1, free // strides[i] + 1 + int(rng.integers(2))))  # sometimes past the end, as ceil_mode
    attrs = {
        "kind": str(rng.choice(["max", "sum", "mean", "argmax"])),
        "axes": axes,
        "kernel": kernel,
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
        "sizes": tuple(sizes),
        "count_include_pad": bool(rng.integers(2)),
    }
    return "window", attrs, [x]


def softmax(rng: Any) -> Case:
    x = floats(rng, shape(rng))
    axes = ints(sorted(rng.choice(x.ndim, int(rng.integers(1, x.ndim + 1)), replace=False)))
    return "softmax", {"axes": axes, "log": bool(rng.integers(2))}, [x]


def normalize(rng: Any) -> Case:
    x = floats(rng, shape(rng))
    axes = ints(sorted(rng.choice(x.ndim, int(rng.integers(1, x.ndim + 1)), replace=False)))
    return "normalize", {"axes": axes, "epsilon": 1e-3, "centred": bool(rng.integers(2))}, [x]


def reshape(rng: Any) -> Case:
    dims = shape(rng)
    flat = [f for d in dims for f in ((2, d // 2) if d % 2 == 0 and rng.random() < 0.5 else (d,))]
    target = []
    for d in rng.permutation(flat):
        target = [*target[:-1], target[-1] * int(d)] if target and rng.random() < 0.5 else [*target, int(d)]
    return "reshape", {"shape": tuple(target)}, [floats(rng, dims)]


def transpose(rng: Any) -> Case:
    x = floats(rng, shape(rng))
    return "transpose", {"perm": ints(rng.permutation(x.ndim))}, [x]


def slice_(rng: Any) -> Case:
    x = floats(rng, shape(rng, None, 2, 7))
    starts, sizes, steps = [], [], []
    for d in x.shape:
        step = int(rng.choice([-2, -1, 1, 2, 3]))
        start = int(rng.integers(0, d))
        room = (d - 1 - start) // step if step > 0 else start // -step
        starts, sizes, steps = [*starts, start], [*sizes, int(rng.integers(1, room + 2))], [*steps, step]
    return "slice", {"starts": tuple(starts), "sizes": tuple(sizes), "steps": tuple(steps)}, [x]


def concat(rng: Any) -> Case:
    dims = shape(rng)
    axis = int(rng.integers(len(dims)))
    parts = [(*dims[:axis], int(rng.integers(1, 4)), *dims[axis + 1 :]) for _ in range(rng.integers(1, 4))]
    return "concat", {"axis": axis}, [floats(rng, part) for part in parts]


def pad(rng: Any) -> Case:
    dims = shape(rng, None, 3, 6)
    mode = str(rng.choice(["constant", "edge", "reflect", "wrap"]))
    low, high = (ints(rng.integers(-1 if mode == "constant" else 0, 3, len(dims))) for _ in range(2))
    return "pad", {"low": low, "high": high, "mode": mode, "value": 7.0}, [floats(rng, dims)]


def expand(rng: Any) -> Case:
    dims = shape(rng)
    return "expand", {"shape": dims}, [floats(rng, broadcastable(rng, dims))]


def gather(rng: Any) -> Case:
    x = floats(rng, shape(rng))
    axis = int(rng.integers(x.ndim))
    size = x.shape[axis]
    return "gather", {"axis": axis}, [x, rng.integers(-size, size, shape(rng, int(rng.integers(0, 3))))]


def sort(rng: Any) -> Case:
    x = np.round(floats(rng, shape(rng, None, 1, 9)) * 2) / 2
    run = int(rng.integers(1, 9))
    attrs = {"run": run, "keep": int(rng.integers(1, run + 1)), "largest": bool(rng.integers(2))}
    return "sort", {"axis": int(rng.integers(x.ndim)), **attrs}, [x]


def merge(rng: Any) -> Case:
    _, attrs, [x] = sort(rng)
    order = semantics("sort").reference(Node("sort", attrs), x)
    longer = int(rng.integers(1, 2 * attrs["keep"] + 1))
    return "merge", {**attrs, "run": attrs["keep"], "keep": longer}, [x, order]


def scatter(rng: Any) -> Case:
    x = floats(rng, shape(rng))
    axis = int(rng.integers(x.ndim))
    updates = tuple(int(rng.integers(1, 6 if a == axis else d + 1)) for a, d in enumerate(x.shape))
    chosen = tuple(1 if a != axis and rng.random() < 0.3 else d for a, d in enumerate(updates))
    kind = str(rng.choice(["replace", "sum", "prod", "max", "min"]))
    indices = rng.integers(-1, x.shape[axis] + 1, chosen)
    return "scatter", {"axis": axis, "kind": kind}, [x, indices, floats(rng, updates)]


def roi_align(rng: Any) -> Case:
    x = floats(rng, (2, int(rng.integers(1, 3)), *shape(rng, 2, 1, 6)))
    corners = rng.uniform(-2, 6, (int(rng.integers(1, 4)), 4)).astype(np.float32)
    attrs = {
        "kind": str(rng.choice(["mean", "max"])),
        "sizes": shape(rng, 2, 1, 4),
        "samples": int(rng.integers(0, 3)),
        "scale": float(rng.choice([1.0, 0.5])),
        "half_pixel": bool(rng.integers(2)),
    }
    return "roi_align", attrs, [x, corners, rng.integers(0, 2, len(corners))]


def grid_sample(rng: Any) -> Case:
    rank = int(rng.integers(1, 3))
    x = floats(rng, (2, int(rng.integers(1, 3)), *shape(rng, rank, 1, 6)))
    attrs = {
        "mode": str(rng.choice(["nearest", "linear", "cubic"])),
        "padding": str(rng.choice(["zeros", "border", "reflection"])),
        "align_corners": bool(rng.integers(2)),
    }
    return "grid_sample", attrs, [x, rng.uniform(-2, 2, (2, *shape(rng, rank, 1, 4), rank)).astype(np.float32)]


GENERATORS = (
    unary, binary, select, cast, conv, contract, reduce, window, softmax, normalize, reshape, transpose, slice_, concat,
    pad, expand, gather, sort, merge, roi_align,
    grid_sample, scatter,
)  # fmt: skip


def node_for(op: str, attrs: dict[str, Any], arrays: list[Any]) -> Node:
    inputs = tuple(TensorType(a.shape, a.dtype.name) for a in arrays)
    node = Node(op, attrs, inputs)
    out = semantics(op).infer(node)
    complete = Node(op, attrs, inputs, (out,))
    assert semantics(op).complaint(complete) is None
    return complete


def usable(op: str, attrs: dict[str, Any], arrays: list[Any]) -> bool:
    node = Node(op, attrs, tuple(TensorType(a.shape, a.dtype.name) for a in arrays))
    out = semantics(op).infer(node)
    return all(d > 0 for d in out.dims)


def test_every_op_with_semantics_has_a_generator():
    from mlirfuse.dialect import OPS

    computed = {name for name, cls in OPS.items() if not cls.structural}
    assert computed == set(COMBINE) == {g.__name__.rstrip("_") for g in GENERATORS}


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda g: g.__name__.rstrip("_"))
def test_indexing_gives_what_the_reference_gives(generator):
    for seed in range(CASES):
        rng = np.random.default_rng([seed, zlib.crc32(generator.__name__.encode())])
        op, attrs, arrays = generator(rng)
        if not usable(op, attrs, arrays):
            continue
        node = node_for(op, attrs, arrays)
        with np.errstate(all="ignore"):
            expected = semantics(op).reference(node, *arrays)
            found = evaluate(node, arrays)
        assert (expected.shape, expected.dtype) == (node.out.dims, np.dtype(node.out.dtype)), (seed, attrs)
        np.testing.assert_allclose(
            found.astype(np.float64),
            expected.astype(np.float64),
            rtol=2e-3 if expected.dtype == np.float16 else 1e-4,
            atol=1e-5,
            err_msg=f"{seed} {attrs}",
        )
