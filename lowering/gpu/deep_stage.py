"""The stages of a deep group, one after the other; what they keep between them lies in shared memory.

for each stage:
    for each part of its box:  the kernel of its own schedule, all threads together
    barrier
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, Var, delinearize
from mlirfuse.lowering.gpu.frame import Frame, SharedPart
from mlirfuse.lowering.gpu.parts import contract_parts, each_part
from mlirfuse.lowering.gpu.row_stage import Carried, emit_row
from mlirfuse.lowering.gpu.team_stage import in_range
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.point import Buffer
from mlirfuse.lowering.kernel.stages import StagePlaces, Sum, kept_box
from mlirfuse.lowering.schedule.deep import StageGroup
from mlirfuse.lowering.schedule.simt import WARP, RowTiles, row_length
from mlirfuse.lowering.schedule.simt_deep import DeepTiles, SimtDeepPlan, StageTiles, stage_arrays
from mlirfuse.mlir import ir

__all__ = ["emit_deep"]


def emit_deep(frame: Frame, schedule: DeepTiles) -> None:
    """Emit the body of a kernel of several anchors; the frame's only shared array holds all boxes."""
    plan = SimtDeepPlan(frame.group, schedule)
    memory = frame.shared[0]
    kept = [
        kept_box(memory, plan.strides(number), offset, 1, plan.in_place[number + 1])
        for number, offset in enumerate(plan.kept)
    ]
    values, own = plan.starts(_numbers(frame, plan))
    values = {v: _named(frame, e) for v, e in values.items()}
    inputs = {v: frame.buffers[v] for v in frame.group.inputs}
    outputs = {v: frame.buffers[v] for v in frame.group.outputs}
    places = StagePlaces(frame.builder, plan, inputs, outputs, kept, values, own)
    if schedule.part:
        _emit_parts(frame, plan, places)
        return
    for number in range(len(plan.stages)):
        if number:
            frame.barrier()
        _stage(frame, plan, places, number, places.sink(number))


def _stage(
    frame: Frame, plan: SimtDeepPlan, places: StagePlaces, number: int, sink: Any, carried: Carried | None = None
) -> None:
    """One stage, all parts of its box."""
    group, tiles = plan.groups[number], plan.schedule.stages[number]
    arrays = zip(plan.arrays[number], stage_arrays(group, tiles), strict=True)
    shared: list[Any] = [SharedPart(frame.shared[0], offset, columns) for offset, (_, columns) in arrays]
    buffers: dict[int, Any] = {**places.operands(number), group.outputs[0]: sink}
    _emit_stage(replace(frame, group=group, buffers=buffers, shared=shared), group, tiles, carried)


def _emit_parts(frame: Frame, plan: SimtDeepPlan, places: StagePlaces) -> None:
    """largest = -inf, total = 0, sum = 0;  for each part: the stages;  out = epilogue(sum / total)"""
    last, builder = len(plan.stages) - 1, frame.builder
    memory, (top_at, total_at, factor_at, sum_at) = frame.shared[0], plan.carried
    largest = Buffer(memory, plan.row_strides(WARP), "float32", Expr(top_at))
    total = Buffer(memory, plan.row_strides(WARP), "float32", Expr(total_at))
    factor = Buffer(memory, plan.row_strides(1), "float32", Expr(factor_at))
    so_far = Buffer(memory, plan.strides(last), "float32", Expr(sum_at))
    f32 = ir.F32Type.get()
    sizes = plan.stages[last].box.sizes

    def start(offset: int, number: float) -> Callable[[Expr], None]:
        return lambda e: frame.evaluator().store(memory, e + offset, builder.constant(number, f32))

    _each(frame, WARP * plan.row_count, start(top_at, -math.inf))
    _each(frame, WARP * plan.row_count, start(total_at, 0.0))
    _each(frame, plan.strides(last)[0] * sizes[0], start(sum_at, 0.0))
    frame.barrier()
    carried = Carried(largest, total, factor)

    def part(number: Expr, _: list[Any]) -> list[Any]:
        here = places.at_part(number)
        for stage in range(last):
            _stage(frame, plan, here, stage, here.sink(stage), carried if plan.stages[stage].is_row else None)
            frame.barrier()
        _stage(frame, plan, here, last, Sum(plan, so_far, factor))
        frame.barrier()
        return []

    def finish(e: Expr) -> None:
        index, evaluator = delinearize(e, sizes), frame.evaluator()
        result = evaluator.load(memory, so_far.address(index))
        whole = evaluator.load(memory, total.address(plan.row_of(index)))
        places.sink(last).store(evaluator, index, scalar.div(result, whole))

    builder.loop(plan.parts, "rows", [], part)
    builder.forget()
    _each(frame, math.prod(sizes), finish)


def _each(frame: Frame, count: int, body: Callable[[Expr], None]) -> None:
    """body(element) for every element below `count`, shared among the threads."""

    def one(i: Expr, _: list[Any]) -> list[Any]:
        e = i * frame.threads + frame.thread
        frame.builder.when([Condition(e, 0, count - 1)], lambda: body(in_range(frame, e, count)))
        return []

    frame.builder.loop(-(-count // frame.threads), "element", [], one)


def _numbers(frame: Frame, plan: SimtDeepPlan) -> tuple[Expr, ...]:
    """The tile's number along each dimension."""
    fast, slow = frame.block[0], frame.block[1]
    others = [axis for axis in range(len(plan.tiles)) if axis != plan.cut]
    if plan.grid[1] == 1 and plan.cut is not None:  # all blocks in one dimension
        slow, fast = fast // plan.tiles[plan.cut], fast % plan.tiles[plan.cut]
    numbers = dict(zip(others, delinearize(slow, tuple(plan.tiles[axis] for axis in others)), strict=True))
    if plan.cut is not None:
        numbers[plan.cut] = fast
    return tuple(numbers[axis] for axis in range(len(plan.tiles)))


def _named(frame: Frame, e: Expr) -> Expr:
    """A start that takes more than a division of the block's number, as a variable that affine maps may use."""
    if frame.builder.is_affine(e):
        return e
    named = Expr(0, ((Var(frame.builder.fresh_name("start"), *e.range), 1),))
    frame.builder.bind(named, frame.builder.index(e), affine=True)
    return named


def _emit_stage(frame: Frame, group: StageGroup, tiles: StageTiles, carried: Carried | None) -> None:
    """Every part of a stage's box, in loops around the kernel of its schedule."""
    if isinstance(tiles, RowTiles):
        rows = group.members[0].node.out.size // row_length(group.members[0])
        parts = (math.ceil(rows * WARP / tiles.threads), 1, 1)
        each_part(frame, parts, lambda part: emit_row(part, tiles, carried))
        return
    contract_parts(frame, tiles)
