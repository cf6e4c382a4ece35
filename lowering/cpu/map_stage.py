"""Every element of the outputs, point by point, in vectors along the innermost dimensions.

for o in this tile's outer positions:
    for v in this tile's vectors:
        out[o, v * width : (v + 1) * width] = value(out, ...)
"""

from __future__ import annotations

from functools import partial

from mlirfuse.dialect.indexing import Condition, Expr, delinearize, minimum
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.schedule.host_map import MapLoops, MapSection, map_sections, may_overlap

__all__ = ["emit_map"]


def emit_map(frame: Frame, schedule: MapLoops) -> None:
    """Emit the body of a map kernel: the tiles of one section after those of the other."""
    first = 0
    for section in map_sections(frame.group, schedule):
        last = first + section.tiles - 1
        tile = frame.tile - first
        if tile.range != (0, section.tiles - 1):
            tile = frame.named(tile, "tile", 0, section.tiles - 1)
        frame.builder.when([Condition(frame.tile, first, last)], partial(_section, frame, section, tile))
        first = last + 1


def _section(frame: Frame, section: MapSection, tile: Expr) -> None:
    outer_tile, inner_tile = delinearize(tile, (section.outer_tiles, section.inner_tiles))
    chunk = -(-section.outer_size // section.outer_tiles)
    start = outer_tile * chunk
    frame.span(
        start, minimum(start + chunk, section.outer_size), "o", lambda outer: _row(frame, section, outer, inner_tile)
    )


def _row(frame: Frame, section: MapSection, outer: Expr, inner_tile: Expr) -> None:
    """This tile's vectors at one outer position; the last tile does what fills no vector."""
    size, width = section.inner_size, section.width
    overlap = may_overlap(frame.group, section)

    def vector(inner: Expr, lane: Expr | None, width: int) -> None:
        index = section.index(outer, inner)
        frame.store_outputs(
            frame.evaluator(lane=lane, width=width), dict.fromkeys(section.outputs, index), section.outputs
        )

    whole = size // width
    share = -(-max(1, whole) // section.inner_tiles)
    begin = inner_tile * share
    frame.vectors(begin, minimum(begin + share, whole), width, vector)
    last = Condition(inner_tile, section.inner_tiles - 1, section.inner_tiles - 1)
    if size % width:
        frame.builder.when([last], lambda: frame.tail(size, width, vector, overlap=overlap))
