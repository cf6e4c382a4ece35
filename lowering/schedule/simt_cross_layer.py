"""Stages of a group in one block of threads: each tile is a block, and what stages keep lies in its shared memory.

    for each tile of the frame:                                  (a block, or each tile of a block's walk)
        for each stage:  the kernel of its own schedule on the box of its root, all threads together;  barrier

Shared memory is assigned by liveness: boxes that live at different times lie in the same place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlirfuse.device import Device
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.cost import ranked_in_parts, ranked_small_tiles, ranked_tiles
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.kernel_cost import KernelCost, StageCost
from mlirfuse.lowering.groups.reads import address_of
from mlirfuse.lowering.groups.stages import Stages
from mlirfuse.lowering.schedule.cross_layer import CrossLayerPlan, cross_layer_stages, tile_problem
from mlirfuse.lowering.schedule.deep import allocate
from mlirfuse.lowering.schedule.problem import contract_problem, lies_in_quads
from mlirfuse.lowering.schedule.simt import (
    BUFFERS,
    VECTOR,
    WARP,
    ContractTiles,
    MapTiles,
    TeamTiles,
    register_tiles,
)

__all__ = [
    "CrossLayerTiles",
    "SimtCrossLayerPlan",
    "StageTiles",
    "adds_in_shared",
    "choose_cross_layer",
    "row_major",
    "stage_arrays",
]

StageTiles = ContractTiles | TeamTiles | MapTiles
HELD = 32  # elements of a sum that a thread holds in registers while other stages run


@dataclass(frozen=True)
class CrossLayerTiles:
    """Tiles of the frame of size `tile`, one a block of `threads`; for each stage its schedule.

    A stage with a number in `parts` adds up its reduction in parts of so many channels: the stages that compute these
    run once for each part, so that a block never holds them all. Where tiles are few, a `cluster` of blocks has one
    together: each computes its part of the channels of every stage, and leaves it in the shared memory of all. A block
    walks over `walk` tiles along the first spatial dimension, and takes over what they have in common.
    """

    threads: int
    tile: tuple[int, ...]
    stages: tuple[StageTiles, ...]
    parts: tuple[int, ...] = ()
    cluster: int = 1
    walk: int = 1

    def why_illegal(self, group: Group, device: Device) -> str | None:
        stages = cross_layer_stages(group)
        if isinstance(stages, str):
            return stages
        if len(self.stages) != len(stages):
            return f"{len(self.stages)} schedules for {len(stages)} stages"
        if complaint := tile_problem(stages, self.tile, self.parts, self.walk):
            return complaint
        for number, part in enumerate(self.parts):
            tiles = self.stages[number]
            if part and not (isinstance(tiles, ContractTiles) and tiles.k_groups == 1):
                return f"stage {number} adds up parts, which takes a register tile of one group of threads"
        if not 1 <= self.cluster <= device.cluster_blocks:
            return f"clusters of {self.cluster} blocks; the device has clusters of up to {device.cluster_blocks}"
        if self.cluster > 1 and any(self.parts):
            return "blocks of a cluster add up no parts"
        if self.cluster > 1 and self.walk > 1:
            return "blocks of a cluster do not walk"
        groups = CrossLayerPlan(group, self.tile, self.parts, self.cluster, self.walk).groups
        for number, (stage, schedule) in enumerate(zip(groups, self.stages, strict=True)):
            if complaint := _stage_problem(stage, schedule, self.threads, device):
                return f"stage {number}: {complaint}"
        plan = SimtCrossLayerPlan(group, self)
        if plan.shared_bytes > device.shared_bytes_per_block:
            return f"{plan.shared_bytes} bytes of shared memory; the device has {device.shared_bytes_per_block}"
        if plan.blocks >= 1 << 31:
            return f"{plan.blocks} blocks are more than a grid may have"
        return None


def _stage_problem(group: Group, schedule: StageTiles, threads: int, device: Device) -> str | None:
    if threads > device.max_threads_per_block:
        return f"{threads} threads in a block; the device allows {device.max_threads_per_block}"
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

    `places` has the offset of the box of every kept value, `line_places` those of lines, `arrays` those of each stage's
    own arrays; of a stage that adds up parts, the last of these is its sum, unless threads hold it in registers.
    """

    def __init__(self, group: Group, schedule: CrossLayerTiles) -> None:
        super().__init__(group, schedule.tile, schedule.parts, schedule.cluster, schedule.walk)
        self.schedule = schedule
        self.shapes = [
            stage_arrays(g, s, self.is_resident(number))
            for number, (g, s) in enumerate(zip(self.groups, schedule.stages, strict=True))
        ]
        kept = [(self.kept_span(v), *self.lifetimes[v]) for v in self.stages.kept]
        own = []
        for number, (g, s) in enumerate(zip(self.groups, schedule.stages, strict=True)):
            turn = self.turns[number]
            own += [(rows * columns, turn, turn) for rows, columns in self.shapes[number]]
            if adds_in_shared(g, s):
                first = min(self.turns[n] for n in self.inner[number])
                own[-1] = (own[-1][0], first, turn)
        lines = [(box.elements, 0, len(self.stages)) for box in self.lines.values()]
        offsets, self.shared_elements = self._allocate([*kept, *lines, *own])
        self.places = dict(zip(self.stages.kept, offsets, strict=False))
        self.line_places = dict(zip(self.lines, offsets[len(kept) :], strict=False))
        rest = iter(offsets[len(kept) + len(lines) :])
        self.arrays = [[next(rest) for _ in shapes] for shapes in self.shapes]

    @property
    def blocks(self) -> int:
        return math.prod(self.walks) * self.schedule.cluster

    @staticmethod
    def _allocate(wanted: Sequence[tuple[int, int, int]]) -> tuple[tuple[int, ...], int]:
        return allocate(wanted)

    def kept_strides(self, value: int) -> tuple[int, ...]:
        """Of a kept box."""
        return row_major(self.kept[value].sizes)

    def kept_span(self, value: int) -> int:
        """Elements that a kept box takes, in whole vectors."""
        return -(-self.kept[value].elements // VECTOR) * VECTOR

    def is_resident(self, number: int) -> bool:
        """Whether a register tile reads its first operand where it is kept: in whole slices, vectors of m aligned."""
        group, schedule, root = self.groups[number], self.schedule.stages[number], self.stages.stages[number].root
        operand = root.operands[0]
        if not isinstance(schedule, ContractTiles) or operand not in self.kept:
            return False
        taps_first = root.node.op == "conv"
        problem = contract_problem(root.node, taps_first=taps_first, box=group.box, part=group.part)
        if problem.a.conditions or problem.k % schedule.block_k:
            return False
        box = self.kept[operand]
        inside = [i - start for i, start in zip(problem.a.index, box.start, strict=True)]
        return lies_in_quads(address_of(inside, self.kept_strides(operand)), problem.variables[1], problem.m)

    @property
    def shared_bytes(self) -> int:
        return 4 * self.shared_elements


def row_major(sizes: Sequence[int]) -> tuple[int, ...]:
    """The strides of a box in shared memory."""
    return tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


def stage_arrays(group: Group, schedule: StageTiles, resident: bool = False) -> list[tuple[int, int]]:
    """Rows and columns of the shared arrays that a stage needs for itself; none for an operand that is `resident`."""
    if not isinstance(schedule, ContractTiles):
        return []
    s = schedule
    arrays = [(0, 0) if resident else (BUFFERS * s.block_k, s.block_m), (BUFFERS * s.block_k, s.block_n)]
    if s.result_in_shared(group):
        arrays.append((s.k_groups * s.block_n, s.block_m))
    if adds_in_shared(group, s):
        x, y, z = register_tiles(group, s)
        arrays.append((z * y * s.block_n, x * s.block_m))
    return arrays


def adds_in_shared(group: Group, schedule: StageTiles) -> bool:
    """Whether a stage that adds up parts has its sum in shared memory: else it is few registers of each thread."""
    if group.part is None or not isinstance(schedule, ContractTiles):
        return False
    return math.prod(register_tiles(group, schedule)) > 1 or schedule.thread_m * schedule.thread_n > HELD


# -- choosing


def choose_cross_layer(group: Group, device: Device, threads: int = 0) -> CrossLayerTiles | None:
    """The cheapest tile by the cost model, with a schedule for each stage; None where there is none.

    With `threads`, of those whose blocks have so many. A schedule may need more shared memory than the model counts:
    then the next cheapest is taken, then one that adds up a reduction in parts, at last one of many small tiles.
    """
    stages = cross_layer_stages(group)
    if isinstance(stages, str):
        return None
    for ranked in (ranked_tiles, ranked_in_parts, ranked_small_tiles):
        for cost in ranked(stages, device, threads):
            found = _scheduled(stages, cost, device)
            if found.why_illegal(group, device) is None:
                return found
    return None


def _scheduled(stages: Stages, cost: KernelCost, device: Device) -> CrossLayerTiles:
    boxes = TileBoxes(stages, cost.tile, cost.depths, cost.cluster, cost.walk)
    groups = [replace(stage.group, box=boxes.share(stage), part=boxes.part(stage)) for stage in stages]
    registers = _registers(cost, device)
    schedules = (_stage(g, c, cost.threads, registers) for g, c in zip(groups, cost.stages, strict=True))
    return CrossLayerTiles(cost.threads, boxes.tile, tuple(schedules), cost.depths, cost.cluster, cost.walk)


def _registers(cost: KernelCost, device: Device) -> int:
    """What a thread may use: the registers of a multiprocessor among the blocks that run on it at one time."""
    at_once = min(cost.resident // device.multiprocessors, -(-cost.blocks // device.multiprocessors))
    share = device.registers_per_sm // (cost.threads * max(1, at_once))
    return min(device.registers_per_thread, max(ContractTiles.registers, share)) // 8 * 8


def _stage(group: Group, cost: StageCost, threads: int, registers: int) -> StageTiles:
    """The schedule that the cost of a stage is of, where its box allows it."""
    if cost.tile is not None and ContractTiles.holds_groups(group):
        return ContractTiles.of(cost.tile, registers)
    return TeamTiles(threads, WARP) if cost.how == "team" else MapTiles(threads)
