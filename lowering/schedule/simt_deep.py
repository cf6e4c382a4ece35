"""Stages of several anchors in one block of threads; what a block keeps between them lies in its shared memory.

    for each tile of the last anchor's result:                 (a block)
        for each anchor:  the kernel of its own schedule, on boxes, all threads together;  barrier

Boxes are kept row by row at an odd distance, so that threads on neighbouring rows use different banks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlirfuse.device import Device
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.plan.chain import Chain, carried_length, cut_axis, part_of
from mlirfuse.lowering.plan.deep import STAGING_BYTES
from mlirfuse.lowering.schedule.deep import DeepPlan, StageGroup, allocate, group_chain, lifetimes, part_problem
from mlirfuse.lowering.schedule.problem import contract_problem
from mlirfuse.lowering.schedule.simt import BUFFERS, GRID_LIMIT, WARP, ContractTiles, RowTiles, row_length

__all__ = ["DeepTiles", "SimtDeepPlan", "StageTiles", "choose_deep"]

StageTiles = ContractTiles | RowTiles
ROWS = (64, 32, 16, 8, 4, 1)
ENOUGH_ROWS = 32  # rows of a tile that reuse the later operands well
MOST_PART = 128  # positions of a part
# For each number of threads, register tiles that keep all of them busy.
TILES = {
    128: (ContractTiles(64, 64, 8, 8, 4), ContractTiles(64, 32, 8, 4, 4), ContractTiles(32, 64, 8, 4, 4),
          ContractTiles(32, 128, 8, 4, 8), ContractTiles(16, 128, 8, 4, 4), ContractTiles(4, 512, 8, 4, 4)),
    256: (ContractTiles(64, 64, 8, 4, 4), ContractTiles(64, 128, 8, 8, 4), ContractTiles(32, 128, 8, 4, 4),
          ContractTiles(32, 256, 8, 4, 8)),
}  # fmt: skip


@dataclass(frozen=True)
class DeepTiles:
    """`rows` of the dimension that tiles cut, one tile a block of `threads`; for each stage its schedule.

    With `part`, the stages run once for each part of so many positions of the rows that are reduced, and carry the
    reduction.
    """

    threads: int
    rows: int
    stages: tuple[StageTiles, ...]
    part: int = 0

    def why_illegal(self, group: Group, device: Device) -> str | None:
        chain = group_chain(group)
        if isinstance(chain, str):
            return chain
        if len(self.stages) != len(chain.links):
            return f"{len(self.stages)} stages for {len(chain.links)} anchors"
        if complaint := part_problem(group, self.part):
            return complaint
        plan = SimtDeepPlan(group, self)
        for number, (stage, schedule) in enumerate(zip(plan.groups, self.stages, strict=True)):
            if schedule.threads != self.threads:
                return f"stage {number} keeps {schedule.threads} of {self.threads} threads busy"
            if isinstance(schedule, RowTiles) and schedule.team != WARP:
                return f"stage {number} shares a row among {schedule.team} threads; a warp takes one"
            if isinstance(schedule, RowTiles) and not _rows_are_lines(stage):
                return f"stage {number} reduces rows that do not lie together"
            if complaint := schedule.why_illegal(stage, device):
                return f"stage {number}: {complaint}"
        if plan.shared_bytes > device.shared_bytes_per_block:
            return f"{plan.shared_bytes} bytes of shared memory; the device has {device.shared_bytes_per_block}"
        if math.prod(plan.tiles) >= 1 << 31:
            return f"{math.prod(plan.tiles)} tiles are more blocks than a grid may have"
        return None


def _rows_are_lines(group: StageGroup) -> bool:
    """Whether the stage reduces the last dimension, the one along which boxes lie together."""
    node = group.members[0].node
    return tuple(node.attrs["axes"]) == (node.inputs[0].rank - 1,)


class SimtDeepPlan(DeepPlan):
    """A deep plan with the schedules of its stages: their groups, and where arrays lie in shared memory.

    `kept` has the offset of each box that is kept, `arrays` those of each stage's own arrays, `carried` of what is
    carried from part to part: a maximum and a sum of each row for every lane of a warp, a factor of each row, and the
    result so far; in elements.
    """

    def __init__(self, group: Group, schedule: DeepTiles) -> None:
        super().__init__(group, schedule.rows, schedule.part)
        self.schedule = schedule
        orders = [tuple(range(len(stage.box.sizes))) for stage in self.stages[:-1]]
        self.groups = [self.stage_group(number, orders) for number in range(len(self.stages))]
        self.in_place = [isinstance(s, RowTiles) for s in schedule.stages]
        lives = lifetimes(self.in_place[: len(orders)])
        own = [
            (rows * columns, number, number)
            for number, (g, s) in enumerate(zip(self.groups, schedule.stages, strict=True))
            for rows, columns in stage_arrays(g, s)
        ]
        sizes = [self.strides(number)[0] * self.stages[number].box.sizes[0] for number in range(len(orders))]
        arrays = [(sizes[first], first, last) for first, last in dict.fromkeys(lives)]
        carried = self._carried_sizes() if schedule.part else []
        if schedule.part:
            arrays = [(size, 0, len(self.stages)) for size, _, _ in arrays]
        offsets, self.shared_elements = allocate([*arrays, *own, *((size, 0, len(self.stages)) for size in carried)])
        places = dict(zip(dict.fromkeys(lives), offsets, strict=False))
        self.kept = [places[life] for life in lives]
        rest = iter(offsets[len(arrays) :])
        self.arrays = [
            [next(rest) for _ in stage_arrays(g, s)] for g, s in zip(self.groups, schedule.stages, strict=True)
        ]
        self.carried = list(rest)

    def strides(self, number: int) -> tuple[int, ...]:
        """Of the box that a stage keeps: rows at an odd distance."""
        sizes = self.stages[number].box.sizes
        strides, step = [0] * len(sizes), 1
        for axis in reversed(range(len(sizes))):
            strides[axis] = step
            step *= sizes[axis] | 1 if axis == len(sizes) - 1 else sizes[axis]
        return tuple(strides)

    @property
    def row_count(self) -> int:
        return math.prod(self.stages[-2].box.sizes[:-1])

    def row_strides(self, step: int) -> tuple[int, ...]:
        """Of what has `step` elements for each row, by the index of the box that the last stage reads."""
        sizes = self.stages[-2].box.sizes
        strides = [0] * len(sizes)
        for axis in reversed(range(len(sizes) - 1)):
            strides[axis] = step
            step *= sizes[axis]
        return tuple(strides)

    def _carried_sizes(self) -> list[int]:
        result = self.strides(len(self.stages) - 1)[0] * self.stages[-1].box.sizes[0]
        return [WARP * self.row_count, WARP * self.row_count, self.row_count, result]

    @property
    def shared_bytes(self) -> int:
        return 4 * self.shared_elements

    @property
    def grid(self) -> tuple[int, int, int]:
        """Blocks: the dimension that is cut runs fastest, so that neighbours read the same operands."""
        fast = 1 if self.cut is None else self.tiles[self.cut]
        slow = math.prod(self.tiles) // fast
        return (fast, slow, 1) if slow <= GRID_LIMIT else (fast * slow, 1, 1)


def stage_arrays(group: StageGroup, schedule: StageTiles) -> list[tuple[int, int]]:
    """Rows and columns of the shared arrays that a stage needs for itself."""
    if isinstance(schedule, RowTiles):
        return []
    s = schedule
    operands = [(BUFFERS * s.block_k, s.block_m), (BUFFERS * s.block_k, s.block_n)]
    return [*operands, (s.k_groups * s.block_n, s.block_m)] if s.result_in_shared(group) else operands


def choose_deep(group: Group, device: Device) -> DeepTiles | None:
    """The tiles with the least estimated work of the busiest multiprocessor, or None where there are none."""
    chain = group_chain(group)
    if isinstance(chain, str):
        return None
    best: tuple[float, DeepTiles] | None = None
    for rows, part in _tiles(chain, device):
        plan = DeepPlan(group, rows, part)
        orders = [tuple(range(len(stage.box.sizes))) for stage in plan.stages[:-1]]
        groups = [plan.stage_group(number, orders) for number in range(len(plan.stages))]
        for threads, tiles in TILES.items():
            for most in (device.shared_bytes_per_block, STAGING_BYTES):
                found = DeepTiles(threads, rows, tuple(_stage(g, threads, tiles, most) for g in groups), part)
                blocks = math.prod(plan.tiles)
                work = plan.parts * sum(_work(g, s) for g, s in zip(groups, found.stages, strict=True))
                waves = blocks / device.multiprocessors
                cost = (0.5 * math.ceil(waves) + 0.5 * waves) * work
                if (best is None or cost < best[0]) and found.why_illegal(group, device) is None:
                    best = cost, found
    return None if best is None else best[1]


def _tiles(chain: Chain, device: Device) -> list[tuple[int, int]]:
    """Rows and parts to try: rows whole, and in parts where a block has no room for many whole ones."""
    counts = _row_counts(chain)
    whole = [(rows, 0) for rows in counts]
    length, part = carried_length(chain), part_of(chain, MOST_PART)
    if not length or not part or 4 * min(ENOUGH_ROWS, max(counts)) * length <= device.shared_bytes_per_block // 2:
        return whole
    return [*whole, *((rows, part) for rows in counts if rows >= min(16, max(counts)))]


def _row_counts(chain: Chain) -> list[int]:
    cut = cut_axis(chain)
    size = 1 if cut is None else chain.last.anchor.node.out.dims[cut]
    return [r for r in ROWS if r < size] + ([size] if size <= ROWS[0] else [])


def _stage(group: StageGroup, threads: int, tiles: tuple[ContractTiles, ...], most: int) -> StageTiles:
    """The schedule of one stage that costs least, of those whose own arrays take no more than `most` bytes, if any."""
    node = group.members[0].node
    if node.op != "contract":
        return RowTiles(threads, WARP, False)
    small = [tile for tile in tiles if 4 * sum(math.prod(array) for array in stage_arrays(group, tile)) <= most]
    return min(small or tiles, key=lambda tile: (_work(group, tile), -tile.block_m * tile.block_n))


def _work(group: StageGroup, schedule: StageTiles) -> float:
    """Multiply-adds that a block issues, dearer the less a tile reuses; a row costs its passes over every element."""
    node = group.members[0].node
    if isinstance(schedule, RowTiles):
        return (
            16.0
            * node.out.size
            / max(1, row_length(group.members[0]))
            * WARP
            * math.ceil(row_length(group.members[0]) / WARP)
        )
    problem = contract_problem(node)
    s = schedule
    covered = math.ceil(problem.m / s.block_m) * math.ceil(problem.n / s.block_n) * s.block_m * s.block_n
    loads = (s.block_m + s.block_n) / (s.block_m * s.block_n)
    return problem.batch * covered * problem.k * (1 + 16 * loads)
