"""What one stage of a kernel takes on a GPU, by columns: one for each of many boxes.

A stage computes its box in a register tile, with a warp for each element, or an element a thread at a time. Seconds are
those of a block with the whole multiprocessor at its full rate, and the least by latency; bytes are those that come
from the second cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlirfuse.device import Device
from mlirfuse.lowering.groups.kernel_cost import StageCost
from mlirfuse.lowering.groups.register_tile import QUAD, TILES, RegisterTile
from mlirfuse.lowering.groups.work import Work

__all__ = [
    "WARP",
    "Column",
    "Floats",
    "Integers",
    "Sizes",
    "StageModel",
    "Way",
    "efficiency",
    "one_box",
    "share_by_columns",
]

Sizes = tuple[int, ...]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
WARP = 32
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
# An estimate, for which `python benchmarks/gpu_facts.py` measures that of the GPU at hand.
SWITCH = 30e-9  # a barrier and the turn of a slice: some 50 cycles
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


class Column(NamedTuple):
    """One stage, for each of many boxes: seconds of a block at full rate, least seconds by latency, bytes from the
    second cache, operations; what its register tile takes of shared memory, and its number in TILES, or MAP or TEAM."""

    compute: Floats
    latency: Floats
    l2_bytes: Integers
    flops: Floats
    shared_bytes: Integers
    tile: Integers

    def times(self, runs: Any) -> Column:
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


class StageModel:
    """Stages on one device. `sizes` has a row for each dimension of the root, `kept` for each of the box that lies in
    the block of what it reads, if one does."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.rate = device.fp32_flops / device.multiprocessors
        self.l2_rate = device.l2_bandwidth / device.multiprocessors
        self._tried: dict[tuple[int, bool], _Tiles] = {}

    def stage(self, work: Work, sizes: Integers, threads: int, kept: Integers | None, small: bool = False) -> Column:
        """In the best register tile, where one suits; a `small` one leaves most of the memory to others."""
        untiled = self._team(work, sizes, threads) if work.in_teams else self._map(work, sizes, threads, kept)
        suits, tiles = work.suits(sizes), self._register_tiles(threads, small)
        if not suits.any() or not len(tiles.tiles):
            return untiled
        most = self.device.shared_bytes_per_block * (SMALL if small else 1.0)
        tiled = self._tiled(tiles, work, sizes, kept, most)
        if suits.all():
            return tiled
        return Column(*(np.where(suits, a, b) for a, b in zip(tiled, untiled, strict=True)))

    def by(self, way: Way, work: Work, sizes: Integers, threads: int, kept: Integers | None) -> Column:
        """In this way; `tile` is then the number of the only one there is."""
        if isinstance(way, RegisterTile):
            column = self._tiled(_tiles_of((way,)), work, sizes, kept, math.inf)
            return column._replace(tile=np.array([0]))
        return self._team(work, sizes, threads) if way == "team" else self._map(work, sizes, threads, kept)

    def tiles_alone(self, work: Work, sizes: Sizes, k: int, tiles: Sequence[RegisterTile]) -> list[StageCost]:
        """A block of a product that is a kernel of its own, in each of these register tiles; `k` is its reduction."""
        columns = _tiles_of(tuple(tiles))
        fetch = _fetches(work, one_box(sizes), None)
        compute, latency, l2_bytes = self._contract(1, columns.block_m, columns.block_n, k, columns, True, fetch)
        return [
            StageCost(
                "contract", float(compute[i, 0]), float(latency[i, 0]), int(l2_bytes[i, 0]),
                2.0 * tile.block_m * tile.block_n * k, tile, 4 * tile.shared_elements,
            )
            for i, tile in enumerate(tiles)
        ]  # fmt: skip

    def _map(self, work: Work, sizes: Integers, threads: int, kept: Integers | None) -> Column:
        """One element a thread at a time."""
        elements = sizes.prod(axis=0)
        turns = -(-elements // threads)
        issued = MAP_START + turns * (work.length * MAP_TAP + max(1.0, work.flops) * MAP_OPERATION)
        fetched = (4 if kept is None else 0) * elements
        compute = np.maximum(self._issuing(issued, threads), fetched / self.l2_rate)
        return _column(compute, turns * self.device.l2_latency, fetched, elements * work.flops, MAP)

    def lines(self, elements: Integers, walks: Integers, threads: int) -> Column:
        """Copies to lines and from them between the tiles of walks, an element a thread at a time."""
        issued = 2 * (walks - 1) * (MAP_START + -(-elements // threads) * (MAP_TAP + MAP_OPERATION))
        compute = np.where(walks > 1, self._issuing(issued, threads), 0.0)
        none = np.zeros(len(compute), np.int64)
        return _column(compute, none.astype(np.float64), none, none.astype(np.float64), MAP)

    def _team(self, work: Work, sizes: Integers, threads: int) -> Column:
        """A warp for each element."""
        elements = sizes.prod(axis=0)
        turns, steps = -(-elements // (threads // WARP)), math.ceil(work.length / WARP)
        fetched = 4 * elements * work.length
        issued = self._issuing(turns * (TEAM_ELEMENT + steps * TEAM_STEP), threads)
        latency = turns * self.device.l2_latency * math.ceil(steps / QUAD)
        return _column(np.maximum(issued, fetched / self.l2_rate), latency, fetched, 2.0 * elements * work.length, TEAM)

    def in_cluster(
        self, column: Column, sizes: Integers, share: Integers, outputs: int, threads: int, clusters: Integers
    ) -> Column:
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

    def _register_tiles(self, threads: int, small: bool) -> _Tiles:
        """Those for so many threads that hold what they need in registers."""
        if (threads, small) not in self._tried:
            most = self.device.registers_per_thread
            own = (t for t in TILES if t.threads == threads and t.least_registers <= most)
            self._tried[threads, small] = _Tiles([t for t in own if not (small and t.k_groups > 1)])
        return self._tried[threads, small]

    def _tiled(self, tiles: _Tiles, work: Work, sizes: Integers, kept: Integers | None, most: float) -> Column:
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
        return Column(
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


def _column(compute: Floats, latency: Floats, l2_bytes: Integers, flops: Floats, how: int) -> Column:
    none = np.zeros(len(compute), np.int64)
    return Column(compute, latency, l2_bytes, flops, none, none + how)


def one_box(sizes: Sizes) -> Integers:
    """One box, by columns."""
    return np.array(sizes, np.int64).reshape(-1, 1)


def share_by_columns(sizes: Integers, clusters: Integers) -> Integers:
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
