"""Movements of elements that a random group may have, each of a value that is there."""

from __future__ import annotations

import numpy as np
from drawing import Drawing, Unsuitable
from hypothesis import strategies as st

__all__ = ["MOVEMENT", "REORDERING"]


def _reshape(d: Drawing, v: int) -> int:
    rest, dims = d.type(v).size, []
    while rest > 1 and len(dims) < 4:
        factor = d.one_of([f for f in range(1, rest + 1) if rest % f == 0])
        dims.append(factor)
        rest //= factor
    return d.op("reshape", v, shape=(*dims, rest) if rest > 1 or not dims else tuple(dims), exact=True)


def _transpose(d: Drawing, v: int) -> int:
    return d.op("transpose", v, perm=tuple(d.draw(st.permutations(range(d.type(v).rank)))), exact=True)


def _slice(d: Drawing, v: int) -> int:
    starts, sizes, steps = [], [], []
    for dim in d.type(v).dims:
        step = d.one_of([1, 1, 1, 2, 3, -1, -2]) if d.chance(2) else 1
        if step == 1 and d.chance(2):
            start, size = 0, dim
        else:
            start = d.integer(0, dim - 1)
            most = (dim - 1 - start) // step + 1 if step > 0 else start // -step + 1
            size = d.integer(max(1, most // 2), most)
        starts.append(start)
        sizes.append(size)
        steps.append(step)
    return d.op("slice", v, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps), exact=True)


def _concat(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not t.rank:
        raise Unsuitable
    axis = d.integer(0, t.rank - 1)

    def fits(u: int) -> bool:
        other = d.type(u)
        return (other.dtype, other.rank) == (t.dtype, t.rank) and all(
            a == b for i, (a, b) in enumerate(zip(other.dims, t.dims, strict=True)) if i != axis
        )

    parts = [v]
    for _ in range(d.integer(1, 2)):
        there = [u for u in d.arrays if fits(u)]
        if d.chance(2):
            parts.append(d.one_of(there))
        else:
            size = d.one_of([1, 2, 4, 5, 8])
            parts.append(d.input((*t.dims[:axis], size, *t.dims[axis + 1 :]), t.dtype))
    return d.op("concat", *d.draw(st.permutations(parts)), axis=axis, exact=True)


def _pad(d: Drawing, v: int) -> int:
    dims = d.type(v).dims
    if not dims:
        raise Unsuitable
    mode = d.one_of(["constant", "edge", "reflect", "wrap"])
    low, high = [], []
    for dim in dims:
        most = 0 if d.chance(2) else dim - 1 if mode == "reflect" else dim
        low.append(d.integer(0, min(3, most)))
        high.append(d.integer(0, min(3, most)))
        if d.chance(5) and dim > 2:
            low[-1] = -1
    value = {"value": 1.5 if d.floating(v) else 1.0} if mode == "constant" else {}
    return d.op("pad", v, low=tuple(low), high=tuple(high), mode=mode, exact=True, **value)


def _expand(d: Drawing, v: int) -> int:
    dims = tuple(d.one_of([2, 3, 4, 5]) if size == 1 and d.chance(2) else size for size in d.type(v).dims)
    if len(dims) < 4 and d.chance(2):
        dims = (d.one_of([1, 2, 3]), *dims)
    if dims == d.type(v).dims:
        raise Unsuitable
    return d.op("expand", v, shape=dims, exact=True)


def _gather(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not t.rank:
        raise Unsuitable
    axis = d.integer(0, t.rank - 1)
    dims = d.dims(d.integer(0, 2), 12)
    size = t.dims[axis]
    rng = np.random.default_rng([len(d.arrays), size])
    dtype = d.one_of(["int64", "int32"])
    indices = d.input(dims, dtype, array=rng.integers(-size, size, dims).astype(dtype))
    return d.op("gather", v, indices, axis=axis, exact=True)


REORDERING = (_reshape, _transpose)
MOVEMENT = (*REORDERING, _slice, _concat, _pad, _expand, _gather)
