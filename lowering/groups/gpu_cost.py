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
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlirfuse.device import Device
from mlirfuse.dialect import Node
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.extents import ManyExtents, TileExtents
from mlirfuse.lowering.groups.kernel_cost import KernelCost, StageCost
from mlirfuse.lowering.groups.question import Question
from mlirfuse.lowering.groups.register_tile import QUAD, TILES, RegisterTile
from mlirfuse.lowering.groups.stages import Stage
from mlirfuse.lowering.groups.work import Work

__all__ = ["GpuModel", "efficiency"]

Sizes = tuple[int, ...]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
WARP = 32
THREADS = (128, 256)  # of a block of several stages
SMALL = 1 / 6  # of a block's shared memory: what a register tile may take where channels do not fit
# Instructions of a thread for one slice of a register tile, beside its multiply-adds and shared loads: in all, and for
# each element that it brings to the slice, from the device's memory or the block's alike. These and the next are
# counted in the assembly for sm_90 and fitted by `python benchmarks/instructions.py`.
SLICE = 14.0
WINDOW_FETCH = 12.5  # through a window, whose taps may lie in padding
PLAIN_FETCH = 2.6
QUAD_FETCH = 0.85  # four neighbours at once
PART = 83.0  # for a register tile of a result, before its first slice and after its last
GATHER = 1.3  # and for each of a thread's sums that groups of threads add up through shared memory;
MAP_START = 12.0  # for an element that a thread computes by itself: once,
MAP_TAP = 2.7  # for each element that it combines,
MAP_OPERATION = 1.5  # and for each operation
TEAM_ELEMENT = 4.0  # for an element that a warp computes,
TEAM_STEP = 5.5  # and each step of its lanes through the reduction
# Estimates, for which `python benchmarks/gpu_facts.py` measures those of the GPU at hand.
SWITCH = 30e-9  # a barrier and the turn of a slice: some 50 cycles
LONELY = 64.0  # threads on a multiprocessor that reach half of its rate: two warps for its four schedulers
REGISTERS = 128  # of a thread of a register tile
MAP_REGISTERS = 40  # and of one that computes elements by themselves
MAP, TEAM = -1, -2  # in the place of a register tile's number

Way = RegisterTile | str  # how a stage computes its box: in a register tile, or by its name (contract, team, map)


class _Tiles:
    """Register tiles by columns, of one column each: figures for products in rows."""

    def __init__(self, tiles: Sequence[RegisterTile]) -> None:
        def column(name: str) -> Integers:
            return np.array([getattr(t, name) for t in tiles], np.int64).reshape(-1, 1)

        self.tiles = tuple(tiles)
        self.numbers = np.array([TILES.index(t) if t in TILES else 0 for t in tiles], np.int64)
        self.block_m, self.block_n, self.block_k = column("block_m"), column("block_n"), column("block_k")
        self.thread_m, self.thread_n, self.k_groups = column("thread_m"), column("thread_n"), column("k_groups")
        self.threads, self.shared_elements = column("threads"), column("shared_elements")

    def efficiency(self, fetch: Any) -> Floats:
        """The part of all instructions that are multiply-adds, if an element of the first operand takes `fetch`."""
        products = self.thread_m * self.thread_n * self.block_k / self.k_groups
        loads = (self.thread_m + self.thread_n) / QUAD * self.block_k / self.k_groups
        fetched = self.block_k * (self.block_m * fetch + self.block_n * QUAD_FETCH) / self.threads
        return products / (products + loads + fetched + SLICE)


_tiles_of = lru_cache(maxsize=512)(_Tiles)


def efficiency(tile: RegisterTile, fetch: float) -> float:
    """The part of a register tile's instructions that are multiply-adds; `fetch` as in `SLICE` and its neighbours."""
    return float(_tiles_of((tile,)).efficiency(fetch)[0, 0])


class _Column(NamedTuple):
    """One stage, for each of many boxes: seconds of a block at full rate, least seconds by latency, bytes from the
    second cache, operations; what its register tile takes of shared memory, and its number in TILES, or MAP or TEAM."""

    compute: Floats
    latency: Floats
    l2_bytes: Integers
    flops: Floats
    shared_bytes: Integers
    tile: Integers

    def times(self, runs: Any) -> _Column:
        """Each box computed so many times."""
        return self._replace(
            compute=self.compute * runs, latency=self.latency * runs, l2_bytes=self.l2_bytes * runs,
            flops=self.flops * runs,
        )  # fmt: skip

    def stage(self, i: int, tiles: Sequence[RegisterTile] = TILES) -> StageCost:
        """That of one box."""
        number = int(self.tile[i])
        return StageCost(
            {MAP: "map", TEAM: "team"}.get(number, "contract"), float(self.compute[i]), float(self.latency[i]),
            int(self.l2_bytes[i]), float(self.flops[i]), None if number < 0 else tiles[number],
            int(self.shared_bytes[i]),
        )  # fmt: skip


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
        self.rate = device.fp32_flops / device.multiprocessors
        self.l2_rate = device.l2_bandwidth / device.multiprocessors
        self._in_part: dict[Any, StageCost] = {}
        self._tried: dict[tuple[int, bool], _Tiles] = {}

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
                copied = self._lines(tiles.line_elements[rows], tiles.walks[rows], n).compute
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
            lines = self._lines(np.array([extents.line_elements]), np.array([extents.walk]), threads).stage(0)
        again = question.recomputed(extents, cluster)
        return self._kernel(
            costs, extents.tile, extents.tiles, threads, shared, question.dram_bytes, again, cluster, extents.walk,
            lines,
        )  # fmt: skip

    def _stages(
        self, question: Question, tiles: ManyExtents, rows: Integers, clusters: Integers, threads: int,
        small: bool = False,
    ) -> Iterator[_Column]:  # fmt: skip
        """Each stage, for the tiles of these numbers, shared by so many blocks."""
        for number, (work, first) in enumerate(zip(question.works, question.first, strict=True)):
            sizes = tiles.roots[number][:, rows]
            kept = tiles.kept[first][:, rows] if first in tiles.kept else None
            share = _shares(sizes, clusters)
            column = self._stage(work, share, threads, kept, small)
            column = self._in_cluster(column, sizes, share, len(question.outputs[number]), threads, clusters)
            yield column if (tiles.walks == 1).all() else column.times(tiles.runs[number][rows])

    def _summed(self, stages: Iterator[_Column]) -> _Summed:
        first, *others = stages
        compute, alone = first.compute, np.maximum(first.compute, first.latency)
        shared, tiled = first.shared_bytes, first.tile >= 0
        for column in others:
            compute = compute + column.compute
            alone = alone + np.maximum(column.compute, column.latency)
            shared, tiled = np.maximum(shared, column.shared_bytes), tiled | (column.tile >= 0)
        return _Summed(compute, alone, shared, np.where(tiled, REGISTERS, MAP_REGISTERS))

    # -- reductions in parts

    def in_parts(self, question: Question, boxes: TileBoxes, threads: int = 0) -> KernelCost | None:
        """The cost with reductions added up in parts; None where a block has no room for it either."""
        found = [self._in_parts(question, boxes, n) for n in self._threads(threads)]
        return min((c for c in found if c is not None), key=lambda c: c.seconds, default=None)

    def _in_parts(self, question: Question, boxes: TileBoxes, threads: int) -> KernelCost | None:
        costs, sums = [], 0
        for stage, work, first in zip(question.stages, question.works, question.first, strict=True):
            turns = _turns(boxes, stage)
            split = bool(boxes.parts[stage.number])
            if split:
                work = replace(work, length=work.length // turns, flops=work.flops / turns)
            kept = boxes.kept.get(first)
            sizes = boxes.root_box(stage).sizes
            key = work, sizes, threads, None if kept is None else kept.sizes
            if key not in self._in_part:
                column = self._stage(work, _one(sizes), threads, None if kept is None else _one(kept.sizes), small=True)
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
            sizes = _one(root)
            share = _shares(sizes, clusters)
            column = self._by(way, work, share, threads, _one(extents.kept[first]) if first in extents.kept else None)
            column = self._in_cluster(column, sizes, share, len(outputs), threads, clusters).times(runs)
            costs.append(column.stage(0, (way,) if isinstance(way, RegisterTile) else TILES))
        return self._of_extents(question, extents, costs, threads, shared, cluster)

    def _by(self, way: Way, work: Work, sizes: Integers, threads: int, kept: Integers | None) -> _Column:
        if isinstance(way, RegisterTile):
            column = self._tiled(_tiles_of((way,)), work, sizes, kept, math.inf)
            return column._replace(tile=np.array([0]))
        return self._team(work, sizes, threads) if way == "team" else self._map(work, sizes, threads, kept)

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
            elements = _one((threads // team,))
            column = self._team(work, elements, threads) if team > 1 else self._map(work, elements, threads, None)
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
        tiles, found = _tiles_of(tried), []
        fetch = _fetches(work, _one(sizes), None)
        compute, latency, l2_bytes = self._contract(1, tiles.block_m, tiles.block_n, k, tiles, True, fetch)
        for i, tile in enumerate(tried):
            flops = 2.0 * tile.block_m * tile.block_n * k
            cost = StageCost(
                "contract", float(compute[i, 0]), float(latency[i, 0]), int(l2_bytes[i, 0]), flops, tile,
                4 * tile.shared_elements,
            )  # fmt: skip
            blocks = batch * math.ceil(m / tile.block_m) * math.ceil(n / tile.block_n)
            found.append(self._kernel([cost], (), blocks, tile.threads, 4 * tile.shared_elements, dram_bytes))
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
        registers = REGISTERS if any(c.how == "contract" for c in costs) else MAP_REGISTERS
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

    # -- one stage, for many boxes: `sizes` has a row for each dimension of the root, `kept` for each of
    # the box that lies in the block of what it reads, if one does

    def _in_cluster(
        self, column: _Column, sizes: Integers, share: Integers, outputs: int, threads: int, clusters: Integers
    ) -> _Column:
        """The costs of a stage whose blocks leave what they keep with all of their cluster, and wait for each other."""
        alone = clusters == 1
        if alone.all():
            return column
        device = self.device
        elements = np.where((share != sizes).any(axis=0), outputs * share.prod(axis=0), 0)
        sent = 4 * elements * (clusters - 1) * device.multiprocessors / device.cluster_bandwidth
        issued = self._issuing(-(-elements // threads) * clusters, threads)
        compute = column.compute + np.maximum(sent, issued)
        latency = column.latency + sent + device.cluster_latency
        return column._replace(
            compute=np.where(alone, column.compute, compute), latency=np.where(alone, column.latency, latency)
        )

    def _stage(self, work: Work, sizes: Integers, threads: int, kept: Integers | None, small: bool = False) -> _Column:
        """In the best register tile, where one suits; a `small` one leaves most of the memory to others."""
        untiled = self._team(work, sizes, threads) if work.in_teams else self._map(work, sizes, threads, kept)
        suits, tiles = work.suits(sizes), self._register_tiles(threads, small)
        if not suits.any() or not len(tiles.tiles):
            return untiled
        most = self.room * (SMALL if small else 1.0)

        tiled = self._tiled(tiles, work, sizes, kept, most)
        if suits.all():
            return tiled
        return _Column(*(np.where(suits, a, b) for a, b in zip(tiled, untiled, strict=True)))

    def _register_tiles(self, threads: int, small: bool) -> _Tiles:
        """Those for so many threads that hold what they need in registers."""
        if (threads, small) not in self._tried:
            most = self.device.registers_per_thread
            own = (t for t in TILES if t.threads == threads and t.least_registers <= most)
            self._tried[threads, small] = _Tiles([t for t in own if not (small and t.k_groups > 1)])
        return self._tried[threads, small]

    def _tiled(self, tiles: _Tiles, work: Work, sizes: Integers, kept: Integers | None, most: float) -> _Column:
        """In the one of these tiles that takes least, of those that want no more than `most` bytes, or are smallest."""
        batch, m, n, k = work.factors(sizes)
        fetch = _fetches(work, sizes, kept)
        compute, latency, l2_bytes = self._contract(batch, m, n, k, tiles, kept is None, fetch)
        # rows that end inside a vector go through shared memory, and what meets another tensor as large
        results = np.where(tiles.k_groups == 1, tiles.block_m * tiles.block_n, 0) * (work.joined | (m % QUAD != 0))
        wanted = tiles.shared_elements + results
        fits = (4 * wanted <= most) | (wanted == wanted.min(axis=0))
        best = np.where(fits, np.maximum(compute, latency), math.inf).argmin(axis=0)
        every = np.arange(len(best))
        return _Column(
            compute[best, every], latency[best, every], l2_bytes[best, every], 2.0 * batch * m * n * k,
            4 * wanted[best, every], tiles.numbers[best],
        )  # fmt: skip

    def _contract(
        self, batch: Any, m: Any, n: Any, k: int, tiles: _Tiles, streamed: bool, fetch: Floats
    ) -> tuple[Floats, Floats, Integers]:
        """Seconds of a block at full rate, least seconds by latency, bytes from the second cache; a row a tile."""
        parts = batch * -(-m // tiles.block_m) * -(-n // tiles.block_n)
        slices = parts * -(-k // tiles.block_k)
        wanted = 4 * tiles.block_k * (tiles.block_n + (tiles.block_m if streamed else 0))
        flops = 2 * tiles.block_m * tiles.block_n * tiles.block_k
        compute = slices * np.maximum(flops / (self.rate * tiles.efficiency(fetch)), wanted / self.l2_rate)
        compute = compute + self._issuing(parts * PART, tiles.threads)
        gathered = self._issuing(parts * GATHER * tiles.thread_m * tiles.thread_n, tiles.threads)
        compute = np.where(tiles.k_groups > 1, compute + gathered, compute)
        return compute, slices * (self.device.l2_latency + SWITCH), slices * wanted

    def _issuing(self, instructions: Any, threads: Any) -> Any:
        """Seconds for so many of each thread; a multiply-add, one instruction, is two of the device's operations."""
        return 2 * instructions * threads / self.rate

    def _map(self, work: Work, sizes: Integers, threads: int, kept: Integers | None) -> _Column:
        """One element a thread at a time."""
        elements = sizes.prod(axis=0)
        turns = -(-elements // threads)
        issued = MAP_START + turns * (work.length * MAP_TAP + max(1.0, work.flops) * MAP_OPERATION)
        fetched = (4 if kept is None else 0) * elements
        compute = np.maximum(self._issuing(issued, threads), fetched / self.l2_rate)
        return _column(compute, turns * self.device.l2_latency, fetched, elements * work.flops, MAP)

    def _lines(self, elements: Integers, walks: Integers, threads: int) -> _Column:
        """Copies to lines and from them between the tiles of walks, an element a thread at a time."""
        issued = 2 * (walks - 1) * (MAP_START + -(-elements // threads) * (MAP_TAP + MAP_OPERATION))
        compute = np.where(walks > 1, self._issuing(issued, threads), 0.0)
        none = np.zeros(len(compute), np.int64)
        return _column(compute, none.astype(np.float64), none, none.astype(np.float64), MAP)

    def _team(self, work: Work, sizes: Integers, threads: int) -> _Column:
        """A warp for each element."""
        elements = sizes.prod(axis=0)
        turns, steps = -(-elements // (threads // WARP)), math.ceil(work.length / WARP)
        fetched = 4 * elements * work.length
        issued = self._issuing(turns * (TEAM_ELEMENT + steps * TEAM_STEP), threads)
        latency = turns * self.device.l2_latency * math.ceil(steps / QUAD)
        return _column(np.maximum(issued, fetched / self.l2_rate), latency, fetched, 2.0 * elements * work.length, TEAM)


def _column(compute: Floats, latency: Floats, l2_bytes: Integers, flops: Floats, how: int) -> _Column:
    none = np.zeros(len(compute), np.int64)
    return _Column(compute, latency, l2_bytes, flops, none, none + how)


def _one(sizes: Sizes) -> Integers:
    """One box, by columns."""
    return np.array(sizes, np.int64).reshape(-1, 1)


def _shares(sizes: Integers, clusters: Integers) -> Integers:
    """What each block of a cluster computes of boxes: `box.share_of` by columns."""
    if len(sizes) < 2:
        return sizes
    share = sizes.copy()
    share[1] = np.where(sizes[1] % clusters == 0, sizes[1] // clusters, sizes[1])
    return share


def _fetches(work: Work, sizes: Integers, kept: Integers | None) -> Floats:
    """Instructions for an element of a product's first operand, for boxes of the result of these sizes.

    There are none where the box of it that is kept lies as a tile of it would.
    """
    if work.windowed:
        return np.full(sizes.shape[1], WINDOW_FETCH)
    beside = np.zeros(sizes.shape[1], np.bool_)
    if kept is not None and len(kept) == len(sizes):
        beside = (kept[2:] == sizes[2:]).all(axis=0)
    return np.where(sizes[-1] % QUAD != 0, PLAIN_FETCH, np.where(beside, 0.0, QUAD_FETCH))


def _turns(boxes: TileBoxes, stage: Stage) -> int:
    """How many times a stage runs for one tile: once for each part of the reduction that it serves."""
    for number, inner in boxes.inner_stages.items():
        if stage.number in (number, *inner):
            return boxes.stages.stages[number].depth // boxes.parts[number]
    return 1


def _padded(product: tuple[int, int, int, int], tile: RegisterTile | None) -> int:
    """Elements of all register tiles of a product."""
    assert tile is not None
    batch, m, n, _ = product
    return batch * math.ceil(m / tile.block_m) * tile.block_m * math.ceil(n / tile.block_n) * tile.block_n


def _share_of_rate(threads: Any) -> Any:
    """Of a multiprocessor's rate, what so many threads reach: with few warps, nothing runs while one waits."""
    return threads / (threads + LONELY)
