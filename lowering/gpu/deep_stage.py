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

from mlirfuse.dialect.indexing import Expr, Var, delinearize
from mlirfuse.lowering.gpu.contract_stage import emit_contract
from mlirfuse.lowering.gpu.frame import Frame, SharedPart
from mlirfuse.lowering.gpu.row_stage import emit_row
from mlirfuse.lowering.kernel.stages import StagePlaces, kept_box
from mlirfuse.lowering.schedule.deep import StageGroup
from mlirfuse.lowering.schedule.problem import contract_problem
from mlirfuse.lowering.schedule.simt import WARP, RowTiles, row_length
from mlirfuse.lowering.schedule.simt_deep import DeepTiles, SimtDeepPlan, StageTiles, stage_arrays

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
    for number, (group, tiles) in enumerate(zip(plan.groups, schedule.stages, strict=True)):
        arrays = zip(plan.arrays[number], stage_arrays(group, tiles), strict=True)
        shared: list[Any] = [SharedPart(memory, offset, columns) for offset, (_, columns) in arrays]
        buffers: dict[int, Any] = {**places.operands(number), group.outputs[0]: places.sink(number)}
        stage = replace(frame, group=group, buffers=buffers, shared=shared)
        _emit_stage(stage, group, tiles)
        if number < len(plan.stages) - 1:
            frame.barrier()


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


def _emit_stage(frame: Frame, group: StageGroup, tiles: StageTiles) -> None:
    """Every part of a stage's box, in loops around the kernel of its schedule."""
    if isinstance(tiles, RowTiles):
        rows = group.members[0].node.out.size // row_length(group.members[0])
        parts = (math.ceil(rows * WARP / tiles.threads), 1, 1)
        _loop(frame, parts, lambda part: emit_row(part, tiles))
        return
    problem = contract_problem(group.members[0].node)
    parts = (math.ceil(problem.m / tiles.block_m), math.ceil(problem.n / tiles.block_n), problem.batch)
    alone = math.prod(parts) == 1
    # with one slice of the reduction nothing stands between its last reader and the next part's first slice
    guarded = not alone and problem.k <= tiles.block_k and not tiles.result_in_shared(group)

    def part(at: Frame) -> None:
        emit_contract(at, tiles)
        if guarded:
            at.barrier()

    _loop(frame, parts, part)


def _loop(frame: Frame, parts: tuple[int, int, int], body: Callable[[Frame], None]) -> None:
    """body(frame with the part's number as its block) for all parts."""
    count = math.prod(parts)

    def one(i: Expr, _: list[Any]) -> list[Any]:
        z, y, x = delinearize(i, (parts[2], parts[1], parts[0]))
        body(replace(frame, block=(x, y, z)))
        return []

    if count == 1:
        one(Expr(0), [])
    else:
        frame.builder.loop(count, "part", [], one)
