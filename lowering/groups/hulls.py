"""Boxes in the numbers of a tile: the box that an index reaches from a box, and the hull of several.

A start is an expression of the variables that number the tile; a size is the same for every tile. Boxes lie inside
their value: at a border they are moved inwards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence

from mlirfuse.dialect.indexing import Expr, Fetch, FloorDiv, Var, maximum, minimum, var
from mlirfuse.lowering.groups.box import Box

__all__ = ["hull_of", "image_of"]

_MOST_TILES = 1 << 14  # tile numbers that are walked through to join boxes whose starts differ by no constant


def image_of(index: Sequence[Expr], box: Box, dims: Sequence[int], outside: frozenset[Var] = frozenset()) -> Box:
    """The box that an index in `out_variables` reaches as these run through a box, inside `dims`.

    Variables in which the box starts, and those `outside`, stand still.
    """
    local = [var(f"l{axis}", size) for axis, size in enumerate(box.sizes)]
    by_name = {f"d{axis}": start + inner for axis, (start, inner) in enumerate(zip(box.start, local, strict=True))}
    outside = outside | {v for e in box.start for v in e.variables()}
    starts, sizes = [], []
    for e, dim in zip(index, dims, strict=True):
        found = {v: by_name[v.name] for v in e.variables() if v.name in by_name}
        first, reach = _interval(e.substitute(found), outside)
        size = _most_inside(first, reach + 1, dim)
        starts.append(_inside(first, dim - size))
        sizes.append(size)
    return Box(tuple(starts), tuple(sizes))


def _inside(start: Expr, largest: int) -> Expr:
    return _simplified(minimum(maximum(start, 0), largest)) if largest else Expr(0)


def _simplified(start: Expr) -> Expr:
    """Of two tiles, any start is a multiple of the tile's number."""
    variables = start.variables()
    if len(variables) != 1:
        return start
    (t,) = variables
    if t.hi - t.lo != 1:
        return start
    low, high = start.evaluate({t: t.lo}), start.evaluate({t: t.hi})
    return (Expr(0, ((t, 1),)) - t.lo) * (high - low) + low


def _most_inside(start: Expr, size: int, dim: int) -> int:
    """The most elements of a part that are inside `dim` in any one tile.

    Where every tile meets a border, as each of two does, no box has to hold the halo of both its sides.
    """
    variables = sorted(start.variables(), key=lambda v: v.name)
    lo, hi = start.range
    if (lo >= 0 and hi + size <= dim) or math.prod(v.hi - v.lo + 1 for v in variables) > _MOST_TILES:
        return min(size, dim)
    most = 1
    for point in itertools.product(*(range(v.lo, v.hi + 1) for v in variables)):
        first = start.evaluate(dict(zip(variables, point, strict=True)))
        most = max(most, min(dim, first + size) - max(0, first))
        if most == min(size, dim):
            break
    return most


def _interval(e: Expr, outside: Collection[Var]) -> tuple[Expr, int]:
    """The least value of an expression, in the variables `outside`, and how far it reaches as all others run."""
    first, reach = Expr(e.constant), 0
    for atom, factor in e.terms:
        low, far = _atom_interval(Expr(0, ((atom, 1),)), outside)
        first = first + (low if factor > 0 else low + far) * factor
        reach += far * abs(factor)
    return first, reach


def _atom_interval(e: Expr, outside: Collection[Var]) -> tuple[Expr, int]:
    atom = e.terms[0][0]
    variables = e.variables()
    if isinstance(atom, Fetch) or not variables & set(outside):
        lo, hi = atom.range
        return Expr(lo), hi - lo
    if variables <= set(outside):
        return e, 0
    if isinstance(atom, FloorDiv):
        low, far = _interval(atom.value, outside)
        return low // atom.divisor, -(-far // atom.divisor)
    lo, hi = atom.range
    return Expr(lo), hi - lo


def hull_of(boxes: Sequence[Box], dims: Sequence[int]) -> Box:
    """The smallest box of one size that holds all of them, for every tile."""
    if len(set(boxes)) == 1:
        return boxes[0]
    starts, sizes = [], []
    for axis, dim in enumerate(dims):
        start, size = _hull_along({(b.start[axis], b.sizes[axis]) for b in boxes}, dim)
        starts.append(start)
        sizes.append(size)
    return Box(tuple(starts), tuple(sizes))


def _hull_along(parts: set[tuple[Expr, int]], dim: int) -> tuple[Expr, int]:
    ordered = sorted(parts, key=lambda p: (repr(p[0]), p[1]))
    if len(ordered) == 1:
        return ordered[0]
    distances = [start - ordered[0][0] for start, _ in ordered]
    if all(d.is_constant for d in distances):
        low = min(d.constant for d in distances)
        size = max(d.constant + s for d, (_, s) in zip(distances, ordered, strict=True)) - low
        first = ordered[0][0] + low
    else:
        size = _widest(ordered, dim)
        first = ordered[0][0]
        for start, _ in ordered[1:]:
            first = minimum(first, start)
    size = min(size, dim)
    return _inside(first, dim - size), size


def _widest(parts: Sequence[tuple[Expr, int]], dim: int) -> int:
    variables = sorted({v for start, _ in parts for v in start.variables()}, key=lambda v: v.name)
    if math.prod(v.hi - v.lo + 1 for v in variables) > _MOST_TILES:
        return dim
    widest = 0
    for point in itertools.product(*(range(v.lo, v.hi + 1) for v in variables)):
        values: Mapping[Var, int] = dict(zip(variables, point, strict=True))
        found = [(start.evaluate(values), size) for start, size in parts]
        widest = max(widest, max(s + n for s, n in found) - min(s for s, _ in found))
    return widest
