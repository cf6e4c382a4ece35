"""The stages of a group, one after the other on a tile; what they keep between them lies in the thread's scratch.

for each stage:  the loops of its own schedule, on the box of its root's result
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlirfuse.dialect.indexing import Expr, delinearize
from mlirfuse.lowering.cpu.contract_stage import emit_contract
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.cpu.map_stage import emit_map
from mlirfuse.lowering.kernel.cross_layer import TilePlaces, boxed
from mlirfuse.lowering.kernel.point import Buffer
from mlirfuse.lowering.schedule.host_contract import ContractTiles
from mlirfuse.lowering.schedule.host_cross_layer import CrossLayerLoops, HostCrossLayerPlan
from mlirfuse.lowering.schedule.host_deep import part_count
from mlirfuse.lowering.schedule.host_map import MapLoops

__all__ = ["emit_cross_layer"]

_EMIT: dict[type, Any] = {ContractTiles: emit_contract, MapLoops: emit_map}


def emit_cross_layer(frame: Frame, schedule: CrossLayerLoops) -> None:
    """Emit the body of a kernel of several stages."""
    plan = HostCrossLayerPlan(frame.group, schedule)
    places = TilePlaces(frame.builder, plan.boxes, delinearize(frame.tile, plan.tiles))
    memory = frame.scratch(max(1, plan.kept_elements), "float32")
    kept = {
        v: boxed(memory, plan.kept_strides[v], places.start(box), plan.offsets[v], 0) for v, box in plan.kept.items()
    }
    for number in range(len(plan.stages)):
        _emit_stage(frame, plan, places, kept, number)


def _emit_stage(
    frame: Frame, plan: HostCrossLayerPlan, places: TilePlaces, kept: dict[int, Buffer], number: int
) -> None:
    """The loops of one stage, all parts of its box."""
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
