"""The stages of a deep group, one after the other; what they keep between them is scratch of the thread.

    for each stage:  the loops of its own schedule, on boxes

Where rows are walked in parts, the stages run for each part and carry the softmax's reduction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from mlirfuse.dialect.indexing import Expr, delinearize
from mlirfuse.lowering.cpu.contract_stage import emit_contract
from mlirfuse.lowering.cpu.copy_in import fill
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.cpu.map_stage import emit_map
from mlirfuse.lowering.cpu.row_stage import Carried, emit_rows
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.point import Buffer, Evaluator
from mlirfuse.lowering.kernel.stages import StagePlaces, kept_box
from mlirfuse.lowering.schedule.host_contract import ContractTiles
from mlirfuse.lowering.schedule.host_deep import DeepLoops, HostDeepPlan, part_count
from mlirfuse.lowering.schedule.host_map import MapLoops
from mlirfuse.lowering.schedule.host_rows import RowLoops

__all__ = ["emit_deep"]

Index = tuple[Expr, ...]
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
    if schedule.part:
        _emit_parts(frame, plan, places)
        return
    for number in range(len(plan.stages)):
        _emit_stage(frame, plan, places, number, places.sink(number))


def _emit_stage(
    frame: Frame, plan: HostDeepPlan, places: StagePlaces, number: int, sink: Any, carried: Carried | None = None
) -> None:
    """The loops of one stage, all parts of its box."""
    group, loops = plan.groups[number], plan.schedule.stages[number]
    results: dict[int, Any] = {group.outputs[0]: sink}
    stage = replace(frame, group=group, operands=places.operands(number), results=results)
    extra = (carried,) if carried is not None else ()

    def one(tile: Expr) -> None:
        _EMIT[type(loops)](replace(stage, tile=tile), loops, *extra)

    frame.span(Expr(0), Expr(part_count(group, loops)), "box", one)
    frame.builder.forget()


def _emit_parts(frame: Frame, plan: HostDeepPlan, places: StagePlaces) -> None:
    """largest = -inf, total = 0, sum = 0;  for each part: the stages;  out = epilogue(sum / total)"""
    rows, box = plan.row_count, plan.stages[-1].box
    lanes = plan.lanes
    strides = [math.prod(box.sizes[axis + 1 :]) for axis in range(len(box.sizes))]
    memory = [frame.scratch(rows, "float32") for _ in range(3)]
    largest, total, factor = (Buffer(m, plan.row_strides, "float32", Expr(0), 0) for m in memory)
    result = frame.scratch(math.prod(box.sizes), "float32")
    so_far = Buffer(result, tuple(strides), "float32", Expr(0), 0)
    gives = Buffer(frame.scratch(math.prod(box.sizes), "float32"), tuple(strides), "float32", Expr(0), 0)
    fill(frame, memory[0], rows, -math.inf, lanes)
    fill(frame, memory[1], rows, 0.0, lanes)
    fill(frame, result, math.prod(box.sizes), 0.0, lanes)
    frame.builder.forget()
    carried, last = Carried(largest, total, factor), len(plan.stages) - 1

    def part(number: Expr) -> None:
        here = places.at_part(number)
        for stage in range(last):
            _emit_stage(frame, plan, here, stage, here.sink(stage), carried if plan.stages[stage].is_row else None)
        # its register tiles overlap where sizes do not divide, so that they cannot add to the sum themselves
        _emit_stage(frame, plan, here, last, gives)
        _each(frame, plan, add_up)
        frame.builder.forget()

    def add_up(at: Evaluator, index: Index) -> None:
        row = plan.row_of(index)
        old, scale, more = at.unify(_load(at, so_far, index), _load(at, factor, row), _load(at, gives, index))
        so_far.store(at, index, scalar.fused_multiply_add(old, scale, more))

    def finish(at: Evaluator, index: Index) -> None:
        result, whole = at.unify(_load(at, so_far, index), _load(at, total, plan.row_of(index)))
        places.sink(last).store(at, index, scalar.div(result, whole))

    frame.span(Expr(0), Expr(plan.parts), "part", part)
    frame.builder.forget()
    _each(frame, plan, finish)


def _load(evaluator: Evaluator, buffer: Buffer, index: Index) -> Any:
    """What lies there now: the evaluator would remember what lay there before."""
    return evaluator.load(buffer.memory, buffer.address(index), buffer.aligned)


def _each(frame: Frame, plan: HostDeepPlan, body: Callable[[Evaluator, Index], None]) -> None:
    """body(evaluator, index) once for every element of the tile's result, in vectors along its last dimension."""
    *outer, inner = plan.stages[-1].box.sizes

    def element(before: Index, position: Expr, lane: Expr | None, width: int) -> None:
        body(frame.evaluator(lane=lane, width=width), (*before, position))

    def row(number: Expr) -> None:
        before = delinearize(number, tuple(outer))
        frame.row(inner, min(plan.lanes, inner), partial(element, before), overlap=False)

    frame.span(Expr(0), Expr(math.prod(outer)), "row", row)


def _named(frame: Frame, e: Expr) -> Expr:
    """A start that takes more than a division of the tile's number, as a variable that affine maps may use."""
    if frame.builder.is_affine(e):
        return e
    named = frame.named(e, "start")
    frame.builder.bind(named, frame.builder.index(e), affine=True)
    return named
