"""The stages of a group, one after the other on a tile; what they keep between them lies in the thread's scratch.

for each tile of the thread's walk:
    for each stage:  take over the lines that it adds to
        for each strip that is new:  the loops of its own schedule, on that part of the box of its root's result
        leave the lines that it has completed
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mlirfuse.dialect.indexing import Expr, delinearize
from mlirfuse.lowering.cpu.contract_stage import emit_contract
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.cpu.map_stage import emit_map
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.lines import WALKED
from mlirfuse.lowering.kernel.cross_layer import TilePlaces, boxed
from mlirfuse.lowering.kernel.point import Buffer
from mlirfuse.lowering.kernel.walk import Walker
from mlirfuse.lowering.schedule.host_contract import ContractTiles
from mlirfuse.lowering.schedule.host_cross_layer import CrossLayerLoops, HostCrossLayerPlan
from mlirfuse.lowering.schedule.host_deep import part_count
from mlirfuse.lowering.schedule.host_map import MapLoops

__all__ = ["emit_cross_layer"]

_EMIT: dict[type, Any] = {ContractTiles: emit_contract, MapLoops: emit_map}
_COPIED = 16  # elements of a vector by which rows are copied


def emit_cross_layer(frame: Frame, schedule: CrossLayerLoops) -> None:
    """Emit the body of a kernel of several stages."""
    plan = HostCrossLayerPlan(frame.group, schedule)
    numbers = delinearize(frame.tile, plan.walks)
    places = TilePlaces(frame.builder, plan.boxes, numbers)
    memory = frame.scratch(max(1, plan.kept_elements), "float32")
    tile = _Tile(frame, plan, places, memory)
    walker = Walker(frame.builder, plan, places, numbers, tile.copy_rows)

    def stages(step: Expr) -> None:
        kept = tile.kept_boxes()
        for number in range(len(plan.stages)):
            walker.take_over(number, step)
            walker.each_strip(number, step, partial(tile.emit, number, kept))
            walker.leave(number, step)

    walker.each_tile(stages)


@dataclass(frozen=True)
class _Tile:
    """The stages of one tile; `memory` has what they keep between them, and lines."""

    frame: Frame
    plan: HostCrossLayerPlan
    places: TilePlaces
    memory: Any

    def kept_boxes(self) -> dict[int, Buffer]:
        return {v: self._in_memory(v, box, self.plan.offsets[v]) for v, box in self.plan.kept.items()}

    def _in_memory(self, value: int, box: Box, offset: int) -> Buffer:
        return boxed(self.memory, self.plan.strides_of(value, box), self.places.start(box), offset, 0)

    def emit(self, number: int, kept: dict[int, Buffer]) -> None:
        """The loops of one stage, all parts of its box."""
        frame, plan, places = self.frame, self.plan, self.places
        stage, group, loops = plan.stages.stages[number], plan.groups[number], plan.schedule.stages[number]
        assert group.box is not None
        found = {**frame.operands, **kept}
        operands = {v: found[v] for v in group.inputs if v in found}
        results: dict[int, Any] = {**places.sinks(plan.group, stage, kept, frame.results, alone=False)}
        here = replace(frame, group=replace(group, box=places.box(group.box)), operands=operands, results=results)

        def part(tile: Expr) -> None:
            _EMIT[type(loops)](replace(here, tile=tile), loops)

        frame.span(Expr(0), Expr(part_count(group, loops)), "part", part)
        frame.builder.forget()

    def copy_rows(self, value: int, rows: Box, out: bool) -> None:
        """Between the box of a value and its line: in vectors along all that lies inside of a row in both."""
        plan, frame = self.plan, self.frame
        box = self._in_memory(value, plan.kept[value], plan.offsets[value])
        line = boxed(self.memory, plan.strides_of(value, rows), rows.start, plan.line_offsets[value], 0)
        source, target = (box, line) if out else (line, box)
        order = plan.order_of(value)
        outer = order[: order.index(WALKED) + 1]
        size = math.prod(axis_size for axis, axis_size in enumerate(rows.sizes) if axis not in outer)

        def element(first: tuple[Expr, ...], position: Expr, lane: Expr | None, width: int) -> None:
            at = frame.evaluator(lane=lane, width=width)
            from_place, to_place = (buffer.address(first) + position for buffer in (source, target))
            at.store(self.memory, to_place, at.load(self.memory, from_place, 0), 0)

        def row(number: Expr) -> None:
            local = dict(zip(outer, delinearize(number, tuple(rows.sizes[axis] for axis in outer)), strict=True))
            first = tuple(start + local.get(axis, Expr(0)) for axis, start in enumerate(rows.start))
            frame.row(size, min(_COPIED, size), partial(element, first), overlap=True)

        frame.span(Expr(0), Expr(math.prod(rows.sizes[axis] for axis in outer)), "row", row)
