"""How much of every value a tile touches, in numbers alone: quick enough for a search over tiles.

The same walk as `boxes.TileBoxes`, for one tile in the middle of the image: an inner tile needs the most. Of its
channels it takes all parts, since those of a concatenation's operands are not alike. All tiles of a search are walked
at once: a position is an array with a row for each part of the channels and a column for each tile. Where blocks walk
over several tiles (`lines`), what is new follows from two neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mlirfuse.dialect.indexing import Atom, Expr, FloorDiv, MaxOf, MinOf, Mod, Var
from mlirfuse.lowering.groups.boxes import TileBoxes, frame_of
from mlirfuse.lowering.groups.lines import WALKED, can_have_line, first_strips_of, later_strips_of
from mlirfuse.lowering.groups.stages import Stage, Stages

__all__ = ["Extents", "ManyExtents", "TileExtents", "extents_of"]

Position = npt.NDArray[np.int64]
Span = tuple[Position, Position]  # the first position and how many, of each tile
Spans = tuple[Span, ...]  # of each dimension
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class TileExtents:
    """Sizes of boxes for one tile: of what each stage's root computes at a time, and of kept values.

    A block walks over `walk` of the `tiles`, computes each root `runs` times for these in all, and keeps
    `line_elements` from one to the next.
    """

    tile: Sizes
    tiles: int
    roots: tuple[Sizes, ...]
    kept: Mapping[int, Sizes]
    runs: tuple[int, ...]
    walk: int = 1
    line_elements: int = 0

    @property
    def walks(self) -> int:
        """What blocks are handed."""
        return self.tiles // self.walk

    def shared_elements(self, stages: Stages) -> int:
        """The most elements of kept boxes that are alive at once, and of lines."""
        elements = {v: math.prod(sizes) for v, sizes in self.kept.items()}
        alive = max((sum(elements[v] for v in alive) for alive in stages.alive), default=0)
        return alive + self.line_elements


@dataclass(frozen=True)
class ManyExtents:
    """The extents of many tiles, by columns: `roots[s][:, i]` and `kept[v][:, i]` are those of tile i."""

    tiles: Sequence[Sizes]
    counts: Position  # how many walks there are of each
    roots: Sequence[Position]
    kept: Mapping[int, Position]
    shared_elements: Position  # the most elements of kept boxes that are alive at once, and of lines
    runs: Sequence[Position]
    walks: Position
    line_elements: Position

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, i: int) -> TileExtents:
        roots = tuple(tuple(root[:, i].tolist()) for root in self.roots)
        kept = {v: tuple(box[:, i].tolist()) for v, box in self.kept.items()}
        runs = tuple(int(run[i]) for run in self.runs)
        walk, lines = int(self.walks[i]), int(self.line_elements[i])
        return TileExtents(self.tiles[i], int(self.counts[i]) * walk, roots, kept, runs, walk, lines)


def extents_of(boxes: TileBoxes) -> ManyExtents:
    """Those of one tile, as its boxes are, tile for tile."""
    walk, stages = boxes.walk, boxes.stages
    kept = {v: _column(box.sizes) for v, box in boxes.kept.items()}
    lines = 0 if walk is None else sum(box.elements for box in walk.line_boxes.values())
    alive = (sum(boxes.kept[v].elements for v in values) for values in stages.alive)
    roots = [boxes.root_box(s) if walk is None else walk.strips[s.number] for s in stages]
    return ManyExtents(
        [boxes.tile],
        np.array([math.prod(boxes.walks)]),
        [_column(root.sizes) for root in roots],
        kept,
        np.array([max(alive, default=0) + lines]),
        [np.array([1 if walk is None else walk.runs(s)]) for s in stages],
        np.array([1 if walk is None else walk.length]),
        np.array([lines]),
    )


def _column(sizes: Sizes) -> Position:
    return np.array(sizes, np.int64).reshape(-1, 1)


class Extents:
    """The extents of tiles of one group."""

    def __init__(self, stages: Stages) -> None:
        frame = frame_of(stages)
        assert not isinstance(frame, str), frame
        self.stages, self.frame = stages, frame
        inputs = set(stages.group.inputs)
        dims = [t.dims for t in stages.group.types]
        reads = [[r for r in (*s.root_reads, *s.epilogue_reads) if r.value not in inputs] for s in stages]
        roots = [s.root.node.out.dims for s in stages]
        self._reads = [
            [(r.value, _image(r.index, root, dims[r.value])) for r in found]
            for root, found in zip(roots, reads, strict=True)
        ]
        self._back = [
            {v: [_image(index, dims[v], root) for index in s.root_index(v)] for v in s.group.outputs}
            for s, root in zip(stages, roots, strict=True)
        ]
        self._land = [
            {v: _image(s.landing[v], root, dims[v]) for v in s.group.outputs}
            for s, root in zip(stages, roots, strict=True)
        ]

    def of(self, tile: Sequence[int], walk: int = 1) -> TileExtents:
        """What a tile of these sizes along the frame touches, where blocks walk over so many."""
        return self.of_all([tile], [walk])[0]

    def of_all(self, tiles: Sequence[Sequence[int]], walks: Sequence[int] = ()) -> ManyExtents:
        """The same for each of several tiles; without `walks`, blocks compute one tile each."""
        dims = np.array(self.frame)
        cut = np.minimum(np.array(tiles, dtype=np.int64).reshape(len(tiles), len(dims)), dims)
        counts = -(-dims // cut)
        inner = np.where(counts == 2, 1, (counts - 1) // 2)[np.newaxis]  # of two, the one that no stride leaves short
        middle = self._tile(cut, counts, inner)
        required: dict[int, list[Spans]] = {}
        roots: list[Spans] = [()] * len(self.stages)
        for stage in reversed(self.stages.stages):
            root = roots[stage.number] = self._root(stage, tuple(middle), required)
            for value, box in self.reads(stage, root):
                required.setdefault(value, []).append(box)
        kept = {v: self._kept(v, roots) for v in self.stages.kept}
        found = ManyExtents(
            list(map(tuple, cut.tolist())),
            counts.prod(axis=1),
            [_sizes(root, len(tiles)) for root in roots],
            {v: _sizes(box, len(tiles)) for v, box in kept.items()},
            self._most_alive(kept, len(tiles)),
            [np.ones(len(tiles), np.int64) for _ in roots],
            np.ones(len(tiles), np.int64),
            np.zeros(len(tiles), np.int64),
        )
        if all(walk == 1 for walk in walks):
            return found
        along = np.arange(len(dims)) == WALKED
        after, first = (self._tile(cut, counts, np.where(along, n, inner)) for n in (inner + 1, 0 * inner))
        new = _NewRows(self, (middle, after, first), roots, kept)
        return new.walking(found, np.array(walks, np.int64), counts[:, WALKED])

    def _tile(self, cut: Position, counts: Position, numbers: Position) -> Spans:
        """The tiles of these numbers, and all parts of their channels."""
        found = []
        for axis, dim in enumerate(self.frame):
            number = numbers[..., axis]
            if axis == 1:
                number = np.minimum(np.arange(counts[:, 1].max())[:, np.newaxis], counts[:, 1] - 1)
            found.append((np.minimum(number * cut[:, axis], dim - cut[:, axis]), cut[np.newaxis, :, axis]))
        return tuple(found)

    def _root(self, stage: Stage, middle: Spans, required: Mapping[int, list[Spans]]) -> Spans:
        dims = stage.root.node.out.dims
        wanted: list[Spans] = []
        if stage in self.stages.sinks:
            cut = len(dims) > 1 and dims[1] == self.frame[1]
            channels = middle[1] if cut else _whole(dims[min(1, len(dims) - 1)])
            wanted.append(tuple(channels if axis == 1 else span for axis, span in enumerate(middle)))
        for value in stage.group.outputs:
            if value in required:
                box = _hull(required[value])
                wanted += self.back(stage, value, box)
        return _hull(wanted)

    def back(self, stage: Stage, value: int, box: Spans) -> list[Spans]:
        """What of a stage's root a box of one of its outputs comes from."""
        return [image(box) for image in self._back[stage.number][value]]

    def reads(self, stage: Stage, root: Spans) -> Iterator[tuple[int, Spans]]:
        """The boxes of kept values that a stage reads for a box of its root."""
        return ((value, image(root)) for value, image in self._reads[stage.number])

    def _kept(self, value: int, roots: Sequence[Spans]) -> Spans:
        return _hull([self._land[s.number][value](roots[s.number]) for s in self.stages.writers(value)])

    def _most_alive(self, kept: Mapping[int, Spans], count: int) -> Position:
        elements = {v: math.prod(size for _, size in box) for v, box in kept.items()}
        most = np.zeros((1, count), np.int64)
        for alive in dict.fromkeys(self.stages.alive):
            most = np.maximum(most, sum(elements[v] for v in alive))
        return most[0]


class _NewRows:
    """What is new in a tile, in the one after it along the walk and in the first of all, as `lines.Walk` finds it."""

    def __init__(
        self, extents: Extents, tiles: tuple[Spans, ...], roots: Sequence[Spans], kept: Mapping[int, Spans]
    ) -> None:
        self.extents, self.roots, self.kept = extents, roots, kept
        self.lines: dict[int, Position] = {}
        stages = extents.stages
        self.new: list[tuple[Spans, ...]] = [()] * len(stages)
        self._required: tuple[dict[int, list[Spans]], ...] = tuple({} for _ in tiles)
        self._taken: dict[int, tuple[Spans, ...]] = {}
        for stage in reversed(stages.stages):
            boxes = {v: self._boxes(v) for v in stage.group.outputs if v in self._required[0]}
            found: list[Spans] = []
            for which, tile in enumerate(tiles):
                wanted = {v: [box[which]] for v, box in boxes.items()}
                root = extents._root(stage, tile, wanted)
                found.append(root if not found else _as_many_rows(root, found[0]))
                for value, box in extents.reads(stage, root):
                    self._required[which].setdefault(value, []).append(box)
            self.new[stage.number] = tuple(found)

    def _boxes(self, value: int) -> tuple[Spans, ...]:
        """What is new of a value in each of these tiles."""
        if value not in self._taken:
            here, *others = (_hull(required[value]) for required in self._required)
            boxes = (here, *(_as_many_rows(box, here) for box in others))
            if can_have_line(self.extents.stages, value):
                (start, size), (later, _) = here[WALKED], boxes[1][WALKED]
                step = (later - start).max(axis=0)
                self.lines[value] = rows = np.where(step > 0, np.clip(size - step, 0, size - 1), 0)
                boxes = tuple(_without_first(box, rows) for box in boxes)
            self._taken[value] = boxes
        return self._taken[value]

    def walking(self, found: ManyExtents, walks: Position, counts: Position) -> ManyExtents:
        """The extents of tiles in walks; `counts` are the tiles along these."""
        count, roots, runs = len(found), [], []
        for whole, (new, _, top) in zip(self.roots, self.new, strict=True):
            if len(whole) <= WALKED:
                roots.append(_sizes(whole, count))
                runs.append(walks)
                continue
            (first, _), (start, rows) = whole[WALKED], new[WALKED]
            # the first tile of all begins at the border; that of another walk is as one in the middle
            first, start = np.where(walks == counts, 0, first), np.where(walks == counts, top[WALKED][0], start)
            leading, rows = np.maximum(0, start - first).max(axis=0), rows[0]
            later = later_strips_of(leading, rows, walks)
            cut = (*new[:WALKED], (start, (rows // later)[np.newaxis]), *new[WALKED + 1 :])
            roots.append(np.where(walks > 1, _sizes(cut, count), _sizes(whole, count)))
            runs.append(np.where(walks > 1, first_strips_of(leading, rows, later) + (walks - 1) * later, 1))
        lines = np.zeros(count, np.int64)
        for value, line in self.lines.items():
            width = math.prod(size for axis, (_, size) in enumerate(self.kept[value]) if axis != WALKED)
            lines = lines + np.where(walks > 1, (line * width).max(axis=0), 0)
        return replace(
            found, counts=found.counts // walks, roots=roots, shared_elements=found.shared_elements + lines,
            runs=runs, walks=walks, line_elements=lines,
        )  # fmt: skip


def _as_many_rows(box: Spans, like: Spans) -> Spans:
    """A box at a border, with the rows that it has elsewhere."""
    if len(box) <= WALKED:
        return box
    return (*box[:WALKED], (box[WALKED][0], like[WALKED][1]), *box[WALKED + 1 :])


def _without_first(box: Spans, rows: Position) -> Spans:
    start, size = box[WALKED]
    return (*box[:WALKED], (start + rows, size - rows), *box[WALKED + 1 :])


@dataclass(frozen=True)
class _Image:
    """What an index in d0, d1, ... reaches as these run through a box: a function of the box for each dimension."""

    dimensions: tuple[Callable[[Spans], Span], ...]

    def __call__(self, box: Spans) -> Spans:
        return tuple([along(box) for along in self.dimensions])


@lru_cache(maxsize=4096)
def _image(index: tuple[Expr, ...], source: Sizes, dims: Sizes) -> _Image:
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


def _whole(dim: int) -> Span:
    return np.array([[0]]), np.array([[dim]])


def _inside(start: Position, size: Position, dim: int) -> Span:
    """What of a span lies inside a dimension: padding, and other parts of a concatenation, are not computed."""
    first = np.maximum(0, start)
    inside = _largest(np.maximum(1, np.minimum(dim, start + size) - first))
    return np.minimum(first, dim - inside), inside


def _largest(sizes: Position) -> Position:
    """Boxes have one size for all parts of the channels."""
    return sizes.max(axis=0, keepdims=True)


def _sizes(box: Spans, count: int) -> Position:
    """How large a box is along each dimension, for each tile."""
    found = np.empty((len(box), count), np.int64)
    for axis, (_, size) in enumerate(box):
        found[axis] = size
    return found


def _hull(boxes: Sequence[Spans]) -> tuple[Span, ...]:
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
