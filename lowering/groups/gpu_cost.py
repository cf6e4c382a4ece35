"""What a kernel of stages takes on a GPU, for one tile or for all that a search looks at: by columns, one for each box.

A kernel is a launch, the latency of its first and last bytes, and the longer of two times: that of its DRAM traffic,
and that of the busiest multiprocessor, which works through its blocks:

    compute of a stage   multiply-adds at the rate of the register tile: the part that they are of its instructions
    latency of a stage   slices of the reduction follow each other no faster than the second cache answers
    busiest              max(blocks x compute, rounds of resident blocks x latency)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlirfuse.device import Device
from mlirfuse.dialect import Node
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.extents import ManyExtents, TileExtents
from mlirfuse.lowering.groups.gpu_stages import (
    WARP,
    Column,
    Floats,
    Integers,
    Sizes,
    StageModel,
    Way,
    one_box,
    share_by_columns,
)
from mlirfuse.lowering.groups.kernel_cost import KernelCost, StageCost
from mlirfuse.lowering.groups.question import Question
from mlirfuse.lowering.groups.register_tile import TILES, RegisterTile
from mlirfuse.lowering.groups.work import Work

__all__ = ["GpuModel"]

Bools = npt.NDArray[np.bool_]
THREADS = (128, 256)  # of a block of several stages
# An estimate, for which `python benchmarks/gpu_facts.py` measures that of the GPU at hand.
LONELY = 64.0  # threads on a multiprocessor that reach half of its rate: two warps for its four schedulers
REGISTERS = 128  # of a thread of a register tile, where it may have so many
MAP_REGISTERS = 40  # and of one that computes elements by themselves


class _Summed(NamedTuple):
    """The stages of each of many tiles: seconds of a block at full rate, and `alone`; what the largest needs."""

    compute: Floats
    alone: Floats
    shared_bytes: Integers
    registers: Integers


class _Time(NamedTuple):
    """Of a kernel, or arrays of those of many."""

    seconds: Any
    busiest: Any
    memory: float
    resident: Any


class GpuModel:
    """Blocks are shared by multiprocessors, whose threads, registers and shared memory say how many run at once."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.stages = StageModel(device)
        self.registers = min(REGISTERS, device.registers_per_thread)
        self.map_registers = min(MAP_REGISTERS, device.registers_per_thread)
        self._in_part: dict[Any, StageCost] = {}

    @property
    def room(self) -> int:
        """Bytes of a block."""
        return self.device.shared_bytes_per_block

    # -- tiles of a group

    def memory(self, question: Question, tiles: ManyExtents, threads: int) -> Integers:
        """Bytes of boxes, and of small register tiles."""
        every, one = np.arange(len(tiles)), np.ones(len(tiles), np.int64)
        own = self._summed(self._stages(question, tiles, every, one, threads, small=True)).shared_bytes
        return 4 * tiles.shared_elements + own

    def ranked(self, question: Question, tiles: ManyExtents, threads: int = 0, small: int = 0) -> Iterator[KernelCost]:
        """The costs of the tiles that there is room for, the cheapest first.

        With `small`, in small register tiles, and of the first so many.
        """
        seconds, best = np.full(len(tiles), math.inf), np.zeros((2, len(tiles)), np.int64)
        boxes, room = 4 * tiles.shared_elements, self.room
        most = np.where(tiles.walks > 1, 1, 1 if threads else self.device.cluster_blocks)
        clusters, rows = self._shared_by(tiles.counts, boxes <= room, most)
        for n in self._threads(threads):
            stages = self._summed(self._stages(question, tiles, rows, clusters, n, small > 0))
            if (tiles.walks > 1).any():
                copied = self.stages.lines(tiles.line_elements[rows], tiles.walks[rows], n).compute
                stages = stages._replace(compute=stages.compute + copied, alone=stages.alone + copied)
            shared = boxes[rows] + stages.shared_bytes
            time = self._time(
                stages.compute, stages.alone, tiles.counts[rows] * clusters, n, shared, stages.registers,
                question.dram_bytes, self._multiprocessors(clusters),
            )  # fmt: skip
            found = np.where(shared <= room, time.seconds, math.inf)
            for cluster in np.unique(clusters).tolist():
                own = clusters == cluster
                better = rows[own][found[own] < seconds[rows[own]]]
                seconds[rows[own]] = np.minimum(seconds[rows[own]], found[own])
                best[:, better] = [[n], [cluster]]
        fitting = np.flatnonzero(seconds < math.inf)[: small or None]
        for i in fitting[np.argsort(seconds[fitting], kind="stable")].tolist():
            n, cluster = best[:, i].tolist()
            yield self._kernel_of_tile(question, tiles, i, n, cluster, small > 0)

    def least(self, question: Question, tiles: ManyExtents, threads: int = 0) -> list[float]:
        """Seconds of each tile if there were room for it."""
        every, one = np.arange(len(tiles)), np.ones(len(tiles), np.int64)
        least = np.full(len(tiles), math.inf)
        for n in self._threads(threads):
            stages = self._summed(self._stages(question, tiles, every, one, n))
            time = self._time(
                stages.compute, stages.alone, tiles.counts, n, 0, stages.registers, question.dram_bytes,
                self.device.multiprocessors,
            )  # fmt: skip
            least = np.minimum(least, time.seconds)
        found: list[float] = least.tolist()
        return found

    def _threads(self, threads: int) -> list[int]:
        return [n for n in ((threads,) if threads else THREADS) if n <= self.device.max_threads_per_block]

    def _shared_by(self, counts: Integers, tried: Bools, most: Integers) -> tuple[Integers, Integers]:
        """By how many blocks each tile may be shared (its number stands in the second array), up to `most`: by more
        than one where tiles alone leave multiprocessors idle."""
        clusters, rows, cluster = [], [], 1
        while cluster <= most.max(initial=1):
            busy = (cluster // 2) * counts < self.device.multiprocessors
            few = np.flatnonzero(tried & busy & (cluster <= most))
            clusters.append(np.full(len(few), cluster))
            rows.append(few)
            cluster *= 2
        return np.concatenate(clusters), np.concatenate(rows)

    def _multiprocessors(self, clusters: Integers) -> Integers:
        sizes, which = np.unique(clusters, return_inverse=True)
        busy = [self.device.multiprocessors_of_clusters(c) for c in sizes.tolist()]
        return np.array(busy, np.int64)[which]

    def _kernel_of_tile(
        self, question: Question, tiles: ManyExtents, i: int, threads: int, cluster: int, small: bool
    ) -> KernelCost:
        rows, clusters = np.array([i]), np.array([cluster])
        columns = self._stages(question, tiles, rows, clusters, threads, small)
        costs = [column.stage(0) for column in columns]
        shared = 4 * int(tiles.shared_elements[i]) + max(c.shared_bytes for c in costs)
        return self._of_extents(question, tiles[i], costs, threads, shared, cluster)

    def _of_extents(
        self, question: Question, extents: TileExtents, costs: Sequence[StageCost], threads: int, shared: int,
        cluster: int,
    ) -> KernelCost:  # fmt: skip
        lines = None
        if extents.walk > 1:
            lines = self.stages.lines(np.array([extents.line_elements]), np.array([extents.walk]), threads).stage(0)
        again = question.recomputed(extents, cluster)
        return self._kernel(
            costs, extents.tile, extents.tiles, threads, shared, question.dram_bytes, again, cluster, extents.walk,
            lines,
        )  # fmt: skip

    def _stages(
        self, question: Question, tiles: ManyExtents, rows: Integers, clusters: Integers, threads: int,
        small: bool = False,
    ) -> Iterator[Column]:  # fmt: skip
        """Each stage, for the tiles of these numbers, shared by so many blocks."""
        for number, (work, first) in enumerate(zip(question.works, question.first, strict=True)):
            sizes = tiles.roots[number][:, rows]
            kept = tiles.kept[first][:, rows] if first in tiles.kept else None
            share = share_by_columns(sizes, clusters)
            column = self.stages.stage(work, share, threads, kept, small)
            column = self.stages.in_cluster(column, sizes, share, len(question.outputs[number]), threads, clusters)
            yield column if (tiles.walks == 1).all() else column.times(tiles.runs[number][rows])

    def _summed(self, stages: Iterator[Column]) -> _Summed:
        first, *others = stages
        compute, alone = first.compute, np.maximum(first.compute, first.latency)
        shared, tiled = first.shared_bytes, first.tile >= 0
        for column in others:
            compute = compute + column.compute
            alone = alone + np.maximum(column.compute, column.latency)
            shared, tiled = np.maximum(shared, column.shared_bytes), tiled | (column.tile >= 0)
        return _Summed(compute, alone, shared, np.where(tiled, self.registers, self.map_registers))

    # -- reductions in parts

    def in_parts(self, question: Question, boxes: TileBoxes, threads: int = 0) -> KernelCost | None:
        """The cost with reductions added up in parts; None where a block has no room for it either."""
        found = [self._in_parts(question, boxes, n) for n in self._threads(threads)]
        return min((c for c in found if c is not None), key=lambda c: c.seconds, default=None)

    def _in_parts(self, question: Question, boxes: TileBoxes, threads: int) -> KernelCost | None:
        costs, sums = [], 0
        for stage, work, first in zip(question.stages, question.works, question.first, strict=True):
            split = bool(boxes.parts[stage.number])
            turns = stage.depth // boxes.parts[stage.number] if split else boxes.runs(stage)
            if split:
                work = replace(work, length=work.length // turns, flops=work.flops / turns)
            kept = boxes.kept.get(first)
            sizes = boxes.root_box(stage).sizes
            key = work, sizes, threads, None if kept is None else kept.sizes
            if key not in self._in_part:
                beside = None if kept is None else one_box(kept.sizes)
                column = self.stages.stage(work, one_box(sizes), threads, beside, small=True)
                self._in_part[key] = column.stage(0)
            cost = self._in_part[key]
            if split and cost.tile is None:
                return None
            if split:
                sums += _padded(work.factors(sizes), cost.tile)
            costs.append(cost.times(turns))
        alive = [
            sum(box.elements for v, box in boxes.kept.items() if boxes.lifetimes[v][0] <= turn <= boxes.lifetimes[v][1])
            for turn in boxes.turns.values()
        ]
        shared = 4 * (max(alive) + sums) + max(c.shared_bytes for c in costs)
        if shared > self.device.shared_bytes_per_block:
            return None
        tiles = math.prod(boxes.tiles)
        again = max(0.0, tiles * sum(c.flops for c in costs) - question.flops)
        found = self._kernel(costs, boxes.tile, tiles, threads, shared, question.dram_bytes, again)
        return replace(found, depths=boxes.parts)

    # -- kernels that have their schedule, kernels of one op, and kernels of several parts

    def scheduled(
        self,
        question: Question,
        extents: TileExtents,
        ways: Sequence[Way],
        threads: int,
        shared: int,
        cluster: int = 1,
    ) -> KernelCost:
        stages = zip(question.works, extents.roots, ways, question.first, question.outputs, strict=True)
        costs, clusters = [], np.array([cluster])
        for (work, root, way, first, outputs), runs in zip(stages, extents.runs, strict=True):
            sizes = one_box(root)
            share = share_by_columns(sizes, clusters)
            kept = one_box(extents.kept[first]) if first in extents.kept else None
            column = self.stages.by(way, work, share, threads, kept)
            column = self.stages.in_cluster(column, sizes, share, len(outputs), threads, clusters).times(runs)
            costs.append(column.stage(0, (way,) if isinstance(way, RegisterTile) else TILES))
        return self._of_extents(question, extents, costs, threads, shared, cluster)

    def lone(self, node: Node, dram_bytes: int, threads: int = 0) -> KernelCost:
        """The register tile, or what else computes it, that takes least; with so many `threads` if not 0."""
        work = Work.of(node)
        product = work.product(node.out.dims)
        tiled = [] if product is None else self._tiles_alone(work, product, node.out.dims, dram_bytes, threads)
        best = min(tiled, key=lambda c: c.seconds, default=None)
        if best is None:
            threads = threads or 256
            team = WARP if work.in_teams else 1
            blocks = max(1, math.ceil(node.out.size * team / threads))
            column = self.stages.by("team" if team > 1 else "map", work, one_box((threads // team,)), threads, None)
            best = self._kernel([column.stage(0)], (), blocks, threads, 0, dram_bytes)
        return best

    def register_tiles(self, node: Node, product: tuple[int, int, int, int]) -> list[RegisterTile]:
        costs = sorted(self._tiles_alone(Work.of(node), product, node.out.dims, 0), key=lambda c: c.seconds)
        return [c.stages[0].tile for c in costs if c.stages[0].tile is not None]

    def _tiles_alone(
        self, work: Work, product: tuple[int, int, int, int], sizes: Sizes, dram_bytes: int, threads: int = 0
    ) -> list[KernelCost]:
        """What each register tile costs a product that is a kernel of its own."""
        batch, m, n, k = product
        most = self.device.max_threads_per_block
        fitting = (t for t in TILES if 4 * t.shared_elements <= self.room)
        tried = tuple(t for t in fitting if 2 * WARP <= t.threads <= most and threads in (0, t.threads))
        found = []
        for tile, cost in zip(tried, self.stages.tiles_alone(work, sizes, k, tried), strict=True):
            blocks = batch * math.ceil(m / tile.block_m) * math.ceil(n / tile.block_n)
            found.append(self._kernel([cost], (), blocks, tile.threads, cost.shared_bytes, dram_bytes))
        return found

    def together(self, parts: Sequence[KernelCost], dram_bytes: int) -> KernelCost | None:
        """Blocks of several parts in one grid: those that there is room for run at once, whichever part they are of."""
        device = self.device
        threads, shared = parts[0].threads, max(p.shared_bytes for p in parts)
        if threads > device.max_threads_per_block or shared > device.shared_bytes_per_block:
            return None
        blocks = sum(p.blocks for p in parts)
        stages = tuple(s for p in parts for s in p.stages)
        registers = max(p.registers for p in parts)
        resident = int(self._resident(threads, shared, registers))
        each = math.ceil(blocks / device.multiprocessors)
        share = _share_of_rate(threads * min(each, resident))
        compute = [sum(s.compute for s in p.work) / share for p in parts]
        alone = [sum(max(s.compute, s.latency) for s in p.work) for p in parts]
        mean = each / blocks  # of the busiest multiprocessor's share of all blocks
        busiest = max(
            max(map(max, zip(compute, alone, strict=True))),
            mean * sum(p.blocks * c for p, c in zip(parts, compute, strict=True)),
            mean * sum(p.blocks * c for p, c in zip(parts, alone, strict=True)) / min(each, resident),
        )
        memory = dram_bytes / device.dram_bandwidth
        seconds = device.launch_seconds + 2 * device.dram_latency + max(busiest, memory)
        return KernelCost(
            seconds, busiest, memory, (), blocks, threads, resident * device.multiprocessors, shared, dram_bytes,
            sum(p.l2_bytes for p in parts), sum(p.flops for p in parts), sum(p.recomputed_flops for p in parts), stages,
            registers, tuple(parts),
        )  # fmt: skip

    # -- one kernel

    def _kernel(
        self, costs: Sequence[StageCost], tile: tuple[int, ...], tiles: int, threads: int, shared: int,
        dram_bytes: int, again: float = 0.0, cluster: int = 1, walk: int = 1, lines: StageCost | None = None,
    ) -> KernelCost:  # fmt: skip
        blocks = tiles // walk * cluster
        done = [*costs, lines] if lines is not None else costs
        compute, alone = sum(c.compute for c in done), sum(max(c.compute, c.latency) for c in done)
        registers = self.registers if any(c.how == "contract" for c in costs) else self.map_registers
        multiprocessors = self.device.multiprocessors_of_clusters(cluster)
        time = self._time(compute, alone, blocks, threads, shared, registers, dram_bytes, multiprocessors)
        flops = blocks * sum(c.flops for c in costs)
        return KernelCost(
            float(time.seconds), float(time.busiest), time.memory, tile, tiles, threads, int(time.resident), shared,
            dram_bytes, blocks * sum(c.l2_bytes for c in costs), flops, again, tuple(costs), registers,
            cluster=cluster, walk=walk, lines=lines,
        )  # fmt: skip

    def _time(
        self, compute: Any, alone: Any, blocks: Any, threads: int, shared: Any, registers: Any, dram_bytes: int,
        multiprocessors: Any,
    ) -> _Time:  # fmt: skip
        """Of kernels whose blocks compute so long at full rate, and `alone`; of one, or of an array of them."""
        device = self.device
        resident = self._resident(threads, shared, registers)
        each = -(-blocks // multiprocessors)
        share = _share_of_rate(threads * np.minimum(each, resident))
        busiest = np.maximum(each * compute / share, -(-each // resident) * alone)
        memory = dram_bytes / device.dram_bandwidth
        seconds = device.launch_seconds + 2 * device.dram_latency + np.maximum(busiest, memory)
        return _Time(seconds, busiest, memory, resident * multiprocessors)

    def _resident(self, threads: int, shared: Any, registers: Any) -> Any:
        """Blocks of a multiprocessor at one time, `registers` for each thread; of a kernel, or an array of them."""
        device = self.device
        by_threads = min(device.max_blocks_per_sm, device.max_threads_per_sm // threads)
        by_memory = device.shared_bytes_per_sm // np.maximum(1, shared + device.shared_bytes_reserved)
        by_registers = device.registers_per_sm // (threads * registers)
        return np.maximum(1, np.minimum(by_threads, np.minimum(by_memory, by_registers)))


def _padded(product: tuple[int, int, int, int], tile: RegisterTile | None) -> int:
    """Elements of all register tiles of a product."""
    assert tile is not None
    batch, m, n, _ = product
    return batch * math.ceil(m / tile.block_m) * tile.block_m * math.ceil(n / tile.block_n) * tile.block_n


def _share_of_rate(threads: Any) -> Any:
    """Of a multiprocessor's rate, what so many threads reach: with few warps, nothing runs while one waits."""
    return threads / (threads + LONELY)
