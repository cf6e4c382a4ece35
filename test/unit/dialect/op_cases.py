"""Random call sites of every op: its name, attributes and operands."""

from typing import Any

import numpy as np

from mlirfuse.dialect import Node, semantics
from mlirfuse.dialect.scalar import BINARY, UNARY

__all__ = ["GENERATORS", "Case"]

Case = tuple[str, dict[str, Any], list[Any]]


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
