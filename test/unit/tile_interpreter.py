"""What the stages of a group compute, tile by tile, in NumPy: the meaning of `Stages` and `TileBoxes`.

Nothing may be read that is not there: a kept value holds what its stages stored for this tile and NaN elsewhere, an
operand is read inside the boxes that the analysis names, and only where an op's conditions hold. What a stage stores
has to lie in the value's box; every element of an output has to be stored once over all tiles. In a walk, a tile
computes its strips, and has of the tile before it what lies in lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from mlirfuse.dialect import Node, semantics
from mlirfuse.dialect.indexing import Expr, Fetch, FloorDiv, MaxOf, MinOf, Mod, Var
from mlirfuse.lowering.groups.boxes import Box, TileBoxes
from mlirfuse.lowering.groups.lines import WALKED
from mlirfuse.lowering.groups.stages import Stage

__all__ = ["BoxError", "interpret_tiles"]

Array = Any
POINTS = 1 << 20  # points of a root that are computed at a time, with the positions that each reduces


class BoxError(AssertionError):
    """A stage reads or stores what it may not."""


@dataclass(frozen=True)
class Points:
    """Places of a value: for each, the tile that it is of, and its index."""

    tile: Array
    index: tuple[Array, ...]

    def where(self, mask: Array) -> Points:
        return Points(self.tile[mask], tuple(i[mask] for i in self.index))

    def __len__(self) -> int:
        return len(self.tile)


def interpret_tiles(boxes: TileBoxes, operands: dict[int, Array]) -> dict[int, Array]:
    """The outputs of a group, each stage computed over its box of every tile."""
    return _Run(boxes, operands).run()


class _Run:
    def __init__(self, boxes: TileBoxes, operands: dict[int, Array]) -> None:
        self.boxes, self.stages, self.group = boxes, boxes.stages, boxes.stages.group
        self.operands = operands
        self.numbers = np.indices(boxes.tiles).reshape(len(boxes.tiles), -1)
        self.tiles = self.numbers.shape[1]
        self.by_tile = {f"t{axis}": n for axis, n in enumerate(self.numbers)}
        self.kept: dict[int, Array] = {}
        self.before: dict[tuple[int, int], tuple[Array, ...]] = {}
        self.outputs = {v: np.zeros(self.group.types[v].dims, self.group.types[v].dtype) for v in self.group.outputs}
        self.stored = {v: np.zeros(self.group.types[v].dims, int) for v in self.group.outputs}

    def run(self) -> dict[int, Array]:
        inner = {s.number: self.boxes.inner(s) for s in self.stages if self.boxes.parts[s.number]}
        once = {i.number for found in inner.values() for i in found}
        done: set[int] = set()
        for stage in self.stages:
            if stage.number in once:
                continue
            before = inner.get(stage.number, ())
            self._run(stage, before)
            done |= {stage.number, *(s.number for s in before)}
            for v in list(self.kept):
                if {s.number for s in self.stages.readers(v)} <= done:
                    del self.kept[v]
        for v, count in self.stored.items():
            if (count != 1).any():
                at = tuple(map(int, np.argwhere(count != 1)[0]))
                raise BoxError(f"output v{v}{list(at)} is stored {count[at]} times")
        return self.outputs

    # -- boxes

    def _start(self, box: Box) -> list[Array]:
        return [np.broadcast_to(_evaluate(e, self.by_tile), (self.tiles,)) for e in box.start]

    def _check_inside(self, box: Box, dims: tuple[int, ...], what: str) -> None:
        for start, size, dim in zip(self._start(box), box.sizes, dims, strict=True):
            if size < 1 or start.min() < 0 or start.max() + size > dim:
                raise BoxError(f"the box {box} of {what} leaves {dims}")

    def _inside(self, box: Box, points: Points) -> Array:
        found = np.ones(len(points), bool)
        for start, size, at in zip(self._start(box), box.sizes, points.index, strict=True):
            first = start[points.tile]
            found &= (at >= first) & (at < first + size)
        return found

    # -- stages

    def _run(self, stage: Stage, inner: Sequence[Stage]) -> None:
        """A stage; where it adds up its reduction in parts, those that compute these before each."""
        size = self.boxes.parts[stage.number]
        total: Array = None
        for part in range(stage.depth // size) if size else (0,):
            if size:
                self.by_tile[f"p{stage.number}"] = np.full(self.tiles, part)
            for before in inner:
                self._compute(before)
            found = self._root(stage, (part * size, size) if size else None)
            total = found if total is None else total + found
        self._store_all(stage, total)

    def _compute(self, stage: Stage) -> None:
        self._store_all(stage, self._root(stage, None))

    def _points(self, stage: Stage) -> Points:
        walk = self.boxes.walk
        if walk is None:
            return self._points_of(self.boxes.root_box(stage), np.arange(self.tiles))
        count, found = walk.first_strips[stage.number], []
        for strip in range(count):
            self.by_tile[f"s{stage.number}"] = np.full(self.tiles, strip)
            self._check_inside(walk.strips[stage.number], stage.root.node.out.dims, f"a strip of stage {stage.number}")
            later = strip >= count - walk.later_strips[stage.number]
            tiles = np.arange(self.tiles)[self._steps == 0] if not later else np.arange(self.tiles)
            found.append(self._points_of(walk.strips[stage.number], tiles))
        every = (np.concatenate([p.index[axis] for p in found]) for axis in range(len(found[0].index)))
        return Points(np.concatenate([p.tile for p in found]), tuple(every))

    def _points_of(self, box: Box, tiles: Array) -> Points:
        """All places of a box in some tiles."""
        local = np.indices(box.sizes).reshape(len(box.sizes), -1)
        starts = (start[tiles] for start in self._start(box))
        index = tuple((start[:, None] + inner).reshape(-1) for start, inner in zip(starts, local, strict=True))
        return Points(np.repeat(tiles, local.shape[1]), index)

    @property
    def _steps(self) -> Array:
        """Of each tile, which one of its walk it is."""
        assert self.boxes.walk is not None
        return self.numbers[WALKED] % self.boxes.walk.length

    def _take_over(self, v: int) -> None:
        """Each tile of a walk has rows of the one before."""
        walk = self.boxes.walk
        if walk is None or v not in walk.lines:
            return
        kept, line = self.kept[v], walk.line_boxes[v]
        self._check_inside(line, self.group.types[v].dims, f"the line of v{v}")
        apart = int(np.prod(self.boxes.tiles[WALKED + 1 :], dtype=int))  # numbers between neighbours along the walk
        for step in range(1, walk.length):
            places = self._points_of(line, np.arange(self.tiles)[self._steps == step])
            if not self._inside(self.boxes.kept[v], places).all():
                raise BoxError(f"a line of v{v} is taken over outside the box that is kept")
            before = Points(places.tile - apart, places.index)
            if not self._inside(self.boxes.kept[v], before).all():
                raise BoxError(f"a line of v{v} is outside the box of the tile before")
            kept[(places.tile, *places.index)] = kept[(before.tile, *before.index)]

    def _root(self, stage: Stage, part: tuple[int, int] | None) -> Array:
        """The elements of a stage's root's result, or what one part of its reduction adds to them."""
        dims, box = stage.root.node.out.dims, self.boxes.root_box(stage)
        self._check_inside(box, dims, f"the root of stage {stage.number}")
        for v, read in self.boxes.reads(stage):
            self._check_inside(read, self.group.types[v].dims, f"v{v} in stage {stage.number}")
        return _Walk(self, stage).root(self._points(stage), part)

    def _store_all(self, stage: Stage, root: Array) -> None:
        points, walk = self._points(stage), _Walk(self, stage)
        whole = np.full((self.tiles, *stage.root.node.out.dims), np.nan, np.float32)
        whole[(points.tile, *points.index)] = root
        walk.known[stage.root.result] = whole
        for v in stage.group.outputs:
            self._store(stage, walk, v, points)

    def _store(self, stage: Stage, walk: _Walk, v: int, points: Points) -> None:
        by_name = {f"d{axis}": i for axis, i in enumerate(points.index)}
        at = tuple(np.broadcast_to(_evaluate(e, by_name), points.tile.shape) for e in stage.landing[v])
        places = Points(points.tile, at)
        for axis, dim in enumerate(self.group.types[v].dims):
            if len(places) and (at[axis].min() < 0 or at[axis].max() >= dim):
                raise BoxError(f"stage {stage.number} stores v{v} outside its {dim} elements along axis {axis}")
        values = walk.value(v, places)
        if v in self.stages.kept:
            self._check_inside(self.boxes.kept[v], self.group.types[v].dims, f"kept v{v}")
            if not self._inside(self.boxes.kept[v], places).all():
                raise BoxError(f"stage {stage.number} stores v{v} outside the box that is kept")
            kept = self.kept.setdefault(v, np.full((self.tiles, *self.group.types[v].dims), np.nan, np.float32))
            if (stage.number, v) in self.before:  # what this stage stored for the part before is gone
                kept[self.before[stage.number, v]] = np.nan
            self.before[stage.number, v] = (places.tile, *places.index)
            kept[(places.tile, *places.index)] = values
            if stage.number == self.stages.writers(v)[-1].number:
                self._take_over(v)
        if v in self.group.outputs:
            own = np.ones(len(points), bool)
            for axis, first, size in self.boxes.own(stage):
                begin = np.broadcast_to(_evaluate(first, self.by_tile), (self.tiles,))[points.tile]
                own &= (points.index[axis] >= begin) & (points.index[axis] < begin + size)
            mine = places.where(own)
            np.add.at(self.stored[v], mine.index, 1)
            self.outputs[v][mine.index] = values[own]

    def read(self, stage: Stage, v: int, points: Points) -> Array:
        """Elements of a kept value or an operand, which have to be there."""
        boxes = [box for value, box in self.boxes.reads(stage) if value == v]
        inside = reduce(np.logical_or, (self._inside(b, points) for b in boxes), np.zeros(len(points), bool))
        if not inside.all():
            raise BoxError(f"stage {stage.number} reads v{v} at {_first(points, ~inside)}, in none of {boxes}")
        if v not in self.stages.kept and v not in self.operands:
            raise BoxError(f"stage {stage.number} reads v{v}, which is neither kept nor an operand")
        if v not in self.stages.kept:
            return self.operands[v][points.index]
        if not self._inside(self.boxes.kept[v], points).all():
            raise BoxError(f"stage {stage.number} reads v{v} outside the box that is kept")
        if v not in self.kept:
            raise BoxError(f"stage {stage.number} reads v{v} before it is there")
        found = self.kept[v][(points.tile, *points.index)]
        if np.isnan(found).any():
            raise BoxError(f"stage {stage.number} reads v{v} at {_first(points, np.isnan(found))}: nothing is there")
        return found


def _first(points: Points, mask: Array) -> str:
    at = int(np.argmax(mask))
    return f"{[int(i[at]) for i in points.index]} in tile {int(points.tile[at])}"


class _Walk:
    """Values at points, computed in one stage from what it may read; `known` are values that it has computed."""

    def __init__(self, run: _Run, stage: Stage) -> None:
        self.outer, self.stage, self.group = run, stage, stage.group
        self.known: dict[int, Array] = {}

    def root(self, points: Points, part: tuple[int, int] | None) -> Array:
        member = self.stage.root
        positions = max(1, math.prod(semantics(member.node.op).indexing(member.node).reduction_sizes))
        step = max(1, POINTS // positions)
        parts = [
            self._apply(member, Points(points.tile[i : i + step], tuple(x[i : i + step] for x in points.index)), part)
            for i in range(0, len(points), step)
        ]
        return np.concatenate(parts)

    def value(self, v: int, points: Points) -> Array:
        t = self.group.types[v]
        if not len(points):  # what other stages write of a concatenation
            return np.empty(0, t.dtype)
        if v in self.group.splats:
            return np.full(len(points), self.group.splats[v], t.dtype)
        if v in self.known:
            found = self.known[v][(points.tile, *points.index)]
            if np.isnan(found).any():
                raise BoxError(f"the epilogue of stage {self.stage.number} needs its root's result outside the box")
            return found
        if v in self.group.inputs:
            return self.outer.read(self.stage, v, points)
        return self._apply(self.group.producers[v], points)

    def _apply(self, member: Any, points: Points, part: tuple[int, int] | None = None) -> Array:
        node = member.node
        indexing = semantics(node.op).indexing(node)
        sizes = indexing.reduction_sizes if part is None else (part[1], *indexing.reduction_sizes[1:])
        count = math.prod(sizes)
        reduced = np.indices(sizes).reshape(len(sizes), count)
        if part is not None:
            reduced[0] += part[0]
        names = _named(indexing.out, [np.repeat(i, count) for i in points.index])
        names |= _named(indexing.reduction, [np.tile(r, len(points)) for r in reduced])
        tile = np.repeat(points.tile, count)
        arrays, masks = [], []
        for v, access in zip(member.operands, indexing.operands, strict=True):
            if node.op == "gather" and v == member.operands[1]:
                continue

            def fetched(f: Fetch, among: Any) -> Array:
                operand = member.operands[f.operand]
                found = self.value(operand, Points(tile, tuple(np.broadcast_to(i, tile.shape) for i in among)))
                return np.where(found < 0, found + f.size, found).clip(0, f.size - 1)

            holds = np.ones(len(tile), bool)
            for c in access.conditions:
                at = _evaluate(c.value, names, fetched)
                holds &= (at >= c.lo) & (at <= c.hi)
            index = tuple(np.broadcast_to(_evaluate(e, names, fetched), tile.shape) for e in access.index)
            array = np.full(len(tile), access.fill, self.group.types[v].dtype)
            array[holds] = self.value(v, Points(tile, index).where(holds))
            arrays.append(array)
            masks.append(holds)
        return _combine(node, arrays, masks, (len(points), count), points)


def _named(variables: Sequence[Expr], arrays: Sequence[Array]) -> dict[str, Array]:
    return {e.terms[0][0].name: a for e, a in zip(variables, arrays, strict=True) if e.terms}  # type: ignore[union-attr]


def _combine(node: Node, arrays: list[Array], masks: list[Array], shape: tuple[int, int], points: Points) -> Array:
    """The result's elements from those of the operands, by what the op is."""
    if node.op in ("conv", "contract"):
        x, w = (a.reshape(shape).astype(np.float64) for a in arrays)
        return (x * w).sum(axis=1).astype(node.out.dtype)
    if node.op in ("window", "reduce"):
        kind, x = node.attrs["kind"], arrays[0].reshape(shape)
        if kind in ("max", "min"):
            return getattr(x, kind)(axis=1)
        total = (x.astype(np.float64).prod if kind == "prod" else x.astype(np.float64).sum)(axis=1)
        if kind == "mean":
            total = total / (_counts(node, points) if node.op == "window" else shape[1])
        return total.astype(node.out.dtype)
    if node.op == "concat":
        assert (sum(m.astype(int) for m in masks) == 1).all(), "an element of a concatenation is in one operand"
        return np.select(masks, arrays)
    if node.op in ("reshape", "transpose", "slice", "expand", "pad", "gather"):
        return arrays[0]
    assert shape[1] == 1, node.op
    return np.asarray(semantics(node.op).reference(node, *arrays)).astype(node.out.dtype)


def _counts(node: Node, points: Points) -> Array:
    counts = semantics("window").counts(node)
    factors = [np.asarray(c)[points.index[axis]] for axis, c in zip(node.attrs["axes"], counts, strict=True)]
    return np.maximum(reduce(np.multiply, factors), 1)


def _evaluate(e: Expr, values: dict[str, Array], fetched: Any = None) -> Array:
    """An expression for arrays of its variables, by name."""

    def atom(a: Any) -> Array:
        match a:
            case Var():
                return values[a.name]
            case FloorDiv():
                return np.floor_divide(_evaluate(a.value, values, fetched), a.divisor)
            case Mod():
                return np.mod(_evaluate(a.value, values, fetched), a.divisor)
            case MinOf():
                return np.minimum(_evaluate(a.a, values, fetched), _evaluate(a.b, values, fetched))
            case MaxOf():
                return np.maximum(_evaluate(a.a, values, fetched), _evaluate(a.b, values, fetched))
        return fetched(a, [_evaluate(i, values, fetched) for i in a.index])

    total = np.int64(e.constant)
    for a, factor in e.terms:
        total = total + atom(a) * factor
    return total
