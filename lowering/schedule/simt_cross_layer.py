"""Stages of a group in one block of threads: each tile is a block, and what stages keep lies in its shared memory.

    for each tile of the frame:                                  (a block)
        for each stage:  the kernel of its own schedule on the box of its root, all threads together;  barrier

Shared memory is assigned by liveness: boxes that live at different times lie in the same place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from mlirfuse.device import Device
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.stages import Stages
from mlirfuse.lowering.schedule.cross_layer import CrossLayerPlan, cross_layer_stages, tile_problem
from mlirfuse.lowering.schedule.deep import allocate
from mlirfuse.lowering.schedule.problem import contract_problem
from mlirfuse.lowering.schedule.simt import (
    BUFFERS,
    VECTOR,
    WARP,
    ContractTiles,
    MapTiles,
    TeamTiles,
    reduction_length,
)

__all__ = ["CrossLayerTiles", "SimtCrossLayerPlan", "StageTiles", "choose_cross_layer", "stage_arrays"]

StageTiles = ContractTiles | TeamTiles | MapTiles
THREADS = (128, 256)
SIDES = (4, 7, 8, 14, 16, 28, 32)  # of a tile, along each spatial dimension


@dataclass(frozen=True)
class CrossLayerTiles:
    """Tiles of the frame of size `tile`, one a block of `threads`; for each stage its schedule."""

    threads: int
    tile: tuple[int, ...]
    stages: tuple[StageTiles, ...]

    def why_illegal(self, group: Group, device: Device) -> str | None:
        stages = cross_layer_stages(group)
        if isinstance(stages, str):
            return stages
        if len(self.stages) != len(stages):
            return f"{len(self.stages)} schedules for {len(stages)} stages"
        if complaint := tile_problem(stages, self.tile):
            return complaint
        plan = SimtCrossLayerPlan(group, self)
        for number, (stage, schedule) in enumerate(zip(plan.groups, self.stages, strict=True)):
            if complaint := _stage_problem(stage, schedule, self.threads, device):
                return f"stage {number}: {complaint}"
        if plan.shared_bytes > device.shared_bytes_per_block:
            return f"{plan.shared_bytes} bytes of shared memory; the device has {device.shared_bytes_per_block}"
        if plan.tile_count >= 1 << 31:
            return f"{plan.tile_count} tiles are more blocks than a grid may have"
        return None


def _stage_problem(group: Group, schedule: StageTiles, threads: int, device: Device) -> str | None:
    if schedule.threads != threads:
        return f"it keeps {schedule.threads} of {threads} threads busy"
    if isinstance(schedule, TeamTiles) and schedule.team != WARP:
        return f"it shares an element among {schedule.team} threads; a warp takes one"
    if isinstance(schedule, MapTiles):
        width = group.box.sizes[-1] if group.box is not None and group.box.sizes else 1
        return f"vectors of {schedule.vector} do not divide rows of {width}" if width % schedule.vector else None
    return schedule.why_illegal(group, device)


class SimtCrossLayerPlan(CrossLayerPlan):
    """A plan with the schedules of its stages: where arrays lie in shared memory, in elements.

    `places` has the offset of the box of every kept value, `arrays` those of each stage's own arrays.
    """

    def __init__(self, group: Group, schedule: CrossLayerTiles) -> None:
        super().__init__(group, schedule.tile)
        self.schedule = schedule
        lives = self.stages.lifetimes
        kept = [(self.kept_span(v), *lives[v]) for v in self.stages.kept]
        own = [
            (rows * columns, number, number)
            for number, (g, s) in enumerate(zip(self.groups, schedule.stages, strict=True))
            for rows, columns in stage_arrays(g, s)
        ]
        offsets, self.shared_elements = allocate([*kept, *own])
        self.places = dict(zip(self.stages.kept, offsets, strict=False))
        rest = iter(offsets[len(kept) :])
        self.arrays = [
            [next(rest) for _ in stage_arrays(g, s)] for g, s in zip(self.groups, schedule.stages, strict=True)
        ]

    def kept_strides(self, value: int) -> tuple[int, ...]:
        """Of a kept box: row-major, channels at a multiple of four elements."""
        sizes = self.kept[value].sizes
        strides, step = [0] * len(sizes), 1
        for axis in reversed(range(len(sizes))):
            strides[axis] = step
            step *= sizes[axis]
            if axis == 2:
                step = -(-step // VECTOR) * VECTOR
        return tuple(strides)

    def kept_span(self, value: int) -> int:
        """Elements that a kept box takes."""
        sizes, strides = self.kept[value].sizes, self.kept_strides(value)
        return strides[0] * sizes[0] if sizes else 1

    @property
    def shared_bytes(self) -> int:
        return 4 * self.shared_elements


def stage_arrays(group: Group, schedule: StageTiles) -> list[tuple[int, int]]:
    """Rows and columns of the shared arrays that a stage needs for itself."""
    if not isinstance(schedule, ContractTiles):
        return []
    s = schedule
    operands = [(BUFFERS * s.block_k, s.block_m), (BUFFERS * s.block_k, s.block_n)]
    return [*operands, (s.block_n, s.block_m)] if s.result_in_shared(group) else operands


# -- choosing


def choose_cross_layer(group: Group, device: Device) -> CrossLayerTiles | None:
    """The tiles with the least estimated work of the busiest multiprocessor, or None where there are none."""
    stages = cross_layer_stages(group)
    if isinstance(stages, str):
        return None
    best: tuple[float, CrossLayerTiles] | None = None
    for tile in _tiles(stages):
        boxes = TileBoxes(stages, tile)
        groups = [replace(stage.group, box=boxes.root_box(stage)) for stage in stages]
        for threads in THREADS:
            found = CrossLayerTiles(threads, boxes.tile, tuple(_stage(g, threads) for g in groups))
            work = sum(_work(g, s) for g, s in zip(groups, found.stages, strict=True))
            waves = math.prod(boxes.tiles) / device.multiprocessors
            cost = (0.5 * math.ceil(waves) + 0.5 * waves) * work
            if (best is None or cost < best[0]) and found.why_illegal(group, device) is None:
                best = cost, found
    return None if best is None else best[1]


def _tiles(stages: Stages) -> Iterator[tuple[int, ...]]:
    """Tiles to try: one element of the batch, all channels, rectangles of the spatial dimensions."""
    frame = stages.sinks[-1].root.node.out.dims
    if len(frame) != 4:
        yield (1, *frame[1:])
        return
    heights = sorted({min(side, frame[2]) for side in SIDES})
    widths = sorted({min(side, frame[3]) for side in (*SIDES, 56)})
    for height in heights:
        for width in widths:
            yield 1, frame[1], height, width


@cache
def _register_tiles(threads: int) -> Sequence[ContractTiles]:
    """Register tiles that keep so many threads busy."""
    return tuple(
        ContractTiles(block_m, threads * m * n // block_m, 8, m, n)
        for m in (4, 8)
        for n in (4, 8)
        for block_m in (16, 32, 64, 128, 256)
        if 16 <= threads * m * n // block_m <= 256 and block_m % m == 0 and (threads * m * n // block_m) % n == 0
    )


def _stage(group: Group, threads: int) -> StageTiles:
    """The schedule of one stage that costs least."""
    anchor = group.anchor
    assert group.box is not None
    if anchor is None or anchor.node.op not in ("conv", "contract", "reduce"):
        return MapTiles(threads, 1)
    length = reduction_length(anchor)
    if length >= 4 * WARP and group.box.elements < threads:
        return TeamTiles(threads, WARP, 1)
    if anchor.node.op == "reduce" or not ContractTiles.holds_groups(group):
        return MapTiles(threads, 1)
    problem = contract_problem(anchor.node, box=group.box)
    if problem.n < 4 or problem.n * problem.k <= 64 or problem.m < 4:
        return MapTiles(threads, 1)
    return min(_register_tiles(threads), key=lambda tile: (_work(group, tile), -tile.block_m * tile.block_n))


def _work(group: Group, schedule: StageTiles) -> float:
    """Multiply-adds that a block issues, dearer the less a tile reuses."""
    anchor, box = group.anchor, group.box
    assert box is not None
    length = reduction_length(anchor) if anchor is not None else 1
    if isinstance(schedule, TeamTiles):
        return 4.0 * box.elements * WARP * math.ceil(length / WARP)
    if anchor is None or isinstance(schedule, MapTiles):
        return 4.0 * schedule.threads * math.ceil(box.elements / schedule.threads) * length
    s, problem = schedule, contract_problem(anchor.node, box=box)
    covered = math.ceil(problem.m / s.block_m) * math.ceil(problem.n / s.block_n) * s.block_m * s.block_n
    loads = (s.block_m + s.block_n) / (s.block_m * s.block_n)
    return problem.batch * covered * s.block_k * math.ceil(problem.k / s.block_k) * (1 + 16 * loads)
