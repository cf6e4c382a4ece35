"""Line buffers: what a tile takes over from the one before it, where a block walks over several along one dimension.

Tiles that are neighbours along the first spatial dimension need common rows of what they keep between stages. A block
that computes `walk` such tiles one after the other computes these rows once: the last rows of a box that the next tile
needs too lie in a *line*, from which the next tile's box begins. Each stage then computes the rows that are new; of
the first tile, which takes over nothing, it computes all. It does both in strips of so many rows.

Deep Fusion (section 3) calls both ways to treat the halo: recompute it, or keep the lines that it consists of.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mlirfuse.dialect.indexing import Expr, Var, maximum, var
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.hulls import hull_of, image_of
from mlirfuse.lowering.groups.reads import Read
from mlirfuse.lowering.groups.stages import Stage, Stages

__all__ = ["WALKED", "Line", "Walk", "can_have_line", "first_strips_of", "has_lines", "later_strips_of", "walk_problem"]

WALKED = 2  # the dimension along which blocks walk: the first spatial one
MOST_STRIPS = 8  # of the new rows of a tile
MOST_ADDED = 1.05  # times the rows that are needed: so many may be computed, before strips are cut smaller

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """The `rows` of a kept value's box that a tile takes over, from `start` on: an expression of the tile's number."""

    start: Expr
    rows: int


class _Boxes(Protocol):
    """What is known of a tile that takes over nothing (`boxes.TileBoxes`)."""

    stages: Stages
    kept: dict[int, Box]

    @property
    def tiles(self) -> tuple[int, ...]: ...
    @property
    def numbers(self) -> tuple[Expr, ...]: ...
    def root_box(self, stage: Stage) -> Box: ...
    def tile_box(self, stage: Stage) -> Box: ...


def walk_problem(boxes: _Boxes, walk: int) -> str | None:
    """Why a block does not compute so many tiles of a group one after the other, or None."""
    if walk < 1 or len(boxes.tiles) <= WALKED:
        return f"a walk of {walk} tiles along {len(boxes.tiles)} dimensions"
    if boxes.tiles[WALKED] % walk:
        return f"walks of {walk} tiles do not divide {boxes.tiles[WALKED]}"
    return Walk(boxes, walk).problem


class Walk:
    """What the tiles of a walk of `length` tiles compute: a strip of each stage's box at a time.

    A strip is a part of the box along the dimension of the walk; they are numbered by the variable `s<stage>`. The
    first tile computes `first_strips` of them; each of the others the last `later_strips`, which divide its new rows,
    and takes over `lines` of kept values.
    """

    def __init__(self, boxes: _Boxes, length: int) -> None:
        self.boxes, self.length = boxes, length
        self.number = boxes.numbers[WALKED]
        (self.variable,) = self.number.variables()
        self.lines: dict[int, Line] = {}
        self._decided: dict[int, Line | None] = {}
        self._new: dict[int, Box] = {}
        required: dict[int, list[Box]] = {}
        for stage in reversed(boxes.stages.stages):
            self._backwards(stage, required)

    @cached_property
    def later_strips(self) -> dict[int, int]:
        """Strips of each stage that a tile computes which follows another."""
        return {s.number: self._later(s) for s in self.boxes.stages}

    @cached_property
    def first_strips(self) -> dict[int, int]:
        """Strips of each stage that the first tile of a walk computes."""
        return {
            s.number: int(first_strips_of(self._leading(s), self._rows(s), self.later_strips[s.number]))
            for s in self.boxes.stages
        }

    @cached_property
    def strips(self) -> dict[int, Box]:
        """What each stage computes at a time."""
        return {s.number: self._strip(s) for s in self.boxes.stages}

    def strip_number(self, stage: Stage) -> Expr:
        """The variable that numbers the strips of a stage."""
        return var(f"s{stage.number}", self.first_strips[stage.number])

    def runs(self, stage: Stage) -> int:
        """Strips of a stage that a block computes in all."""
        return self.first_strips[stage.number] + (self.length - 1) * self.later_strips[stage.number]

    def computed(self, stage: Stage) -> Iterator[Box]:
        """All that is computed of a stage's root: by the first tile of every walk, and by those that follow."""
        strip, first, later = (
            self.strips[stage.number],
            self.first_strips[stage.number],
            self.later_strips[stage.number],
        )
        walks = self.boxes.tiles[WALKED] // self.length
        parts: list[tuple[Expr, Expr]] = [(var("w", walks) * self.length, self.strip_number(stage))]
        parts.append((self.number, var("r", later) + (first - later)))
        for number, part in parts:
            values = {self.variable: number, **dict.fromkeys(self.strip_number(stage).variables(), part)}
            yield Box(tuple(e.substitute(values) for e in strip.start), strip.sizes)

    @cached_property
    def line_boxes(self) -> Mapping[int, Box]:
        """The part of each kept value's box that is taken over."""
        return {v: _with_rows(self.boxes.kept[v], line.start, line.rows) for v, line in self.lines.items()}

    def of_next(self, box: Box) -> Box:
        """The box as it is for the next tile of the walk."""
        return Box(tuple(e.substitute({self.variable: self.number + 1}) for e in box.start), box.sizes)

    @property
    def problem(self) -> str | None:
        """Why the tiles of a walk are not computed so, or None."""
        if not self.lines:
            return "neighbouring tiles have nothing in common that the next could take over"
        if any(_moves_beside(box, self.variable) for box in (*self._new.values(), *self.boxes.kept.values())):
            return "boxes move along other dimensions too"
        for stage in self.boxes.stages:
            whole, new = self.boxes.root_box(stage), self._new[stage.number]
            if not self._is_along(whole, new):
                return f"stage {stage.number} computes rows that follow from more than the tile's number along the walk"
            if _without_rows(whole) != _without_rows(new):
                return f"stage {stage.number} computes boxes of other sizes in the tiles that follow"
            if not self._holds(whole, new):
                return f"stage {stage.number}: {new.sizes[WALKED]} new rows are not in its box"
        for value in self.lines:
            if not self._holds(self.boxes.kept[value], self.line_boxes[value]):
                return f"the box of value {value} has not the rows that are taken over"
        return None

    # -- the walk over the stages, backwards

    def _backwards(self, stage: Stage, required: dict[int, list[Box]]) -> None:
        stages, dims = self.boxes.stages, stage.root.node.out.dims
        wanted = [self.boxes.tile_box(stage)] if stage in stages.sinks else []
        for value in stage.group.outputs:
            if value in required:
                box = hull_of(required[value], stage.group.types[value].dims)
                if (line := self._line(value, box)) is not None:
                    box = _with_rows(box, line.start + line.rows, box.sizes[WALKED] - line.rows)
                wanted += [image_of(index, box, dims) for index in stage.root_index(value)]
        self._new[stage.number] = root = hull_of(wanted, dims)
        reads: Sequence[Read] = (*stage.root_reads, *stage.epilogue_reads)
        for read in reads:
            if read.value not in stages.group.inputs:
                box = image_of(read.index, root, stage.group.types[read.value].dims)
                required.setdefault(read.value, []).append(box)

    def _line(self, value: int, box: Box) -> Line | None:
        """What is taken over of a value, of which a tile that follows needs this box."""
        if value not in self._decided:
            self._decided[value] = line = self._line_of(value, box)
            if line is not None:
                self.lines[value] = line
        return self._decided[value]

    def _line_of(self, value: int, box: Box) -> Line | None:
        if not (can_have_line(self.boxes.stages, value) and self._is_along(box)):
            return None
        start = box.start[WALKED]
        at = self._along(start)
        steps = [after - before for before, after in itertools.pairwise(at)]
        rows = box.sizes[WALKED] - max(steps, default=0)
        return Line(start, rows) if min(steps, default=0) >= 0 and 0 < rows < box.sizes[WALKED] else None

    # -- strips

    def _rows(self, stage: Stage) -> int:
        """New rows of a tile that follows another."""
        sizes = self._new[stage.number].sizes
        return sizes[WALKED] if len(sizes) > WALKED else 1

    def _leading(self, stage: Stage) -> int:
        """The most rows before these that the first tile of a walk computes too."""
        whole, new = self.boxes.root_box(stage), self._new[stage.number]
        if len(new.sizes) <= WALKED:
            return 0
        starts, new_starts = self._along(whole.start[WALKED]), self._along(new.start[WALKED])
        return max(new_starts[t] - starts[t] for t in range(0, self.boxes.tiles[WALKED], self.length))

    def _later(self, stage: Stage) -> int:
        return int(later_strips_of(np.array(self._leading(stage)), np.array(self._rows(stage)), np.array(self.length)))

    def _strip(self, stage: Stage) -> Box:
        whole, new, count = self.boxes.root_box(stage), self._new[stage.number], self.first_strips[stage.number]
        if count == 1:
            return new
        rows = self._rows(stage) // self.later_strips[stage.number]
        end, back = new.start[WALKED] + self._rows(stage), Expr(count) - self.strip_number(stage)
        return _with_rows(new, maximum(end - back * rows, whole.start[WALKED]), rows)

    # -- along the walk

    def _along(self, e: Expr) -> list[int]:
        """The values of an expression of the tile's number along the walk, tile by tile."""
        return [e.evaluate({self.variable: t}) for t in range(self.boxes.tiles[WALKED])]

    def _is_along(self, *boxes: Box) -> bool:
        """Whether the rows of boxes follow from the tile's number along the walk alone."""
        return all(b.start[WALKED].variables() <= self.number.variables() for b in boxes if len(b.start) > WALKED)

    def _holds(self, whole: Box, part: Box) -> bool:
        """Whether the rows of a part are in the whole, in every tile."""
        if len(part.sizes) <= WALKED:
            return True
        first, starts = self._along(whole.start[WALKED]), self._along(part.start[WALKED])
        rows, size = part.sizes[WALKED], whole.sizes[WALKED]
        return all(a <= b and b + rows <= a + size for a, b in zip(first, starts, strict=True))


def later_strips_of(leading: Rows, rows: Rows, length: Rows) -> Rows:
    """Into how many strips new rows are cut, so that what the first tile computes before them takes few rows too many.

    For each of many walks: over `length` tiles with so many new `rows`, the first with `leading` rows before these.
    """
    wanted = leading + rows * length
    best = np.full_like(wanted, 1)
    least = _computed(leading, rows, length, best)
    for strips in range(2, MOST_STRIPS + 1):
        found = np.where(rows % strips == 0, _computed(leading, rows, length, strips), least)
        better = (found < least) & (least > MOST_ADDED * wanted)
        best, least = np.where(better, strips, best), np.where(better, found, least)
    return best


def _computed(leading: Rows, rows: Rows, length: Rows, strips: Any) -> Rows:
    """Rows that all tiles of a walk compute, if new rows are cut into so many strips."""
    return (first_strips_of(leading, rows, strips) + (length - 1) * strips) * (rows // strips)


def first_strips_of(leading: Any, rows: Any, later_strips: Any) -> Any:
    """Strips of the first tile."""
    return -(-(leading + rows) // np.maximum(1, rows // later_strips))


def can_have_line(stages: Stages, value: int) -> bool:
    """Whether rows of a kept value may be taken over from the tile before: nothing else tells when they are stored."""
    writers = stages.writers(value)  # what is an output too is stored by the tile whose own rows these are
    return all(s not in stages.sinks and _by_rows(s, value) for s in writers)


def has_lines(stages: Stages) -> bool:
    """Whether there is any such value."""
    return any(can_have_line(stages, v) for v in stages.kept)


def _by_rows(stage: Stage, value: int) -> bool:
    """Whether a stage stores nothing else, and leaves each row of its root's result in the same row of the value."""
    landing = stage.landing[value]
    dims, rank = stage.root.node.out.dims, len(landing)
    if stage.group.outputs != (value,) or rank <= WALKED or len(dims) != rank:
        return False
    row = var(f"d{WALKED}", dims[WALKED])
    others = (e for axis, e in enumerate(landing) if axis != WALKED)
    same = landing[WALKED] == row and stage.group.types[value].dims[WALKED] == dims[WALKED]
    return same and not any(e.variables() & row.variables() for e in others)


def _with_rows(box: Box, start: Expr, rows: int) -> Box:
    return Box(
        (*box.start[:WALKED], start, *box.start[WALKED + 1 :]), (*box.sizes[:WALKED], rows, *box.sizes[WALKED + 1 :])
    )


def _moves_beside(box: Box, number: Var) -> bool:
    """Whether a box starts elsewhere along another dimension when the tile's number along the walk changes."""
    return any(number in e.variables() for axis, e in enumerate(box.start) if axis != WALKED)


def _without_rows(box: Box) -> tuple[tuple[Expr, ...], tuple[int, ...]]:
    return (*box.start[:WALKED], *box.start[WALKED + 1 :]), (*box.sizes[:WALKED], *box.sizes[WALKED + 1 :])
