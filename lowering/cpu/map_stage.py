"""Every element of the outputs, point by point, in vectors along the innermost dimensions.

    for o in this tile's outer positions:
        for v in this tile's vectors:
            out[o, v * width : (v + 1) * width] = value(out, ...)

Where several rows are computed together, they are positions of the last outer dimension. Away from the operands'
borders, where no window leaves them, code without any condition does it.
"""

from __future__ import annotations

from functools import partial

from mlirfuse.dialect.indexing import Condition, Expr, delinearize, minimum
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.kernel.landing import store_landings
from mlirfuse.lowering.kernel.point import Evaluator
from mlirfuse.lowering.schedule.host_map import MapLoops, MapSection, interior, map_sections, may_overlap

__all__ = ["emit_map"]

Position = tuple[Expr, ...]


def emit_map(frame: Frame, schedule: MapLoops) -> None:
    """Emit the body of a map kernel: the tiles of one section after those of the other."""
    first = 0
    for section in map_sections(frame.group, schedule):
        last = first + section.tiles - 1
        tile = frame.tile - first
        if tile.range != (0, section.tiles - 1):
            tile = frame.named(tile, "tile", 0, section.tiles - 1)
        loops = _Loops(frame, section, tile)
        frame.builder.when([Condition(frame.tile, first, last)], loops.tile)
        first = last + 1


class _Loops:
    """The loops of one tile of a section, outermost first."""

    def __init__(self, frame: Frame, section: MapSection, tile: Expr) -> None:
        self.frame, self.section = frame, section
        self.outer_tile, self.inner_tile = delinearize(tile, (section.outer_tiles, section.inner_tiles))
        self.interior = interior(frame.group, section)
        self.overlap = may_overlap(frame.group, section)

    def tile(self) -> None:
        section = self.section
        chunk = -(-section.outer_size // section.outer_tiles)
        start = self.outer_tile * chunk
        body = self.line if section.rows > 1 else self.position
        self.frame.span(start, minimum(start + chunk, section.outer_size), "o", body)

    def position(self, outer: Expr) -> None:
        """One outer position."""
        self._guarded(self.section.placed(delinearize(outer, self.section.outer_sizes)), 1)

    def line(self, outer: Expr) -> None:
        """All of the last outer dimension, several positions at a time; the last ones may overlap those before."""
        *sizes, length = self.section.outer_sizes
        rows = self.section.rows
        parts = delinearize(outer, tuple(sizes))

        def block(number: Expr) -> None:
            first = number * rows
            if length % rows:
                first = self.frame.named(minimum(first, length - rows), "first")
            self._guarded(self.section.placed((*parts, first)), rows)

        self.frame.span(Expr(0), Expr(-(-length // rows)), "block", block)

    def _guarded(self, outer: Position, rows: int) -> None:
        """Rows at and after `outer`: all together where nothing leaves the operands, else one by one."""
        places = {o: i for i, o in enumerate(self.section.outer_variables())}
        bounds = {places[c.value]: (c.lo, c.hi) for c in self.interior}
        last = len(outer) - 1

        def fits(axis: int) -> Condition:
            low, high = bounds[axis]
            return Condition(outer[axis], low, high - (rows - 1) * (axis == last))

        def inside() -> None:
            narrowed = list(outer)
            for axis in bounds:
                condition = fits(axis)
                if not condition.always:
                    narrowed[axis] = self.frame.named(outer[axis], "inside", condition.lo, condition.hi)
            self.vectors(tuple(narrowed), rows)

        def near_border() -> None:
            self.frame.span(outer[last], outer[last] + rows, "row", lambda i: self.vectors((*outer[:last], i), 1))

        if bounds:
            self.frame.either([fits(axis) for axis in bounds], inside, near_border)
        elif outer:
            self.vectors(outer, rows)
        else:
            self.vectors((), 1)

    def vectors(self, outer: Position, rows: int) -> None:
        """This tile's vectors of some rows; the last tile does what fills no vector."""
        section = self.section
        size, width = section.inner_size, section.width
        whole = size // width
        share = -(-max(1, whole) // section.inner_tiles)
        begin = self.inner_tile * share
        self.frame.vectors(begin, minimum(begin + share, whole), width, partial(self._elements, outer, rows))
        if size % width:
            last = Condition(self.inner_tile, section.inner_tiles - 1, section.inner_tiles - 1)
            rest = partial(self.frame.tail, size, width, partial(self._elements, outer, rows), overlap=self.overlap)
            self.frame.builder.when([last], rest)

    def _elements(self, outer: Position, rows: int, inner: Expr, lane: Expr | None, width: int) -> None:
        """One vector of each row."""
        outputs = self.section.outputs
        for row in range(rows):
            here = (*outer[:-1], outer[-1] + row) if row else outer
            index = self.section.index(here, inner)
            evaluator = self.frame.evaluator(lane=lane, width=width)
            if self.frame.group.box is None:
                self.frame.store_outputs(evaluator, dict.fromkeys(outputs, index), outputs)
            else:
                self._land(evaluator, index, lane, width)

    def _land(self, evaluator: Evaluator, index: Position, lane: Expr | None, width: int) -> None:
        """Compute the root's elements, and store them where its epilogue takes them."""
        group, frame = self.frame.group, self.frame
        root = group.producers[group.root]
        value = evaluator.vectorized(evaluator.value(root.result, index))
        store_landings(group, root, frame.evaluator, frame.store_outputs, index, value, lane, width)
