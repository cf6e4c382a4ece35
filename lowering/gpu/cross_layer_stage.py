"""The stages of a group, one after the other on a tile; what they keep between them lies in shared memory.

for each stage:
    for each part of its root's box:  the kernel of its own schedule, all threads together
    barrier
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, Var, delinearize
from mlirfuse.lowering.gpu.frame import Frame, SharedPart
from mlirfuse.lowering.gpu.parts import contract_parts
from mlirfuse.lowering.gpu.team_stage import in_range, reduce_element, store_from_registers
from mlirfuse.lowering.groups.group import Member
from mlirfuse.lowering.kernel.cross_layer import TilePlaces, boxed
from mlirfuse.lowering.kernel.point import Buffer
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, TeamTiles
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
            _between_stages(frame)
        _emit_stage(frame, plan, places, kept, stage.number)


def _between_stages(frame: Frame) -> None:
    """What a stage keeps is there for the next, and what it read may be overwritten."""
    frame.barrier()


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
        case TeamTiles():
            _emit_team(here, tiles, stage.root)


def _emit_map(frame: Frame, schedule: MapTiles, root: Member) -> None:
    """for each vector of the box, shared among the threads:  epilogue(root(operands))"""
    width = schedule.vector
    lane = Expr(0, ((Var("lane", 0, width - 1), 1),)) if width > 1 else None

    def compute(e: Expr) -> None:
        index = _at(frame, e * width if lane is None else e * width + lane)
        value = frame.evaluator(lane=lane, width=width).value(root.result, index)
        store_from_registers(frame, root, index, value, lane, width)

    _each(frame, frame.thread, frame.threads, _elements(frame) // width, compute)


def _emit_team(frame: Frame, schedule: TeamTiles, root: Member) -> None:
    """for each element of the box, shared among the warps:  epilogue(reduction by the lanes of a warp)"""

    def reduce(e: Expr) -> None:
        reduce_element(frame, schedule, root, _at(frame, e))

    _each(frame, frame.thread // schedule.team, schedule.threads // schedule.team, _elements(frame), reduce)


def _each(frame: Frame, worker: Expr, workers: int, count: int, body: Callable[[Expr], None]) -> None:
    """body(element) for every element below `count`, shared among the workers."""

    def one(i: Expr, _: list[Any]) -> list[Any]:
        e = i * workers + worker
        frame.builder.when([Condition(e, 0, count - 1)], lambda: body(in_range(frame, e, count)))
        return []

    frame.builder.loop(-(-count // workers), "element", [], one)


def _elements(frame: Frame) -> int:
    assert frame.group.box is not None
    return frame.group.box.elements


def _at(frame: Frame, position: Expr) -> tuple[Expr, ...]:
    """The index of the root's element at a position of its box."""
    box = frame.group.box
    assert box is not None
    local = delinearize(position, box.sizes)
    return tuple(start + inner for start, inner in zip(box.start, local, strict=True))
