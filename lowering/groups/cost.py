"""What a kernel of stages takes on a device, predicted; and the tile that takes least.

A GPU's kernel is a launch, the latency of its first and last bytes, and the longer of two times: that of its DRAM
traffic, and that of the busiest multiprocessor, which works through its blocks:

    compute of a stage   multiply-adds at the rate of the register tile: the part that they are of its instructions
    latency of a stage   slices of the reduction follow each other no faster than the second cache answers
    busiest              max(blocks x compute, rounds of resident blocks x latency)

A CPU's is a hand-over, and rounds of tiles over cores, each at the rate of its vector units, or DRAM traffic.

The same figures choose tiles for schedules and groups for kernels, so that both agree; one op alone is a kernel of one
stage. Cross-Layer Data Reuse (section 4) weighs reuse against recomputation and parallelism in the same terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

from mlirfuse.device import Device
from mlirfuse.dialect import Node, semantics
from mlirfuse.element_types import SINGLE
from mlirfuse.lowering.groups.box import share_of
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.cpu_rates import (
    L3_BYTES_PER_CYCLE,
    TILE_CYCLES,
    cycles_per_second,
    loop_cycles,
    product_cycles,
    stream_rate,
)
from mlirfuse.lowering.groups.extents import Extents, TileExtents
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.in_parts import boxes_in_parts
from mlirfuse.lowering.groups.stages import Stage, Stages

__all__ = [
    "THREADS",
    "KernelCost",
    "RegisterTile",
    "StageCost",
    "cheapest_tile",
    "kernel_cost",
    "lone_cost",
    "memory_wanted",
    "ranked_in_parts",
    "ranked_register_tiles",
    "ranked_small_tiles",
    "ranked_tiles",
    "scheduled_cost",
    "side_by_side_cost",
]

Sizes = tuple[int, ...]
WARP = 32
QUAD = 4  # elements of a thread's vectors
THREADS = (128, 256)  # of a block of several stages
SMALL = 1 / 6  # of a block's shared memory: what a register tile may take where channels do not fit
FEWEST_TILES = 4  # that may be tried in parts, the smallest: without parts none of them fits;
TRIED_IN_PARTS = 2  # of these, those that would take least, as soon as so many fit
BUFFERS = 2  # slices of the reduction in shared memory
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
IDLE = 16  # tiles are not tried if they keep fewer than one multiprocessor in so many busy,
CROWD = 8  # or are more than so many for each,
SMALL_TILES = 8  # unless no others fit: then so many
MOST_TILES = 64  # for each core of a CPU, to which tiles are handed one by one
REGISTERS = 128  # of a thread of a register tile
TILE_ADDRESSES = 24  # registers of such a thread for addresses and counters
MAP_REGISTERS = 40  # and of one that computes elements by themselves
REGION_SECONDS = 1e-6  # from one kernel to the next of a CPU's threads, which wait spinning
CUT_LINES = 1.05  # times the work of tiles that cut the innermost dimension: blocks of rows that cross lines
DOUBT = 1.03  # times what stages take: what the model has been seen to leave out
COPY_BYTES_PER_CYCLE = 8  # of operands that are padded or computed, on their way to a register tile
MOST_KEPT = 768 * 1024  # bytes of a thread's stack that a tile may keep between its stages


@dataclass(frozen=True)
class RegisterTile:
    """C[m, n] in block_m x block_n, thread_m x thread_n for each thread; the reduction in slices of block_k.

    Each of `k_groups` groups of threads holds the whole tile and adds its part of every slice; sums are added at last.
    """

    block_m: int
    block_n: int
    block_k: int
    thread_m: int
    thread_n: int
    k_groups: int = 1

    @property
    def threads(self) -> int:
        return self.k_groups * (self.block_m // self.thread_m) * (self.block_n // self.thread_n)

    @property
    def shared_elements(self) -> int:
        gathered = self.k_groups * self.block_m * self.block_n if self.k_groups > 1 else 0
        return BUFFERS * self.block_k * (self.block_m + self.block_n) + gathered

    @property
    def least_registers(self) -> int:
        """Of a thread: its results, what it multiplies now and next, its share of the next slice, addresses."""
        fetched = -(-self.block_k * (self.block_m + self.block_n) // self.threads)
        multiplied = BUFFERS * (self.thread_m + self.thread_n)
        return self.thread_m * self.thread_n + multiplied + fetched + TILE_ADDRESSES

    def efficiency(self, fetch: float) -> float:
        """The part of all instructions that are multiply-adds, if an element of the first operand takes `fetch`."""
        products = self.thread_m * self.thread_n * self.block_k / self.k_groups
        loads = (self.thread_m + self.thread_n) / QUAD * self.block_k / self.k_groups
        fetched = self.block_k * (self.block_m * fetch + self.block_n * QUAD_FETCH) / self.threads
        return products / (products + loads + fetched + SLICE)


_SHAPES = (
    (128, 64, 8, 4), (64, 64, 8, 4), (64, 64, 4, 4), (64, 32, 4, 4), (32, 32, 4, 4),
    (64, 128, 8, 4), (32, 128, 4, 4), (32, 64, 4, 4), (16, 128, 4, 4), (16, 64, 4, 4), (16, 256, 4, 4),
    (64, 64, 8, 8), (32, 256, 8, 4), (128, 128, 8, 8), (64, 256, 8, 8),
)  # fmt: skip
# Small tiles whose threads share each slice of the reduction as well, where there are few of them
_SLICED = ((64, 64, 8, 4, 2), (64, 32, 4, 4, 2), (32, 32, 4, 4, 2), (32, 32, 4, 4, 4), (32, 64, 4, 4, 2),
           (16, 64, 4, 4, 2), (16, 64, 4, 4, 4), (16, 128, 4, 4, 2))  # fmt: skip
TILES = (
    *(RegisterTile(m, n, k, tm, tn) for m, n, tm, tn in _SHAPES for k in (8, 16, 32)),
    *(RegisterTile(m, n, 32, tm, tn, groups) for m, n, tm, tn, groups in _SLICED),
)


@dataclass(frozen=True)
class StageCost:
    """One stage in one block: seconds at full rate, least seconds by latency, bytes from the second cache.

    `how` is contract (with its register `tile`), team or map.
    """

    how: str
    compute: float
    latency: float
    l2_bytes: float
    flops: float
    tile: RegisterTile | None = None
    shared_bytes: int = 0

    def times(self, turns: int) -> StageCost:
        """The stage run so many times."""
        if turns == 1:
            return self
        return replace(
            self, compute=self.compute * turns, latency=self.latency * turns, l2_bytes=self.l2_bytes * turns,
            flops=self.flops * turns,
        )  # fmt: skip


@dataclass(frozen=True)
class KernelCost:
    """A kernel's predicted time and what it follows from; bytes are of one launch.

    `dram_bytes` counts operands and outputs once, `l2_bytes` what all tiles read together; `recomputed_flops` are
    those that more than one tile does. `registers` are allowed for each thread.
    """

    seconds: float
    busiest: float
    memory: float
    tile: tuple[int, ...]
    tiles: int
    threads: int
    resident: int
    shared_bytes: int
    dram_bytes: int
    l2_bytes: float
    flops: float
    recomputed_flops: float
    stages: tuple[StageCost, ...]
    registers: int = 0
    parts: tuple[KernelCost, ...] = ()  # of a kernel whose blocks belong to parts that share no values
    depths: tuple[int, ...] = ()  # of each stage, the channels that it adds up at a time, 0 for all
    cluster: int = 1  # blocks that share a tile: each computes a part of the channels of every stage

    @property
    def blocks(self) -> int:
        return self.tiles * self.cluster

    @property
    def rounds(self) -> int:
        return math.ceil(self.blocks / max(1, self.resident))


@dataclass(frozen=True)
class Work:
    """What the cost of a stage follows from: elements that one element of the root combines, operations for each.

    `width` has the channels of a group, 0 unless the root is a convolution; `grouped`: of several; `tiled`: a product
    that register tiles may compute; `in_teams`: a long reduction that a warp shares; `windowed`: a product that reads
    its first operand through a window.
    """

    length: int
    flops: float
    width: int
    grouped: bool
    tiled: bool
    in_teams: bool
    windowed: bool

    @classmethod
    def of_stage(cls, stage: Stage) -> Work:
        return cls._of(stage.root.node, stage.length, stage.flops_per_element)

    @classmethod
    def of(cls, node: Node) -> Work:
        if not all(tensor.size for tensor in (*node.inputs, node.out)):
            return cls._of(node, 1, 0.0)  # no elements, and no index that would find them
        length = math.prod(semantics(node.op).indexing(node).reduction_sizes)
        return cls._of(node, length, semantics(node.op).flops(node) / node.out.size)

    @classmethod
    def _of(cls, node: Node, length: int, flops: float) -> Work:
        tiled = node.op in ("conv", "contract") and node.out.dtype in SINGLE
        pooled = node.op == "window" or _is_depthwise(node)
        width = node.out.dims[1] // node.attrs["groups"] if node.op == "conv" else 0
        return cls(
            length, flops, width, 0 < width < node.out.dims[1], tiled, length >= 64 and not pooled, _has_window(node)
        )

    def fetch(self, sizes: Sizes, kept: Sizes | None = None) -> float:
        """Instructions for an element of a product's first operand, for a box of the result of these sizes.

        There are none where the box of it that is `kept` lies as a tile of it would.
        """
        if self.windowed:
            return WINDOW_FETCH
        if sizes[-1] % QUAD:
            return PLAIN_FETCH
        return 0.0 if kept is not None and kept[2:] == sizes[2:] else QUAD_FETCH

    def product(self, sizes: tuple[int, ...]) -> tuple[int, int, int, int] | None:
        """Batch, m, n and k of a box of a convolution's or contraction's result, where a register tile suits it."""
        if not self.tiled or (self.grouped and sizes[1] % self.width):
            return None
        batch, m, n, k = self.factors(sizes)
        if n * k <= 64 or (n < QUAD and k < 64) or n < QUAD or m < QUAD:
            return None
        return batch, m, n, k

    def factors(self, sizes: tuple[int, ...]) -> tuple[int, int, int, int]:
        """The same of any box, whether it suits a register tile or not."""
        k, batch = self.length, 1
        if self.width:
            n = min(self.width, sizes[1])
            return -(-sizes[1] // n), math.prod(sizes) // sizes[1], n, k
        return batch, math.prod(sizes[:-1]), sizes[-1], k


Way = RegisterTile | str  # how a stage computes its box: in a register tile, or by its name (contract, team, map)


class _Question:
    """A group of stages whose tiles are priced: what is the same for all tiles."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages
        self.extents = Extents(stages)
        self.works = [Work.of_stage(s) for s in stages]
        kept = set(stages.kept)
        self.first = [
            s.root.operands[0] if s.root.operands[0] in kept else -1 for s in stages
        ]  # operands that are kept
        self.flops = stages.group.flops
        self.outputs = [tuple(v for v in s.group.outputs if v in kept) for s in stages]  # that are kept
        self.constants = _constants(stages.group)
        self.dram_bytes = sum(stages.group.types[v].bytes for v in (*stages.group.inputs, *stages.group.outputs))

    def recomputed(self, extents: TileExtents, cluster: int = 1) -> float:
        """Operations that more than one block does: of boxes that overlap, or that a cluster does not share."""
        shares = [share_of(sizes, cluster) for sizes in extents.roots]
        each = sum(work.flops * math.prod(sizes) for work, sizes in zip(self.works, shares, strict=True))
        return max(0.0, extents.tiles * cluster * each - self.flops)


def _constants(group: Group) -> frozenset[int]:
    """Operands that are known when compiling."""
    return frozenset(
        v
        for m in group.members
        for v, constant in zip(m.operands, m.node.constant, strict=False)
        if constant and v in group.inputs
    )


class _Model(Protocol):
    @property
    def room(self) -> int: ...
    def memory(self, question: _Question, extents: TileExtents, threads: int) -> int: ...
    def cost(
        self, question: _Question, extents: TileExtents, threads: int = 0, small: bool = False
    ) -> KernelCost | None: ...
    def in_parts(self, question: _Question, boxes: TileBoxes, threads: int = 0) -> KernelCost | None: ...
    def least(self, question: _Question, extents: TileExtents, threads: int) -> float: ...
    def lone(self, node: Node, dram_bytes: int, threads: int = 0) -> KernelCost: ...
    def ranked(self, node: Node, product: tuple[int, int, int, int]) -> list[RegisterTile]: ...
    def together(self, parts: Sequence[KernelCost], dram_bytes: int) -> KernelCost | None: ...
    def scheduled(
        self, question: _Question, extents: TileExtents, ways: Sequence[Way], threads: int, shared: int, cluster: int
    ) -> KernelCost: ...


def kernel_cost(stages: Stages, tile: Sequence[int], device: Device, threads: int = 0) -> KernelCost | None:
    """The cost of a kernel with this tile (and so many `threads` a block), or None where a block has no room for it."""
    question = _Question(stages)
    return _model(device).cost(question, question.extents.of(tile), threads)


def cheapest_tile(stages: Stages, device: Device, threads: int = 0, below: float = math.inf) -> KernelCost | None:
    """The cost of the tile that takes least, ties to the larger; None where none fits.

    With `threads`, of a kernel whose blocks have so many, beside other blocks: they form no clusters.
    What would take `below` seconds or more even if it fitted is not looked at in parts.
    """
    return min(ranked_tiles(stages, device, threads, below), key=lambda c: c.seconds, default=None)


def ranked_tiles(stages: Stages, device: Device, threads: int = 0, below: float = math.inf) -> list[KernelCost]:
    """The costs of all tiles that fit, the cheapest first, ties to the larger; with so many `threads` if not 0."""
    question, model = _Question(stages), _model(device)
    tiles = _sensible(_tiles(stages, question.extents.frame), question.extents.frame, device)
    found = [model.cost(question, extents, threads) for extents in question.extents.of_all(tiles)]
    if not any(found):
        return ranked_in_parts(stages, device, threads, below) or ranked_small_tiles(stages, device, threads)
    return sorted((c for c in found if c is not None), key=lambda c: c.seconds)


def ranked_small_tiles(stages: Stages, device: Device, threads: int = 0) -> list[KernelCost]:
    """The same where no other tile fits: the largest that do with small register tiles, however many they are."""
    question, model = _Question(stages), _model(device)
    tiles = sorted(_tiles(stages, question.extents.frame), key=lambda tile: _count(question.extents.frame, tile))
    found = (model.cost(question, extents, threads, small=True) for extents in question.extents.of_all(tiles))
    return sorted(islice((c for c in found if c is not None), SMALL_TILES), key=lambda c: c.seconds)


def ranked_in_parts(stages: Stages, device: Device, threads: int = 0, below: float = math.inf) -> list[KernelCost]:
    """The same where no block has room for all channels of what it keeps: a reduction is added up in parts."""
    question, model = _Question(stages), _model(device)
    tiles = _sensible(_tiles(stages, question.extents.frame), question.extents.frame, device)[-FEWEST_TILES:]
    least = [model.least(question, extents, threads) for extents in question.extents.of_all(tiles)]
    found: list[KernelCost] = []
    tried = 0
    for seconds, number in sorted((s, number) for number, s in enumerate(least)):
        if seconds >= below or tried == TRIED_IN_PARTS:
            break
        costs = [model.in_parts(question, boxes, threads) for boxes in boxes_in_parts(stages, tiles[number])]
        found += [c for c in costs if c is not None]
        tried += any(c is not None for c in costs)
    return sorted(found, key=lambda c: c.seconds)


def _sensible(tiles: Iterator[tuple[int, ...]], frame: tuple[int, ...], device: Device) -> list[tuple[int, ...]]:
    """Without those that leave nearly all of a device idle, or are far more than it runs at once; some are left."""
    counted = [(_count(frame, tile), tile) for tile in tiles]
    least = min(device.multiprocessors / IDLE / device.cluster_blocks, max(count for count, _ in counted))
    crowd = CROWD if device.has_blocks else MOST_TILES
    most = max(device.multiprocessors * crowd, min(count for count, _ in counted))
    return [tile for count, tile in counted if least <= count <= most]


def _count(frame: Sizes, tile: Sizes) -> int:
    """Tiles that cover a frame."""
    return math.prod(-(-d // t) for d, t in zip(frame, tile, strict=True))


def memory_wanted(parts: Sequence[Stages], device: Device) -> tuple[int, int]:
    """The bytes of fast memory that tiles of these parts take, and what the device has for one.

    Of the tiles that take least, if all parts have blocks of as many threads; channels are not added up in parts.
    """
    model = _model(device)
    return min(max(_least_memory(part, model, threads) for part in parts) for threads in THREADS), model.room


def _least_memory(stages: Stages, model: _Model, threads: int) -> int:
    question = _Question(stages)
    tiles = list(_tiles(stages, question.extents.frame))
    return min(model.memory(question, extents, threads) for extents in question.extents.of_all(tiles))


def scheduled_cost(
    stages: Stages,
    extents: TileExtents,
    ways: Sequence[Way],
    threads: int,
    shared_bytes: int,
    device: Device,
    cluster: int = 1,
) -> KernelCost:
    """The cost of a kernel that has its schedule: the boxes of a tile, and the way in which each stage computes its."""
    return _model(device).scheduled(_Question(stages), extents, ways, threads, shared_bytes, cluster)


def side_by_side_cost(parts: Sequence[Stages], dram_bytes: int, device: Device) -> KernelCost | None:
    """The cost of parts that share no values as blocks of one kernel, or None where the device has none such."""
    model = _model(device)
    best: KernelCost | None = None
    for threads in THREADS:
        costs = [_part_cost(part, device, threads) for part in parts]
        found = model.together([c for c in costs if c is not None], dram_bytes) if all(costs) else None
        if found is not None and (best is None or found.seconds < best.seconds):
            best = found
    return best


def _part_cost(part: Stages, device: Device, threads: int) -> KernelCost | None:
    if len(part) == 1:
        return _model(device).lone(part.stages[0].root.node, 0, threads)
    return cheapest_tile(part, device, threads)


def ranked_register_tiles(node: Node, product: tuple[int, int, int, int], device: Device) -> list[RegisterTile]:
    """The register tiles for a convolution or contraction that is a kernel of its own, the cheapest first.

    `product` has its batch, m, n and k.
    """
    return _model(device).ranked(node, product)


def lone_cost(node: Node, dram_bytes: int, device: Device) -> KernelCost:
    """The cost of a kernel around one anchor (or one op), whose tiles are those of its own schedule."""
    return _model(device).lone(node, dram_bytes)


@lru_cache
def _model(device: Device) -> _Model:
    return _Gpu(device) if device.has_blocks else _Cpu(device)


def _tiles(stages: Stages, frame: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Tiles to try, the largest first: channels whole or in parts, spatial dimensions from whole to one position."""
    if len(frame) < 3:
        yield frame
        for part in _parts(frame[1] if len(frame) > 1 else 1):
            yield (*frame[:1], part)[: len(frame)]
        return
    for c in (frame[1], *_channel_parts(stages, frame[1])):
        for spatial in _spatial(frame[2:]):
            yield (1, c, *spatial)


def _channel_parts(stages: Stages, channels: int) -> list[int]:
    """Parts of the channels that need less than all of what comes before: else it is computed again for each."""
    sinks = [s.root.node for s in stages.sinks]
    if any(n.out.dims[1] != channels for n in sinks):
        return []
    if all(n.op in ("window", "binary", "unary") or _is_depthwise(n) for n in sinks):
        return _parts(channels)
    groups = math.gcd(*(n.attrs["groups"] if n.op == "conv" else 1 for n in sinks))
    return [channels // g for g in range(2, groups + 1) if groups % g == 0]


def _is_depthwise(node: Node) -> bool:
    return node.op == "conv" and node.attrs["groups"] == node.inputs[0].dims[1] > 1


def _has_window(node: Node) -> bool:
    """Whether a convolution reads neighbours, or not all positions."""
    if node.op != "conv":
        return False
    attrs = node.attrs
    taps = math.prod(node.inputs[1].dims[2:])
    return taps > 1 or any(s != 1 for s in (*attrs["strides"], *attrs["input_dilation"])) or any(attrs["pads"])


def _parts(size: int) -> list[int]:
    return [p for p in (size // 2, size // 4, size // 8, 32, 16) if 8 <= p < size and size % p == 0]


def _spatial(dims: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    *outer, height, width = (1, *dims) if len(dims) == 1 else dims
    outer = outer[len(outer) - (len(dims) - 2) :] if len(dims) > 2 else []
    heights, widths = _cuts(height), _cuts(width)
    for h in heights:
        for w in widths:
            if (h <= 2 * w and w <= 8 * h) or h == height or w == width:
                tile = (*(1 for _ in outer), h, w)
                yield tile[-len(dims) :]


def _cuts(size: int) -> list[int]:
    """Extents of tiles along one dimension, the largest first: those that cover it with least to spare."""
    found = {-(-size // n) for n in range(1, size + 1)}
    return sorted(
        (t for t in found if t in (1, 2, 3, 4, 5, 6, 7, 8, 14, 16, 28, 32, size) or t * 2 == size), reverse=True
    )


# -- GPUs


class _Gpu:
    def __init__(self, device: Device) -> None:
        self.device = device
        self.rate = device.fp32_flops / device.multiprocessors
        self.l2_rate = device.l2_bandwidth / device.multiprocessors
        self._products: dict[Any, StageCost | None] = {}
        self._boxes: dict[Any, StageCost] = {}

    @property
    def room(self) -> int:
        """Bytes of a block."""
        return self.device.shared_bytes_per_block

    def memory(self, question: _Question, extents: TileExtents, threads: int) -> int:
        """Bytes of boxes, and of small register tiles."""
        own = max(c.shared_bytes for c in self._stages(question, extents, threads, small=True))
        return 4 * extents.shared_elements(question.stages) + own

    def cost(
        self, question: _Question, extents: TileExtents, threads: int = 0, small: bool = False
    ) -> KernelCost | None:
        found = [
            self._with_threads(question, extents, n, cluster, small)
            for n in ((threads,) if threads else THREADS)
            for cluster in ((1,) if threads else self._clusters(extents.tiles))
        ]
        return min((c for c in found if c is not None), key=lambda c: c.seconds, default=None)

    def _clusters(self, tiles: int) -> list[int]:
        """How many blocks may share a tile: more than one where tiles alone leave multiprocessors idle."""
        found = [1]
        while found[-1] * 2 <= self.device.cluster_blocks and found[-1] * tiles < self.device.multiprocessors:
            found.append(found[-1] * 2)
        return found

    def _with_threads(
        self, question: _Question, extents: TileExtents, threads: int, cluster: int = 1, small: bool = False
    ) -> KernelCost | None:
        if threads > self.device.max_threads_per_block:
            return None
        elements = 4 * extents.shared_elements(question.stages)
        if elements > self.room:
            return None
        costs = self._stages(question, extents, threads, cluster, small)
        shared = elements + max(c.shared_bytes for c in costs)
        if shared > self.room:
            return None
        again = question.recomputed(extents, cluster)
        return self._kernel(costs, extents.tile, extents.tiles, threads, shared, question.dram_bytes, again, cluster)

    def least(self, question: _Question, extents: TileExtents, threads: int) -> float:
        """Seconds of a tile if there were room for it."""
        known = [
            self._kernel(self._stages(question, extents, n), (), extents.tiles, n, 0, question.dram_bytes).seconds
            for n in ((threads,) if threads else THREADS)
            if n <= self.device.max_threads_per_block
        ]
        return min(known, default=math.inf)

    def in_parts(self, question: _Question, boxes: TileBoxes, threads: int = 0) -> KernelCost | None:
        """The cost with reductions added up in parts; None where a block has no room for it either."""
        found = [self._in_parts(question, boxes, n) for n in ((threads,) if threads else THREADS)]
        return min((c for c in found if c is not None), key=lambda c: c.seconds, default=None)

    def _in_parts(self, question: _Question, boxes: TileBoxes, threads: int) -> KernelCost | None:
        if threads > self.device.max_threads_per_block:
            return None
        costs, sums, staged = [], 0, 0
        for stage, work, first in zip(question.stages, question.works, question.first, strict=True):
            turns = _turns(boxes, stage)
            split = bool(boxes.parts[stage.number])
            if split:
                work = replace(work, length=work.length // turns, flops=work.flops / turns)
            kept = boxes.kept.get(first)
            sizes = boxes.root_box(stage).sizes
            cost = self._stage(work, sizes, threads, None if kept is None else kept.sizes, small=True)
            if split and cost.tile is None:
                return None
            if split:
                sums += _padded(work.factors(sizes), cost.tile)
            if cost.tile is not None and work.factors(sizes)[1] % QUAD:
                staged = max(staged, cost.tile.block_m * cost.tile.block_n)
            costs.append(cost.times(turns))
        alive = [
            sum(box.elements for v, box in boxes.kept.items() if boxes.lifetimes[v][0] <= turn <= boxes.lifetimes[v][1])
            for turn in boxes.turns.values()
        ]
        shared = 4 * (max(alive) + sums + staged) + max(c.shared_bytes for c in costs)
        if shared > self.device.shared_bytes_per_block:
            return None
        tiles = math.prod(boxes.tiles)
        again = max(0.0, tiles * sum(c.flops for c in costs) - question.flops)
        found = self._kernel(costs, boxes.tile, tiles, threads, shared, question.dram_bytes, again)
        return replace(found, depths=boxes.parts)

    def scheduled(
        self,
        question: _Question,
        extents: TileExtents,
        ways: Sequence[Way],
        threads: int,
        shared: int,
        cluster: int = 1,
    ) -> KernelCost:
        stages = zip(question.works, extents.roots, ways, question.first, strict=True)
        costs = [
            self._by(way, work, share_of(sizes, cluster), threads, extents.kept.get(first))
            for work, sizes, way, first in stages
        ]
        costs = self._in_cluster(question, extents, costs, threads, cluster)
        again = question.recomputed(extents, cluster)
        return self._kernel(costs, extents.tile, extents.tiles, threads, shared, question.dram_bytes, again, cluster)

    def _by(self, way: Way, work: Work, sizes: Sizes, threads: int, kept: Sizes | None) -> StageCost:
        if isinstance(way, RegisterTile):
            return self._contract(*work.factors(sizes), way, not kept, work.fetch(sizes, kept))
        elements = math.prod(sizes)
        return self._team(elements, work, threads) if way == "team" else self._map(elements, work, threads, kept)

    def lone(self, node: Node, dram_bytes: int, threads: int = 0) -> KernelCost:
        """The register tile, or what else computes it, that takes least; with so many `threads` if not 0."""
        work = Work.of(node)
        product = work.product(node.out.dims)
        tiled = [] if product is None else self._tiles_alone(product, work.fetch(node.out.dims), dram_bytes, threads)
        best = min(tiled, key=lambda c: c.seconds, default=None)
        if best is None:
            threads = threads or 256
            team = WARP if work.in_teams else 1
            blocks = max(1, math.ceil(node.out.size * team / threads))
            cost = self._team(threads // WARP, work, threads) if team > 1 else self._map(threads, work, threads, None)
            best = self._kernel([cost], (), blocks, threads, 0, dram_bytes)
        return best

    def ranked(self, node: Node, product: tuple[int, int, int, int]) -> list[RegisterTile]:
        costs = sorted(self._tiles_alone(product, Work.of(node).fetch(node.out.dims), 0), key=lambda c: c.seconds)
        return [c.stages[0].tile for c in costs if c.stages[0].tile is not None]

    def _tiles_alone(
        self, product: tuple[int, int, int, int], fetch: float, dram_bytes: int, threads: int = 0
    ) -> list[KernelCost]:
        """What each register tile costs a product that is a kernel of its own."""
        batch, m, n, k = product
        found = []
        for tile in TILES:
            if tile.threads > self.device.max_threads_per_block or tile.threads < 2 * WARP:
                continue
            if (threads and tile.threads != threads) or 4 * tile.shared_elements > self.room:
                continue
            cost = self._contract(1, tile.block_m, tile.block_n, k, tile, True, fetch)
            blocks = batch * math.ceil(m / tile.block_m) * math.ceil(n / tile.block_n)
            found.append(self._kernel([cost], (), blocks, tile.threads, 4 * tile.shared_elements, dram_bytes))
        return found

    def together(self, parts: Sequence[KernelCost], dram_bytes: int) -> KernelCost | None:
        """Blocks of several parts in one grid: those that there is room for run at once, whichever part they are of."""
        device = self.device
        threads, shared = parts[0].threads, max(p.shared_bytes for p in parts)
        if threads > device.max_threads_per_block or shared > device.shared_bytes_per_block:
            return None
        blocks = sum(p.tiles for p in parts)
        stages = tuple(s for p in parts for s in p.stages)
        registers = max(p.registers for p in parts)
        resident = self._resident(threads, shared, registers)
        each = math.ceil(blocks / device.multiprocessors)
        share = _share_of_rate(threads * min(each, resident))
        compute = [sum(s.compute for s in p.stages) / share for p in parts]
        alone = [sum(max(s.compute, s.latency) for s in p.stages) for p in parts]
        mean = each / blocks  # of the busiest multiprocessor's share of all blocks
        busiest = max(
            max(map(max, zip(compute, alone, strict=True))),
            mean * sum(p.tiles * c for p, c in zip(parts, compute, strict=True)),
            mean * sum(p.tiles * c for p, c in zip(parts, alone, strict=True)) / min(each, resident),
        )
        memory = dram_bytes / device.dram_bandwidth
        seconds = device.launch_seconds + 2 * device.dram_latency + max(busiest, memory)
        return KernelCost(
            seconds, busiest, memory, (), blocks, threads, resident * device.multiprocessors, shared, dram_bytes,
            sum(p.l2_bytes for p in parts), sum(p.flops for p in parts), sum(p.recomputed_flops for p in parts), stages,
            registers, tuple(parts),
        )  # fmt: skip

    def _kernel(
        self, costs: Sequence[StageCost], tile: tuple[int, ...], blocks: int, threads: int, shared: int,
        dram_bytes: int, again: float = 0.0, cluster: int = 1,
    ) -> KernelCost:  # fmt: skip
        device, tiles = self.device, blocks
        blocks *= cluster
        multiprocessors = device.multiprocessors_of_clusters(cluster)
        compute, alone = sum(c.compute for c in costs), sum(max(c.compute, c.latency) for c in costs)
        registers = REGISTERS if any(c.how == "contract" for c in costs) else MAP_REGISTERS
        resident = self._resident(threads, shared, registers)
        each = math.ceil(blocks / multiprocessors)
        share = _share_of_rate(threads * min(each, resident))
        busiest = max(each * compute / share, math.ceil(each / resident) * alone)
        memory = dram_bytes / device.dram_bandwidth
        seconds = device.launch_seconds + 2 * device.dram_latency + max(busiest, memory)
        flops = blocks * sum(c.flops for c in costs)
        return KernelCost(
            seconds, busiest, memory, tile, tiles, threads, resident * multiprocessors, shared, dram_bytes,
            blocks * sum(c.l2_bytes for c in costs), flops, again, tuple(costs), registers,
            cluster=cluster,
        )  # fmt: skip

    def _resident(self, threads: int, shared: int, registers: int) -> int:
        """Blocks of a multiprocessor at one time, `registers` for each thread."""
        device = self.device
        return max(
            1,
            min(
                device.max_blocks_per_sm,
                device.max_threads_per_sm // threads,
                device.shared_bytes_per_sm // max(1, shared + device.shared_bytes_reserved),
                device.registers_per_sm // (threads * registers),
            ),
        )

    def _stages(
        self, question: _Question, extents: TileExtents, threads: int, cluster: int = 1, small: bool = False
    ) -> list[StageCost]:
        found = [
            self._stage(work, share_of(sizes, cluster), threads, extents.kept.get(first), small)
            for work, sizes, first in zip(question.works, extents.roots, question.first, strict=True)
        ]
        return self._in_cluster(question, extents, found, threads, cluster)

    def _in_cluster(
        self, question: _Question, extents: TileExtents, costs: list[StageCost], threads: int, cluster: int
    ) -> list[StageCost]:
        """The costs of stages whose blocks leave what they keep with all of their cluster, and wait for each other."""
        if cluster == 1:
            return costs
        device, found = self.device, []
        for cost, sizes, kept in zip(costs, extents.roots, question.outputs, strict=True):
            share = share_of(sizes, cluster)
            elements = len(kept) * math.prod(share) if share != sizes else 0
            sent = 4 * elements * (cluster - 1) * device.multiprocessors / device.cluster_bandwidth
            issued = self._issuing(math.ceil(elements / threads) * cluster, threads)
            compute, latency = cost.compute + max(sent, issued), cost.latency + sent + device.cluster_latency
            found.append(replace(cost, compute=compute, latency=latency))
        return found

    def _stage(self, work: Work, sizes: Sizes, threads: int, kept: Sizes | None, small: bool = False) -> StageCost:
        """What a stage's box costs; the same box is asked for by many groups that hold the stage."""
        key = work, sizes, threads, kept, small
        if key not in self._boxes:
            product = work.product(sizes)
            fetch = work.fetch(sizes, kept)
            tiled = None if product is None else self._tiled(product, threads, not kept, fetch, small)
            self._boxes[key] = tiled or self._untiled(math.prod(sizes), work, threads, kept)
        return self._boxes[key]

    def _untiled(self, elements: int, work: Work, threads: int, kept: Sizes | None) -> StageCost:
        return self._team(elements, work, threads) if work.in_teams else self._map(elements, work, threads, kept)

    def _tiled(
        self, product: tuple[int, int, int, int], threads: int, streamed: bool, fetch: float, small: bool = False
    ) -> StageCost | None:
        """A product's box in the register tile that suits it; a `small` one leaves most of the memory to others."""
        key = product, threads, streamed, fetch, small
        if key not in self._products:
            most = self.device.shared_bytes_per_block * (SMALL if small else 1.0)
            tiles = [t for t in TILES if t.threads == threads and not (small and t.k_groups > 1)]
            held = [t for t in tiles if t.least_registers <= self.device.registers_per_thread]
            wanted = [t.shared_elements + _result_elements(product, t) for t in held]
            tiles = [t for t, w in zip(held, wanted, strict=True) if 4 * w <= most or w == min(wanted)]
            costs = [self._contract(*product, tile, streamed, fetch) for tile in tiles]
            self._products[key] = min(costs, key=lambda c: max(c.compute, c.latency), default=None)
        return self._products[key]

    def _contract(
        self, batch: int, m: int, n: int, k: int, tile: RegisterTile, streamed: bool, fetch: float
    ) -> StageCost:
        parts = batch * math.ceil(m / tile.block_m) * math.ceil(n / tile.block_n)
        slices = parts * math.ceil(k / tile.block_k)
        wanted = 4 * tile.block_k * (tile.block_n + (tile.block_m if streamed else 0))
        flops = 2 * tile.block_m * tile.block_n * tile.block_k
        compute = slices * max(flops / (self.rate * tile.efficiency(fetch)), wanted / self.l2_rate)
        compute += self._issuing(parts * PART, tile.threads)
        if tile.k_groups > 1:
            compute += self._issuing(parts * GATHER * tile.thread_m * tile.thread_n, tile.threads)
        latency = slices * (self.device.l2_latency + SWITCH)
        return StageCost(
            "contract", compute, latency, slices * wanted, 2.0 * batch * m * n * k, tile, 4 * tile.shared_elements
        )

    def _issuing(self, instructions: float, threads: int) -> float:
        """Seconds for so many of each thread; a multiply-add, one instruction, is two of the device's operations."""
        return 2 * instructions * threads / self.rate

    def _map(self, elements: int, work: Work, threads: int, kept: Sizes | None) -> StageCost:
        """One element a thread at a time; `kept`: the box of what it reads that lies in the block, if one does."""
        flops = work.flops
        issued = MAP_START + math.ceil(elements / threads) * (work.length * MAP_TAP + max(1.0, flops) * MAP_OPERATION)
        compute = self._issuing(issued, threads)
        latency = math.ceil(elements / threads) * self.device.l2_latency
        fetched = 0.0 if kept else 4.0 * elements
        return StageCost("map", max(compute, fetched / self.l2_rate), latency, fetched, elements * flops)

    def _team(self, elements: int, work: Work, threads: int) -> StageCost:
        """A warp for each element."""
        length, warps = work.length, threads // WARP
        turns = math.ceil(elements / warps)
        steps = math.ceil(length / WARP)
        compute = self._issuing(turns * (TEAM_ELEMENT + steps * TEAM_STEP), threads)
        latency = turns * self.device.l2_latency * math.ceil(steps / QUAD)
        fetched = 4.0 * elements * length
        return StageCost("team", max(compute, fetched / self.l2_rate), latency, fetched, 2.0 * elements * length)


# -- CPUs


class _Cpu:
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

    def memory(self, question: _Question, extents: TileExtents, threads: int) -> int:
        """Bytes of boxes."""
        return 4 * extents.shared_elements(question.stages)

    def cost(
        self, question: _Question, extents: TileExtents, threads: int = 0, small: bool = False
    ) -> KernelCost | None:
        kept = self.memory(question, extents, threads)
        if kept > self.room:
            return None
        costs = [self._stage(work, sizes) for work, sizes in zip(question.works, extents.roots, strict=True)]
        return self._tiled(question, extents, costs, kept)

    def scheduled(
        self,
        question: _Question,
        extents: TileExtents,
        ways: Sequence[Way],
        threads: int,
        shared: int,
        cluster: int = 1,
    ) -> KernelCost:
        stages = zip(question.works, extents.roots, ways, strict=True)
        costs = [self._by(None if way == "map" else work.product(sizes), work, sizes) for work, sizes, way in stages]
        return self._tiled(question, extents, costs, shared)

    def together(self, parts: Sequence[KernelCost], dram_bytes: int) -> KernelCost | None:
        return None  # a kernel's tiles are of one kind on a CPU, where a hand-over is all that they would save

    def ranked(self, node: Node, product: tuple[int, int, int, int]) -> list[RegisterTile]:
        return []  # register tiles of CPUs are their schedules' own

    def least(self, question: _Question, extents: TileExtents, threads: int) -> float:
        return math.inf  # so that none is tried in parts

    def in_parts(self, question: _Question, boxes: TileBoxes, threads: int = 0) -> KernelCost | None:
        """None: what does not fit into a core's cache is not computed in one kernel."""
        return None

    def lone(self, node: Node, dram_bytes: int, threads: int = 0) -> KernelCost:
        cores = self.device.multiprocessors
        whole = self._stage(Work.of(node), node.out.dims)
        part = replace(whole, compute=whole.compute / cores, flops=whole.flops / cores)
        drawn = dram_bytes / cores / stream_rate(dram_bytes, self.device)
        return self._kernel([part], part.compute + drawn + TILE_CYCLES, (), cores, 0, dram_bytes, 0.0)

    def _tiled(self, question: _Question, extents: TileExtents, costs: Sequence[StageCost], kept: int) -> KernelCost:
        boxes = zip(question.stages, extents.roots, strict=True)
        moved = sum(self._moved(question, extents, stage, sizes) for stage, sizes in boxes)
        cut = CUT_LINES if extents.tile[-1] < question.extents.frame[-1] else 1.0
        each = DOUBT * (sum(c.compute for c in costs) * cut + moved) + TILE_CYCLES
        again = question.recomputed(extents)
        return self._kernel(costs, each, extents.tile, extents.tiles, kept, question.dram_bytes, again)

    def _stage(self, work: Work, sizes: tuple[int, ...]) -> StageCost:
        return self._by(work.product(sizes), work, sizes)

    def _by(self, product: tuple[int, int, int, int] | None, work: Work, sizes: tuple[int, ...]) -> StageCost:
        """Of one core, in cycles."""
        elements = math.prod(sizes)
        if product is not None:
            return StageCost("contract", product_cycles(*product, self.device), 0.0, 0.0, work.flops * elements)
        return StageCost("map", loop_cycles(elements, work.length, self.device), 0.0, 0.0, work.flops * elements)

    def _moved(self, question: _Question, extents: TileExtents, stage: Stage, sizes: tuple[int, ...]) -> float:
        """Cycles to draw what a stage reads for its box, and to leave what it stores: constants are read by each tile
        again, of other operands and results it is the box's share. Some channels of a product need all of its operand,
        which is copied, with what is computed before it."""
        group, device, cycles = question.stages.group, self.device, 0.0
        dims = stage.root.node.out.dims
        stored = math.prod(sizes) / stage.root.node.out.size
        product = stage.root.node.op in ("conv", "contract") and not _is_depthwise(stage.root.node)
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
        again: float,
    ) -> KernelCost:  # fmt: skip
        device = self.device
        busiest = math.ceil(tiles / device.multiprocessors) * each / self.hertz
        memory = dram_bytes / device.dram_bandwidth if dram_bytes > device.l3_bytes // 2 else 0.0
        stages = tuple(replace(c, compute=c.compute / self.hertz) for c in costs)
        return KernelCost(
            REGION_SECONDS + max(busiest, memory), busiest, memory, tile, tiles, 1, device.multiprocessors, kept,
            dram_bytes, 0.0, tiles * sum(c.flops for c in costs), again, stages,
        )  # fmt: skip


# -- what both ask


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


def _result_elements(product: tuple[int, int, int, int], tile: RegisterTile) -> int:
    """Of shared memory for the results of a register tile, which go through it where rows end inside a vector."""
    return tile.block_m * tile.block_n if product[1] % QUAD and tile.k_groups == 1 else 0


def _share_of_rate(threads: int) -> float:
    """Of a multiprocessor's rate, what so many threads reach: with few warps, nothing runs while one waits."""
    return threads / (threads + LONELY)
