"""How much of every value a tile touches, in numbers alone: quick enough for a search over tiles.

The same walk as `boxes.TileBoxes`, for one tile in the middle of the image: an inner tile needs the most. Of its
channels it takes all parts, since those of a concatenation's operands are not alike. All tiles of a search are walked
at once (`spans`). Where blocks walk over several tiles (`lines`), what is new follows from two neighbours (`new_rows`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlirfuse.lowering.groups.boxes import TileBoxes, frame_of
from mlirfuse.lowering.groups.lines import WALKED
from mlirfuse.lowering.groups.new_rows import NewRows
from mlirfuse.lowering.groups.spans import Position, Sizes, Spans, hull, image, sizes_of, whole
from mlirfuse.lowering.groups.stages import Stage, Stages

__all__ = ["Extents", "ManyExtents", "TileExtents", "extents_of"]


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
        [np.array([boxes.runs(s)]) for s in stages],
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
            [(r.value, image(r.index, root, dims[r.value])) for r in found]
            for root, found in zip(roots, reads, strict=True)
        ]
        self._back = [
            {v: [image(index, dims[v], root) for index in s.root_index(v)] for v in s.group.outputs}
            for s, root in zip(stages, roots, strict=True)
        ]
        self._land = [
            {v: image(s.landing[v], root, dims[v]) for v in s.group.outputs}
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
            root = roots[stage.number] = self.root(stage, tuple(middle), required)
            for value, box in self.reads(stage, root):
                required.setdefault(value, []).append(box)
        kept = {v: self._kept(v, roots) for v in self.stages.kept}
        found = ManyExtents(
            list(map(tuple, cut.tolist())),
            counts.prod(axis=1),
            [sizes_of(root, len(tiles)) for root in roots],
            {v: sizes_of(box, len(tiles)) for v, box in kept.items()},
            self._most_alive(kept, len(tiles)),
            [np.ones(len(tiles), np.int64) for _ in roots],
            np.ones(len(tiles), np.int64),
            np.zeros(len(tiles), np.int64),
        )
        if all(walk == 1 for walk in walks):
            return found
        along = np.arange(len(dims)) == WALKED
        after, first = (self._tile(cut, counts, np.where(along, n, inner)) for n in (inner + 1, 0 * inner))
        new = NewRows(self, (middle, after, first), roots, kept)
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

    def root(self, stage: Stage, middle: Spans, required: Mapping[int, list[Spans]]) -> Spans:
        """What of a stage's root is computed for a tile, where later stages require such boxes of what it keeps."""
        dims = stage.root.node.out.dims
        wanted: list[Spans] = []
        if stage in self.stages.sinks:
            cut = len(dims) > 1 and dims[1] == self.frame[1]
            channels = middle[1] if cut else whole(dims[min(1, len(dims) - 1)])
            wanted.append(tuple(channels if axis == 1 else span for axis, span in enumerate(middle)))
        for value in stage.group.outputs:
            if value in required:
                box = hull(required[value])
                wanted += self.back(stage, value, box)
        return hull(wanted)

    def back(self, stage: Stage, value: int, box: Spans) -> list[Spans]:
        """What of a stage's root a box of one of its outputs comes from."""
        return [image(box) for image in self._back[stage.number][value]]

    def reads(self, stage: Stage, root: Spans) -> Iterator[tuple[int, Spans]]:
        """The boxes of kept values that a stage reads for a box of its root."""
        return ((value, image(root)) for value, image in self._reads[stage.number])

    def _kept(self, value: int, roots: Sequence[Spans]) -> Spans:
        return hull([self._land[s.number][value](roots[s.number]) for s in self.stages.writers(value)])

    def _most_alive(self, kept: Mapping[int, Spans], count: int) -> Position:
        elements = {v: math.prod(size for _, size in box) for v, box in kept.items()}
        most = np.zeros((1, count), np.int64)
        for alive in dict.fromkeys(self.stages.alive):
            most = np.maximum(most, sum(elements[v] for v in alive))
        return most[0]
