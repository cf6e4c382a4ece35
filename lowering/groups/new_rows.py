"""What of every value is new in a tile of a walk, in numbers alone, for all tiles of a search at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlirfuse.lowering.groups.lines import WALKED, can_have_line, first_strips_of, later_strips_of
from mlirfuse.lowering.groups.spans import Position, Spans, hull, sizes_of

if TYPE_CHECKING:
    from mlirfuse.lowering.groups.extents import Extents, ManyExtents

__all__ = ["NewRows"]


class NewRows:
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
                root = extents.root(stage, tile, wanted)
                found.append(root if not found else _as_many_rows(root, found[0]))
                for value, box in extents.reads(stage, root):
                    self._required[which].setdefault(value, []).append(box)
            self.new[stage.number] = tuple(found)

    def _boxes(self, value: int) -> tuple[Spans, ...]:
        """What is new of a value in each of these tiles."""
        if value not in self._taken:
            here, *others = (hull(required[value]) for required in self._required)
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
                roots.append(sizes_of(whole, count))
                runs.append(walks)
                continue
            (first, _), (start, rows) = whole[WALKED], new[WALKED]
            # the first tile of all begins at the border; that of another walk is as one in the middle
            first, start = np.where(walks == counts, 0, first), np.where(walks == counts, top[WALKED][0], start)
            leading, rows = np.maximum(0, start - first).max(axis=0), rows[0]
            later = later_strips_of(leading, rows, walks)
            cut = (*new[:WALKED], (start, (rows // later)[np.newaxis]), *new[WALKED + 1 :])
            roots.append(np.where(walks > 1, sizes_of(cut, count), sizes_of(whole, count)))
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
