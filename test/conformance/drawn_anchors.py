"""Anchors that a random group may have: ops that read many elements for each of theirs."""

from __future__ import annotations

import math
import string
from typing import Any

import numpy as np
from drawing import Drawing, Unsuitable
from hypothesis import strategies as st

__all__ = ["ANCHORS"]


def _reduce(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not t.rank or t.dtype == "bool":
        raise Unsuitable
    kinds = ["sum", "max", "min", "mean", "prod"] + (["argmax", "argmin"] if v in d.exact else [])
    kind = d.one_of(kinds)
    axes = tuple(sorted(d.draw(st.sets(st.integers(0, t.rank - 1), min_size=1, max_size=t.rank))))
    attrs: dict[str, Any] = {}
    if kind.startswith("arg"):
        axes = axes[:1]
        attrs["select_last"] = d.chance(2)
    work = math.prod(t.dims[a] for a in axes)
    if kind == "prod" and work > 16:
        raise Unsuitable
    exact = not d.floating(v) or kind in ("max", "min", "argmax", "argmin")
    return d.op("reduce", v, kind=kind, axes=axes, keepdims=d.chance(2), exact=exact, work=work, **attrs)


def _window(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not t.rank or t.dtype == "bool":
        raise Unsuitable
    rank = d.integer(1, min(3, t.rank))
    axes = tuple(sorted(d.draw(st.permutations(range(t.rank)))[:rank]))
    kernel = tuple(d.integer(1, 4) for _ in axes)
    strides = tuple(d.integer(1, 3) for _ in axes)
    dilations = tuple(d.one_of([1, 1, 2]) for _ in axes)
    low = tuple(d.integer(0, k - 1) for k in kernel)
    high = tuple(d.integer(0, k - 1) for k in kernel)
    sizes = []
    for axis, k, s, r, lo, hi in zip(axes, kernel, strides, dilations, low, high, strict=True):
        extent = t.dims[axis] + lo + hi - ((k - 1) * r + 1)
        if extent < 0:
            raise Unsuitable
        size = extent // s + 1
        if extent % s and d.chance(3) and (size * s) < t.dims[axis] + lo:  # ceil_mode: it begins inside
            size += 1
        sizes.append(size)
    kind = d.one_of(["max", "sum", "mean", *(["argmax"] if v in d.exact else [])])
    if not d.floating(v) and kind == "mean":
        raise Unsuitable
    if kind in ("max", "argmax") and not _windows_touch(t, axes, kernel, strides, dilations, low, sizes):
        raise Unsuitable
    return d.op(
        "window",
        v,
        kind=kind,
        axes=axes,
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        pads=(*low, *high),
        sizes=tuple(sizes),
        count_include_pad=d.chance(2),
        exact=kind in ("max", "argmax") or not d.floating(v),
        work=math.prod(kernel),
    )


def _windows_touch(t: Any, axes: Any, kernel: Any, strides: Any, dilations: Any, low: Any, sizes: Any) -> bool:
    """Whether every window has a position inside the input: the maximum of nothing is minus infinity."""
    return all(
        any(0 <= o * s + k * r - lo < t.dims[axis] for k in range(taps))
        for axis, taps, s, r, lo, size in zip(axes, kernel, strides, dilations, low, sizes, strict=True)
        for o in range(size)
    )


def _conv(d: Drawing, v: int) -> int:
    t = d.type(v)
    if t.rank < 3 or t.dtype == "bool" or not d.floating(v):
        raise Unsuitable
    rank = t.rank - 2
    groups = d.one_of([g for g in range(1, t.dims[1] + 1) if t.dims[1] % g == 0])
    filters = groups * d.one_of([1, 2, 3, 4, 5, 8, 16] if groups < 8 else [1, 2])
    kernel = tuple(d.integer(1, 3) for _ in range(rank))
    strides = tuple(d.integer(1, 2) for _ in range(rank))
    dilations = tuple(d.one_of([1, 1, 2]) for _ in range(rank))
    spread = tuple(d.one_of([1, 2]) for _ in range(rank)) if d.chance(4) else (1,) * rank
    pads = tuple(d.one_of([0, 1, 1, 2, -1]) for _ in range(2 * rank))
    constant = d.chance(2)
    weight = d.input((filters, t.dims[1] // groups, *kernel), t.dtype, free_layout=not constant)
    work = t.dims[1] // groups * math.prod(kernel)
    return d.op(
        "conv",
        v,
        weight,
        constant=(False, constant),
        strides=strides,
        pads=pads,
        dilations=dilations,
        input_dilation=spread,
        groups=groups,
        work=work,
    )


def _contract(d: Drawing, v: int) -> int:
    t = d.type(v)
    if t.dtype == "bool" or t.rank < 1:
        raise Unsuitable
    letters = iter(string.ascii_lowercase)
    first = [next(letters) for _ in t.dims]
    roles = {letter: d.one_of("bmkk") for letter in first}
    second = [letter for letter in first if roles[letter] != "m"]
    sizes = dict(zip(first, t.dims, strict=True))
    for _ in range(d.integer(0, 2)):
        letter = next(letters)
        sizes[letter], roles[letter] = d.one_of([2, 3, 4, 5, 8, 16, 24]), "n"
        second.append(letter)
    second = list(d.draw(st.permutations(second)))
    result = [letter for letter in sizes if roles[letter] != "k"]
    if d.chance(2):
        result = list(d.draw(st.permutations(result)))
    shared = [letter for letter in second if roles[letter] in "bk"]
    dims = tuple(1 if letter in shared and roles[letter] == "b" and d.chance(8) else sizes[letter] for letter in second)
    constant = d.chance(2)
    other = d.input(dims, t.dtype, free_layout=not constant)
    equation = f"{''.join(first)},{''.join(second)}->{''.join(result)}"
    work = math.prod(sizes[letter] for letter in sizes if roles[letter] == "k")
    operands, flags, exact = (v, other), (False, constant), not d.floating(v)
    if d.chance(3) and not constant:
        operands, equation = (other, v), f"{''.join(second)},{''.join(first)}->{''.join(result)}"
    return d.op("contract", *operands, constant=flags, equation=equation, work=work, exact=exact)


def _row(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not d.floating(v) or not t.rank:
        raise Unsuitable
    axes = tuple(sorted(d.draw(st.sets(st.integers(0, t.rank - 1), min_size=1, max_size=2))))
    work = 3 * math.prod(t.dims[a] for a in axes)
    if d.chance(2):
        return d.op("softmax", v, axes=axes, log=d.chance(2), work=work)
    rows = np.moveaxis(d.arrays[v].astype(np.float64), axes, range(len(axes)))
    if rows.reshape(work // 3, -1).std(axis=0).min() < 0.05:
        raise Unsuitable
    return d.op("normalize", v, axes=axes, epsilon=1e-3, work=work)


def _sort(d: Drawing, v: int) -> int:
    t = d.type(v)
    if v not in d.exact or not t.rank:
        raise Unsuitable
    axis = d.integer(0, t.rank - 1)
    run = d.integer(1, 20)
    keep = d.integer(1, run)
    return d.op(
        "sort", v, axis=axis, run=run, keep=keep, largest=d.chance(2), exact=True, work=min(run, t.dims[axis]) ** 2
    )


def _scatter(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not t.rank or t.dtype == "bool":
        raise Unsuitable
    axis = d.integer(0, t.rank - 1)
    dims = tuple(d.integer(1, 5 if a == axis else size) for a, size in enumerate(t.dims))
    updates = d.input(dims, t.dtype, free_layout=False)
    chosen = tuple(size if a == axis or d.chance(2) else 1 for a, size in enumerate(dims))
    places = np.random.default_rng(math.prod(dims)).integers(-1, t.dims[axis] + 1, chosen)
    indices = d.input(chosen, "int64", free_layout=False, array=places)
    kind = d.one_of(["replace", "sum", "max", "min"])
    exact = not d.floating(v) or kind != "sum"
    return d.op("scatter", v, indices, updates, axis=axis, kind=kind, exact=exact, work=dims[axis])


ANCHORS = (_reduce, _window, _conv, _conv, _contract, _contract, _row, _sort, _scatter)
