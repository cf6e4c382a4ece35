"""The stages of a deep group, one after the other; what they keep between them is scratch of the thread.

for each stage:  the loops of its own schedule, on boxes
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlirfuse.dialect.indexing import Expr, delinearize
from mlirfuse.lowering.cpu.contract_stage import emit_contract
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.cpu.map_stage import emit_map
from mlirfuse.lowering.cpu.row_stage import emit_rows
from mlirfuse.lowering.kernel.stages import StagePlaces, kept_box
from mlirfuse.lowering.schedule.host_contract import ContractTiles
from mlirfuse.lowering.schedule.host_deep import DeepLoops, HostDeepPlan, part_count
from mlirfuse.lowering.schedule.host_map import MapLoops
from mlirfuse.lowering.schedule.host_rows import RowLoops

__all__ = ["emit_deep"]

_EMIT: dict[type, Any] = {ContractTiles: emit_contract, RowLoops: emit_rows, MapLoops: emit_map}


def emit_deep(frame: Frame, schedule: DeepLoops) -> None:
    """Emit the body of a kernel of several anchors."""
    plan = HostDeepPlan(frame.group, schedule)
    memory = frame.scratch(plan.kept_elements, "float32")
    kept = [
        kept_box(memory, group.strides(group.outputs[0]), offset, 0, plan.in_place[number + 1])
        for number, (group, offset) in enumerate(zip(plan.groups, plan.offsets, strict=False))
    ]
    values, own = plan.starts(delinearize(frame.tile, plan.tiles))
    values = {v: _named(frame, e) for v, e in values.items()}
    places = StagePlaces(frame.builder, plan, frame.operands, frame.results, kept, values, own)
    for number, (group, loops) in enumerate(zip(plan.groups, schedule.stages, strict=True)):
        results: dict[int, Any] = {group.outputs[0]: places.sink(number)}
        stage = replace(frame, group=group, operands=places.operands(number), results=results)

        def part(tile: Expr, stage: Frame = stage, loops: Any = loops) -> None:
            _EMIT[type(loops)](replace(stage, tile=tile), loops)

        frame.span(Expr(0), Expr(part_count(group, loops)), "part", part)
        frame.builder.forget()


def _named(frame: Frame, e: Expr) -> Expr:
    """A start that takes more than a division of the tile's number, as a variable that affine maps may use."""
    if frame.builder.is_affine(e):
        return e
    named = frame.named(e, "start")
    frame.builder.bind(named, frame.builder.index(e), affine=True)
    return named
