"""Boxes of many tiles at once, and what indexing functions make of them.

A position is an array with a row for each part of the channels and a column for each tile; a span is a first position
and a size; a box is a span for each dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mlirfuse.dialect.indexing import Atom, Expr, FloorDiv, MaxOf, MinOf, Mod, Var

__all__ = ["Position", "Sizes", "Span", "Spans", "hull", "image", "sizes_of", "whole"]

Position = npt.NDArray[np.int64]
Span = tuple[Position, Position]  # the first position and how many, of each tile
Spans = tuple[Span, ...]  # of each dimension
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class _Image:
    """What an index in d0, d1, ... reaches as these run through a box: a function of the box for each dimension."""

    dimensions: tuple[Callable[[Spans], Span], ...]

    def __call__(self, box: Spans) -> Spans:
        return tuple([along(box) for along in self.dimensions])


@lru_cache(maxsize=4096)
def image(index: tuple[Expr, ...], source: Sizes, dims: Sizes) -> _Image:
    """The image inside `dims`, for boxes inside `source`."""
    return _Image(tuple(_along(e, source, dim) for e, dim in zip(index, dims, strict=True)))


def _along(e: Expr, source: Sizes, dim: int) -> Callable[[Spans], Span]:
    """One dimension of an image. Most are one of the box, with a stride and a window: these take few steps."""
    axes = {v.name: int(v.name[1:]) for v in e.variables() if v.name[0] == "d" and v.name[1:].isdigit()}
    if not axes:
        fixed = _inside(*_interval(e, {}), dim)
        return lambda box: fixed
    moving = [(atom, factor) for atom, factor in e.terms if isinstance(atom, Var) and atom.name in axes]
    others = [atom for atom, _ in e.terms if not isinstance(atom, Var)]
    if others or len(moving) > 1 or moving[0][1] < 0:
        return lambda box: _inside(*_interval(e, {name: box[axis] for name, axis in axes.items()}), dim)
    ((variable, stride),) = moving
    return _strided(e - Expr(0, ((variable, stride),)), axes[variable.name], stride, source, dim)


def _strided(window: Expr, axis: int, stride: int, source: Sizes, dim: int) -> Callable[[Spans], Span]:
    """stride * d<axis> + window, for all values of the window."""
    low, high = window.range
    reach = high - low + 1
    clipped = low < 0 or (source[axis] - 1) * stride + high >= dim
    if stride == reach == 1 and not low:
        return (lambda box: _inside(*box[axis], dim)) if clipped else (lambda box: box[axis])

    def along(box: Spans) -> Span:
        first, size = box[axis]
        span = first * stride + low, (size - 1) * stride + reach
        return _inside(*span, dim) if clipped else span

    return along


def whole(dim: int) -> Span:
    return np.array([[0]]), np.array([[dim]])


def _inside(start: Position, size: Position, dim: int) -> Span:
    """What of a span lies inside a dimension: padding, and other parts of a concatenation, are not computed."""
    first = np.maximum(0, start)
    inside = _largest(np.maximum(1, np.minimum(dim, start + size) - first))
    return np.minimum(first, dim - inside), inside


def _largest(sizes: Position) -> Position:
    """Boxes have one size for all parts of the channels."""
    return sizes.max(axis=0, keepdims=True)


def sizes_of(box: Spans, count: int) -> Position:
    """How large a box is along each dimension, for each tile."""
    found = np.empty((len(box), count), np.int64)
    for axis, (_, size) in enumerate(box):
        found[axis] = size
    return found


def hull(boxes: Sequence[Spans]) -> tuple[Span, ...]:
    if len(boxes) == 1:
        return boxes[0]
    found = []
    for spans in zip(*boxes, strict=True):
        first, end = spans[0][0], spans[0][0] + spans[0][1]
        for start, size in spans[1:]:
            first, end = np.minimum(first, start), np.maximum(end, start + size)
        found.append((first, _largest(end - first)))
    return tuple(found)


def _interval(e: Expr, ranges: Mapping[str, Span]) -> Span:
    first, reach = np.array([[e.constant]]), np.array([[0]])
    for atom, factor in e.terms:
        low, size = _atom(atom, ranges)
        first = first + (low if factor > 0 else low + size - 1) * factor
        reach = reach + (size - 1) * abs(factor)
    return first, reach + 1


def _atom(atom: Atom, ranges: Mapping[str, Span]) -> Span:
    match atom:
        case Var() if atom.name in ranges:
            return ranges[atom.name]
        case FloorDiv():
            low, size = _interval(atom.value, ranges)
            whole = low % atom.divisor == 0  # as for every tile, where tiles divide
            last = np.where(whole, (size - 1) // atom.divisor, -(-(size - 1) // atom.divisor))
            return low // atom.divisor, last + 1
        case Mod():
            low, size = _interval(atom.value, ranges)
            inside = low // atom.divisor == (low + size - 1) // atom.divisor
            least, most = atom.range
            return np.where(inside, low % atom.divisor, least), np.where(inside, size, most - least + 1)
        case MinOf() | MaxOf():
            a, b = _interval(atom.a, ranges), _interval(atom.b, ranges)
            pick = np.minimum if isinstance(atom, MinOf) else np.maximum
            low = pick(a[0], b[0])
            return low, pick(a[0] + a[1], b[0] + b[1]) - low
    least, most = atom.range
    return np.array([[least]]), np.array([[most - least + 1]])
