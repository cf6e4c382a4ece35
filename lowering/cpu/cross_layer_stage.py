"""The stages of a cross-layer group, one after the other; boxes of what is between them are scratch of the thread.

    for each stage:  the loops of its own schedule, on the box of its root's result

Indices are those of whole values throughout: a kept box is a buffer that starts where the box does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlirfuse.dialect.indexing import Expr, delinearize
from mlirfuse.lowering.cpu.contract_stage import emit_contract
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.cpu.map_stage import emit_map
from mlirfuse.lowering.groups.reads import address_of
from mlirfuse.lowering.groups.stages import Stage
from mlirfuse.lowering.kernel.point import Buffer, Evaluator
from mlirfuse.lowering.schedule.host_contract import ContractTiles
from mlirfuse.lowering.schedule.host_cross_layer import CrossLayerLoops, HostCrossLayerPlan
from mlirfuse.lowering.schedule.host_deep import part_count
from mlirfuse.lowering.schedule.host_map import MapLoops

__all__ = ["emit_cross_layer"]

_EMIT: dict[type, Any] = {ContractTiles: emit_contract, MapLoops: emit_map}


@dataclass(frozen=True)
class _Both:
    """Where a value is stored that a later stage reads and that is an output too."""

    places: tuple[Buffer, ...]

    def store(self, evaluator: Evaluator, index: Sequence[Expr], value: Any) -> None:
        for place in self.places:
            place.store(evaluator, index, value)


def emit_cross_layer(frame: Frame, schedule: CrossLayerLoops) -> None:
    """Emit the body of a kernel of several stages on boxes."""
    tile = _Tile(frame, HostCrossLayerPlan(frame.group, schedule))
    for stage, loops in zip(tile.plan.stages.stages, schedule.stages, strict=True):
        tile.emit(stage, loops)


class _Tile:
    """One tile: its number along each dimension, and the boxes that it keeps."""

    def __init__(self, frame: Frame, plan: HostCrossLayerPlan) -> None:
        self.frame, self.plan = frame, plan
        boxes, builder = plan.boxes, frame.builder
        for number, e in zip(boxes.numbers, delinearize(frame.tile, boxes.tiles), strict=True):
            builder.bind(number, builder.index(e), affine=True)
        self._names: dict[Expr, Expr] = {}
        memory = frame.scratch(plan.kept_elements, "float32") if plan.kept_elements else None
        self.kept = {v: self._box(v, memory) for v in plan.stages.kept}

    def _box(self, value: int, memory: Any) -> Buffer:
        strides = self.plan.kept_strides[value]
        start = [self.named(e) for e in self.plan.boxes.kept[value].start]
        offset = Expr(self.plan.offsets[value]) - address_of(start, strides)
        return Buffer(memory, strides, "float32", offset, 0)

    def named(self, e: Expr) -> Expr:
        """A start that takes more than a sum of the tile's numbers, as a variable that affine maps may use."""
        builder = self.frame.builder
        if builder.is_affine(e):
            return e
        if e not in self._names:
            self._names[e] = named = self.frame.named(e, "start")
            builder.bind(named, builder.index(e), affine=True)
        return self._names[e]

    def emit(self, stage: Stage, loops: MapLoops | ContractTiles) -> None:
        """The loops of one stage, all parts of its box."""
        frame = self.frame
        start = [self.named(e) for e in self.plan.boxes.root_box(stage).start]
        group = self.plan.stage_group(stage, start)
        places = {**frame.operands, **self.kept}
        operands = {v: places[v] for v in group.inputs if v in places}
        results: dict[int, Any] = {v: self._target(v) for v in group.outputs}
        part = replace(frame, group=group, operands=operands, results=results)

        def one(number: Expr) -> None:
            _EMIT[type(loops)](replace(part, tile=number), loops)

        frame.span(Expr(0), Expr(part_count(group, loops)), "box", one)
        frame.builder.forget()

    def _target(self, value: int) -> Any:
        places = [places[value] for places in (self.kept, self.frame.results) if value in places]
        return places[0] if len(places) == 1 else _Both(tuple(places))
