"""What a kernel of stages takes on a CPU.

A hand-over, and rounds of tiles over cores, each at the rate of its vector units, or DRAM traffic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mlirfuse.device import Device
from mlirfuse.dialect import Node
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.cpu_rates import (
    L3_BYTES_PER_CYCLE,
    TILE_CYCLES,
    cycles_per_second,
    loop_cycles,
    product_cycles,
    stream_rate,
)
from mlirfuse.lowering.groups.extents import ManyExtents, TileExtents
from mlirfuse.lowering.groups.kernel_cost import KernelCost, StageCost
from mlirfuse.lowering.groups.question import Question
from mlirfuse.lowering.groups.register_tile import RegisterTile
from mlirfuse.lowering.groups.stages import Stage
from mlirfuse.lowering.groups.work import Work, is_depthwise

__all__ = ["CpuModel"]

REGION_SECONDS = 1e-6  # from one kernel to the next of a CPU's threads, which wait spinning
CUT_LINES = 1.05  # times the work of tiles that cut the innermost dimension: blocks of rows that cross lines
DOUBT = 1.03  # times what stages take: what the model has been seen to leave out
COPY_BYTES_PER_CYCLE = 8  # of operands that are padded or computed, on their way to a register tile; and of lines
MOST_KEPT = 768 * 1024  # bytes of a thread's stack that a tile may keep between its stages

Integers = npt.NDArray[np.int64]


class CpuModel:
    """Tiles are shared by the cores; each core has its caches. What a tile keeps lies in the second, if it fits.

    One op alone is shared by the cores evenly; what it reads and leaves is in the cache that holds both, since the
    kernel before it has just left it there.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.hertz = cycles_per_second(device)

    @property
    def room(self) -> int:
        """Bytes that the boxes of a tile may take."""
        return MOST_KEPT

    def memory(self, question: Question, tiles: ManyExtents, threads: int) -> Integers:
        """Bytes of boxes."""
        return 4 * tiles.shared_elements

    def ranked(self, question: Question, tiles: ManyExtents, threads: int = 0, small: int = 0) -> Iterator[KernelCost]:
        """The costs of the tiles (of the first so many, if `small`) that there is room for, the cheapest first."""
        kept = self.memory(question, tiles, threads)
        room = np.flatnonzero(kept <= self.room)[: small or None]
        costs = (self._cost(question, tiles[i], int(kept[i])) for i in room.tolist())
        return iter(sorted(costs, key=lambda c: c.seconds))

    def least(self, question: Question, tiles: ManyExtents, threads: int = 0) -> list[float]:
        """Endless, so that none is tried in parts."""
        return [math.inf] * len(tiles)

    def _cost(self, question: Question, extents: TileExtents, kept: int) -> KernelCost:
        stages = zip(question.works, extents.roots, extents.runs, strict=True)
        costs = [self._stage(work, sizes).times(runs) for work, sizes, runs in stages]
        return self._tiled(question, extents, costs, kept)

    def scheduled(
        self,
        question: Question,
        extents: TileExtents,
        ways: Sequence[RegisterTile | str],
        threads: int,
        shared: int,
        cluster: int = 1,
    ) -> KernelCost:
        stages = zip(question.works, extents.roots, ways, extents.runs, strict=True)
        costs = [
            self._by(None if way == "map" else work.product(sizes), work, sizes).times(runs)
            for work, sizes, way, runs in stages
        ]
        return self._tiled(question, extents, costs, shared)

    def together(self, parts: Sequence[KernelCost], dram_bytes: int) -> KernelCost | None:
        return None  # a kernel's tiles are of one kind on a CPU, where a hand-over is all that they would save

    def register_tiles(self, node: Node, product: tuple[int, int, int, int]) -> list[RegisterTile]:
        return []  # register tiles of CPUs are their schedules' own

    def in_parts(self, question: Question, boxes: TileBoxes, threads: int = 0) -> KernelCost | None:
        """None: what does not fit into a core's cache is not computed in one kernel."""
        return None

    def lone(self, node: Node, dram_bytes: int, threads: int = 0) -> KernelCost:
        cores = self.device.multiprocessors
        whole = self._stage(Work.of(node), node.out.dims)
        part = replace(whole, compute=whole.compute / cores, flops=whole.flops / cores)
        drawn = dram_bytes / cores / stream_rate(dram_bytes, self.device)
        return self._kernel([part], part.compute + drawn + TILE_CYCLES, (), cores, 0, dram_bytes, 0.0)

    def _tiled(self, question: Question, extents: TileExtents, costs: Sequence[StageCost], kept: int) -> KernelCost:
        boxes = zip(question.stages, extents.roots, extents.runs, strict=True)
        moved = sum(runs * self._moved(question, extents, stage, sizes) for stage, sizes, runs in boxes)
        moved += 2 * (extents.walk - 1) * 4 * extents.line_elements / COPY_BYTES_PER_CYCLE
        cut = CUT_LINES if extents.tile[-1] < question.extents.frame[-1] else 1.0
        each = DOUBT * (sum(c.compute for c in costs) * cut + moved) + TILE_CYCLES
        again = question.recomputed(extents)
        return self._kernel(costs, each, extents.tile, extents.tiles, kept, question.dram_bytes, again, extents.walk)

    def _stage(self, work: Work, sizes: tuple[int, ...]) -> StageCost:
        return self._by(work.product(sizes), work, sizes)

    def _by(self, product: tuple[int, int, int, int] | None, work: Work, sizes: tuple[int, ...]) -> StageCost:
        """Of one core, in cycles."""
        elements = math.prod(sizes)
        if product is not None:
            return StageCost("contract", product_cycles(*product, self.device), 0.0, 0, work.flops * elements)
        return StageCost("map", loop_cycles(elements, work.length, self.device), 0.0, 0, work.flops * elements)

    def _moved(self, question: Question, extents: TileExtents, stage: Stage, sizes: tuple[int, ...]) -> float:
        """Cycles to draw what a stage reads for its box, and to leave what it stores: constants are read by each tile
        again, of other operands and results it is the box's share. Some channels of a product need all of its operand,
        which is copied, with what is computed before it."""
        group, device, cycles = question.stages.group, self.device, 0.0
        dims = stage.root.node.out.dims
        stored = math.prod(sizes) / stage.root.node.out.size
        product = stage.root.node.op in ("conv", "contract") and not is_depthwise(stage.root.node)
        read = stored * dims[1] / sizes[1] if product and len(dims) > 1 else stored
        if read > stored:
            cycles += read * stage.root.node.inputs[0].bytes / COPY_BYTES_PER_CYCLE
        for value in (*stage.group.inputs, *stage.group.outputs):
            size = group.types[value].bytes
            if value in question.constants:
                cycles += size / stream_rate(size, device)
            elif value in question.stages.kept:
                box = 4 * math.prod(extents.kept[value])
                share = stored if value in stage.group.outputs else read
                cycles += min(box, share * size) / stream_rate(box // 2, device)
            else:
                share = stored if value in stage.group.outputs else read
                cycles += share * size / min(L3_BYTES_PER_CYCLE, stream_rate(question.dram_bytes, device))
        return cycles

    def _kernel(
        self, costs: Sequence[StageCost], each: float, tile: tuple[int, ...], tiles: int, kept: int, dram_bytes: int,
        again: float, walk: int = 1,
    ) -> KernelCost:  # fmt: skip
        device = self.device
        busiest = math.ceil(tiles // walk / device.multiprocessors) * each / self.hertz
        memory = dram_bytes / device.dram_bandwidth if dram_bytes > device.l3_bytes // 2 else 0.0
        stages = tuple(replace(c, compute=c.compute / self.hertz) for c in costs)
        return KernelCost(
            REGION_SECONDS + max(busiest, memory), busiest, memory, tile, tiles, 1, device.multiprocessors, kept,
            dram_bytes, 0, tiles // walk * sum(c.flops for c in costs), again, stages, walk=walk,
        )  # fmt: skip
