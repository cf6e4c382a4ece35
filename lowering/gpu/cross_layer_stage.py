"""The stages of a group, one after the other on a tile; what they keep between them lies in shared memory.

for each stage:
    for each part of its root's box:  the kernel of its own schedule, all threads together
    barrier
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, Var, delinearize
from mlirfuse.lowering.gpu.frame import Frame, SharedPart
from mlirfuse.lowering.gpu.parts import contract_parts
from mlirfuse.lowering.gpu.team_stage import store_from_registers
from mlirfuse.lowering.groups.group import Member
from mlirfuse.lowering.kernel.cross_layer import TilePlaces, boxed
from mlirfuse.lowering.kernel.point import Buffer
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles, SimtCrossLayerPlan, stage_arrays

__all__ = ["emit_cross_layer"]


def emit_cross_layer(frame: Frame, schedule: CrossLayerTiles) -> None:
    """Emit the body of a kernel of several stages; the frame's only shared array holds all boxes."""
    plan = SimtCrossLayerPlan(frame.group, schedule)
    places = TilePlaces(frame.builder, plan.boxes, delinearize(frame.block[0], plan.tiles))
    kept = {
        v: boxed(frame.shared[0], plan.kept_strides(v), places.start(box), plan.places[v], 4)
        for v, box in plan.kept.items()
    }
    for stage in plan.stages:
        if stage.number:
            frame.barrier()
        _emit_stage(frame, plan, places, kept, stage.number)


def _emit_stage(
    frame: Frame, plan: SimtCrossLayerPlan, places: TilePlaces, kept: dict[int, Buffer], number: int
) -> None:
    """One stage, all parts of its root's box."""
    stage, group, tiles = plan.stages.stages[number], plan.groups[number], plan.schedule.stages[number]
    assert group.box is not None
    arrays = zip(plan.arrays[number], stage_arrays(group, tiles), strict=True)
    shared: list[Any] = [SharedPart(frame.shared[0], offset, columns) for offset, (_, columns) in arrays]
    found = {**{v: frame.buffers[v] for v in plan.group.inputs}, **kept}
    buffers: dict[int, Any] = {v: found[v] for v in group.inputs if v in found}
    buffers |= places.sinks(plan.group, stage, kept, frame.buffers)
    here = replace(frame, group=replace(group, box=places.box(group.box)), buffers=buffers, shared=shared)
    match tiles:
        case ContractTiles():
            contract_parts(here, tiles)
        case MapTiles():
            _emit_map(here, tiles, stage.root)


def _emit_map(frame: Frame, schedule: MapTiles, root: Member) -> None:
    """for each vector of the box, shared among the threads:  epilogue(root(operands))"""
    box, width, builder = frame.group.box, schedule.vector, frame.builder
    assert box is not None
    vectors = box.elements // width
    lane = Expr(0, ((Var("lane", 0, width - 1), 1),)) if width > 1 else None

    def compute(e: Expr) -> None:
        first = e * width
        local = delinearize(first if lane is None else first + lane, box.sizes)
        index = tuple(start + inner for start, inner in zip(box.start, local, strict=True))
        value = frame.evaluator(lane=lane, width=width).value(root.result, index)
        store_from_registers(frame, root, index, value, lane, width)

    def one(i: Expr, _: list[Any]) -> list[Any]:
        e = i * frame.threads + frame.thread
        builder.when([Condition(e, 0, vectors - 1)], lambda: compute(_below(frame, e, vectors)))
        return []

    builder.loop(-(-vectors // frame.threads), "element", [], one)


def _below(frame: Frame, e: Expr, count: int) -> Expr:
    """`e` under a name whose range is what the guard leaves of it."""
    if e.range[1] < count:
        return e
    if count == 1:
        return Expr(0)
    narrowed = Expr(0, ((Var(frame.builder.fresh_name("element"), 0, count - 1), 1),))
    frame.builder.bind(narrowed, frame.builder.index(e), affine=False)
    return narrowed
