"""The stages of a group, one after the other on a tile; what they keep between them lies in shared memory.

for each tile of the block's walk:
    for each stage:  take over the lines that it adds to
        for each strip that is new, and each part of it:  the kernel of its own schedule, all threads together
        barrier;  leave the lines that it has completed

A stage may add up its reduction in parts: the stages that compute one part of its channels run for each. Blocks of a
cluster that share a tile each compute a part of a stage's channels, and store it in the shared memory of all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, Var, delinearize
from mlirfuse.lowering.gpu.contract_stage import add_products, no_sums, store_sums
from mlirfuse.lowering.gpu.frame import Frame, SharedPart
from mlirfuse.lowering.gpu.parts import add_parts, contract_parts, store_parts
from mlirfuse.lowering.gpu.team_stage import in_range, reduce_element, store_from_registers
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.group import Member
from mlirfuse.lowering.kernel.cross_layer import Copies, TilePlaces, boxed
from mlirfuse.lowering.kernel.point import Buffer
from mlirfuse.lowering.kernel.walk import Walker
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_cross_layer import (
    CrossLayerTiles,
    SimtCrossLayerPlan,
    adds_in_shared,
    row_major,
)
from mlirfuse.mlir import ir

__all__ = ["emit_cross_layer", "prepare_cross_layer"]


def emit_cross_layer(frame: Frame, schedule: CrossLayerTiles) -> None:
    """Emit the body of a kernel of several stages; the frame's only shared array holds all boxes."""
    prepare_cross_layer(frame, schedule)()


def prepare_cross_layer(frame: Frame, schedule: CrossLayerTiles) -> Callable[[], None]:
    """Compute where the tile's boxes start, which affine maps need outside of any branch; the rest is what it gives."""
    plan = SimtCrossLayerPlan(frame.group, schedule)
    numbers = delinearize(frame.block[0] // frame.cluster, plan.walks)
    places = TilePlaces(frame.builder, plan.boxes, numbers, frame.rank)
    tile = _Tile(frame, plan, places, _peers(frame))
    walker = Walker(frame.builder, plan, places, numbers, tile.copy_rows)

    def stages(step: Expr) -> None:
        before = None
        for number in plan.order:
            if before is not None:
                tile.end(before)
                walker.leave(before, step)
            walker.take_over(number, step)
            if number in plan.inner:
                tile.add_up(number)
            else:
                walker.each_strip(number, step, partial(tile.strip, number))
            before = number
        if plan.boxes.walk is not None and before is not None:
            tile.end(before)

    def body() -> None:
        if frame.cluster > 1:  # nothing is stored in a block that has not started
            frame.cluster_barrier()
        walker.each_tile(stages)

    return body


def _peers(frame: Frame) -> tuple[Any, ...]:
    """The shared memory of the other blocks of the cluster, in another order for each; none where nothing is kept."""
    if not frame.shared:
        return ()
    ranks = ((frame.rank + i) % frame.cluster for i in range(1, frame.cluster))
    return tuple(frame.peer_memory(frame.shared[0], rank) for rank in ranks)


def _between_stages(frame: Frame) -> None:
    """What a stage keeps is there for the next, and what it read may be overwritten."""
    if frame.cluster > 1:
        frame.cluster_barrier()
    else:
        frame.barrier()


@dataclass(frozen=True)
class _Tile:
    """The stages of one tile."""

    frame: Frame
    plan: SimtCrossLayerPlan
    places: TilePlaces
    peers: tuple[Any, ...] = ()
    _boxes: dict[int, Buffer] = field(default_factory=dict)

    def strip(self, number: int) -> None:
        """One strip of a stage, of which a tile may compute several."""
        self.emit(number)
        if self._has_strips(number):
            _between_stages(self.frame)  # the next uses the same arrays

    def end(self, number: int) -> None:
        """After a stage: what it keeps is there for the next. Strips have ended so already."""
        if not self._has_strips(number):
            _between_stages(self.frame)

    def _has_strips(self, number: int) -> bool:
        walk = self.plan.boxes.walk
        return walk is not None and walk.first_strips[number] > 1

    def emit(self, number: int) -> None:
        """One stage, all parts of its root's box."""
        here, tiles, root = self._frame(number), self.plan.schedule.stages[number], self.plan.stages.stages[number].root
        match tiles:
            case ContractTiles():
                contract_parts(here, tiles)
            case MapTiles():
                _emit_map(here, tiles, root)
            case TeamTiles():
                _emit_team(here, tiles, root)

    def add_up(self, number: int) -> None:
        """sum = 0;  for each part of the channels:  the stages that compute it; sum += products;  epilogue(sum)"""
        plan, tiles, builder = self.plan, self.plan.schedule.stages[number], self.frame.builder
        stage = plan.stages.stages[number]
        assert isinstance(tiles, ContractTiles)
        count = stage.depth // plan.boxes.parts[number]
        if not adds_in_shared(plan.groups[number], tiles):
            sums = no_sums(self.frame, tiles)
            sums = builder.loop(count, "part", sums, lambda p, held: self._part(number, p, held))
            builder.forget()
            store_sums(self._frame(number, of_part=False), tiles, sums)
            return
        total = len(plan.arrays[number]) - 1
        rows, columns = plan.shapes[number][total]
        zero = builder.constant(0.0, ir.F32Type.get())
        here = self._frame(number, of_part=False)
        _each(here, here.thread, here.threads, rows * columns, lambda e: here.shared_store(total, Expr(0), e, zero))
        self.frame.barrier()
        builder.loop(count, "part", [], lambda p, held: self._part(number, p, held, total))
        builder.forget()
        store_parts(self._frame(number, of_part=False), tiles, total)

    def _part(self, number: int, part: Expr, sums: list[Any], total: int | None = None) -> list[Any]:
        stage, tiles = self.plan.stages.stages[number], self.plan.schedule.stages[number]
        assert isinstance(tiles, ContractTiles)
        self.places.at_part(stage, part)
        for inner in self.plan.inner[number]:
            self.emit(inner)
            _between_stages(self.frame)
        here = self._frame(number)
        if total is None:
            sums = add_products(here, tiles, sums)
        else:
            add_parts(here, tiles, total)
        _between_stages(self.frame)
        return sums

    def _frame(self, number: int, of_part: bool = True) -> Frame:
        """What the emitter of a stage sees: the stage as its group, its operands and what it stores as buffers.

        Boxes that are there for one part of a reduction alone are left out unless it is one `of_part`.
        """
        plan, places, frame = self.plan, self.places, self.frame
        stage, group = plan.stages.stages[number], plan.groups[number]
        assert group.box is not None
        arrays = zip(plan.arrays[number], plan.shapes[number], strict=True)
        shared = [SharedPart(frame.shared[0], at, columns) if rows else None for at, (rows, columns) in arrays]
        near = [v for v in (*group.inputs, *group.outputs) if v in plan.kept]
        kept = {v: self._box(v) for v in near if of_part or not places.is_of_part(plan.kept[v])}
        found = {**{v: frame.buffers[v] for v in plan.group.inputs}, **kept}
        buffers: dict[int, Any] = {v: found[v] for v in group.inputs if v in found}
        stored = {v: self._copies(v) for v in kept} if plan.boxes.is_shared(stage) else kept
        buffers |= places.sinks(plan.group, stage, stored, frame.buffers)
        part = places.span(stage) if of_part else None
        here = replace(group, box=places.box(group.box), part=part)
        return replace(frame, group=here, buffers=buffers, shared=shared, block=(Expr(0),) * 3)

    def _box(self, value: int) -> Buffer:
        """The buffer of a kept box; evaluators tell buffers by who they are."""
        if value not in self._boxes:
            self._boxes[value] = self._box_in(self.frame.shared[0], value)
        return self._boxes[value]

    def _copies(self, value: int) -> Copies:
        """The same box in every block of the cluster."""
        return Copies((self._box(value), *(self._box_in(memory, value) for memory in self.peers)))

    def _box_in(self, memory: Any, value: int) -> Buffer:
        strides, start = self.plan.kept_strides(value), self.places.start(self.plan.kept[value])
        return boxed(memory, strides, start, self.plan.places[value], 4)

    def copy_rows(self, value: int, rows: Box, out: bool) -> None:
        """Between the box of a value and its line, shared among the threads."""
        frame, box = self.frame, self._box(value)
        line = boxed(frame.shared[0], row_major(rows.sizes), rows.start, self.plan.line_places[value], 4)
        source, target = (box, line) if out else (line, box)

        def element(e: Expr) -> None:
            index = tuple(s + i for s, i in zip(rows.start, delinearize(e, rows.sizes), strict=True))
            at = frame.evaluator()
            target.store(at, index, source.load(at, index))

        _each(frame, frame.thread, frame.threads, rows.elements, element)


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
