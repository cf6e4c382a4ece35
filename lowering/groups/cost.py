"""What a kernel of stages takes on a device, predicted; and the tile that takes least.

`gpu_cost` and `cpu_cost` have the models of the two kinds of device.

The same figures choose tiles for schedules and groups for kernels, so that both agree; one op alone is a kernel of one
stage. Cross-Layer Data Reuse (section 4) weighs reuse against recomputation and parallelism in the same terms.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlirfuse.device import Device
from mlirfuse.dialect import Node
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.cpu_cost import CpuModel
from mlirfuse.lowering.groups.extents import ManyExtents, TileExtents, extents_of
from mlirfuse.lowering.groups.gpu_cost import THREADS, GpuModel
from mlirfuse.lowering.groups.gpu_stages import Way
from mlirfuse.lowering.groups.in_parts import boxes_in_parts
from mlirfuse.lowering.groups.kernel_cost import KernelCost
from mlirfuse.lowering.groups.lines import has_lines
from mlirfuse.lowering.groups.question import Question
from mlirfuse.lowering.groups.register_tile import RegisterTile
from mlirfuse.lowering.groups.stages import Stages
from mlirfuse.lowering.groups.tiles_tried import all_tiles, count_of, sensible_tiles, walks_tried

__all__ = [
    "THREADS",
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

FEWEST_TILES = 4  # that may be tried in parts, the smallest: without parts none of them fits;
TRIED_IN_PARTS = 2  # of these, those that would take least, as soon as so many fit
SMALL_TILES = 8  # that are tried where no other tile fits
TRIED_IN_WALKS = 3  # of the tiles that blocks may walk over, those that would take least;
LOOKED_AT_IN_WALKS = 8  # at most, since some are found not to be computed so
LEAST_AGAIN = 0.02  # of all operations, which several tiles do: less is not worth the lines that would save it


class _Model(Protocol):
    """Threads of a block are those of the model's choice, unless `threads` tells how many; blocks beside others share
    no tile. With `small`, register tiles are, and the costs are of the first so many tiles that there is room for."""

    @property
    def room(self) -> int: ...
    def memory(self, question: Question, tiles: ManyExtents, threads: int) -> npt.NDArray[np.int64]: ...
    def ranked(
        self, question: Question, tiles: ManyExtents, threads: int = 0, small: int = 0
    ) -> Iterator[KernelCost]: ...
    def least(self, question: Question, tiles: ManyExtents, threads: int = 0) -> list[float]: ...
    def in_parts(self, question: Question, boxes: TileBoxes, threads: int = 0) -> KernelCost | None: ...
    def lone(self, node: Node, dram_bytes: int, threads: int = 0) -> KernelCost: ...
    def register_tiles(self, node: Node, product: tuple[int, int, int, int]) -> list[RegisterTile]: ...
    def together(self, parts: Sequence[KernelCost], dram_bytes: int) -> KernelCost | None: ...
    def scheduled(
        self, question: Question, extents: TileExtents, ways: Sequence[Way], threads: int, shared: int, cluster: int
    ) -> KernelCost: ...


def kernel_cost(
    stages: Stages, tile: Sequence[int], device: Device, parts: Sequence[int] = (), walk: int = 1
) -> KernelCost | None:
    """The cost of a kernel with this tile, or None where a block has no room for it, even with small register tiles.

    With `parts`, of each stage the channels that it adds up at a time (0 for all); with a `walk`, of blocks that
    compute so many tiles one after the other.
    """
    question, model = Question(stages), _model(device)
    if any(parts):
        return model.in_parts(question, TileBoxes(stages, tile, tuple(parts)))
    tiles = question.extents.of_all([tile]) if walk == 1 else extents_of(TileBoxes(stages, tile, walk=walk))
    return next(model.ranked(question, tiles), None) or next(model.ranked(question, tiles, small=SMALL_TILES), None)


def cheapest_tile(stages: Stages, device: Device, threads: int = 0, below: float = math.inf) -> KernelCost | None:
    """The cost of the tile that takes least, ties to the larger; None where none fits.

    With `threads`, of a kernel whose blocks have so many, beside other blocks: they form no clusters.
    What would take `below` seconds or more even if it fitted is not looked at in parts.
    """
    return next(iter(ranked_tiles(stages, device, threads, below)), None)


def ranked_tiles(stages: Stages, device: Device, threads: int = 0, below: float = math.inf) -> Iterable[KernelCost]:
    """The costs of all tiles that fit, the cheapest first, ties to the larger; with so many `threads` if not 0."""
    question, model = Question(stages), _model(device)
    tiles = question.extents.of_all(sensible_tiles(stages, question.extents.frame, device))
    whole: Iterator[KernelCost] = model.ranked(question, tiles, threads)
    if (best := next(whole, None)) is None:
        others = ranked_in_parts(stages, device, threads, below) or ranked_small_tiles(stages, device, threads)
        whole = iter(others)
        if (best := next(whole, None)) is None:
            return ()
    in_walks = _in_walks(question, best, device, model, threads)
    return heapq.merge(itertools.chain([best], whole), in_walks, key=lambda c: c.seconds)


def _in_walks(
    question: Question, best: KernelCost, device: Device, model: _Model, threads: int
) -> Iterable[KernelCost]:
    """The costs of blocks that walk and may take less, the cheapest first; none where the best tile computes next to
    nothing again: lines save what tiles compute more than once, and cost parallelism.

    Extents tell which are promising, boxes what they take.
    """
    if best.recomputed_flops <= LEAST_AGAIN * question.flops or not has_lines(question.stages):
        return ()
    walks = walks_tried(question.stages, question.extents.frame, device)
    if not walks:
        return ()
    tiles, lengths = zip(*walks, strict=True)
    costs = model.ranked(question, question.extents.of_all(tiles, lengths), threads)
    better = itertools.takewhile(lambda c: c.seconds < best.seconds, costs)
    found: list[KernelCost] = []
    for cost in itertools.islice(better, LOOKED_AT_IN_WALKS):
        boxes = TileBoxes(question.stages, cost.tile, walk=cost.walk)
        if boxes.walk is not None and boxes.walk.problem is None:
            found += itertools.islice(model.ranked(question, extents_of(boxes), threads), 1)
        if len(found) == TRIED_IN_WALKS:
            break
    return sorted(found, key=lambda c: c.seconds)


def ranked_small_tiles(stages: Stages, device: Device, threads: int = 0) -> list[KernelCost]:
    """The same where no other tile fits: the largest that do with small register tiles, however many they are."""
    question, model = Question(stages), _model(device)
    frame = question.extents.frame
    tiles = sorted(all_tiles(stages, frame), key=lambda tile: count_of(frame, tile))
    return list(model.ranked(question, question.extents.of_all(tiles), threads, SMALL_TILES))


def ranked_in_parts(stages: Stages, device: Device, threads: int = 0, below: float = math.inf) -> list[KernelCost]:
    """The same where no block has room for all channels of what it keeps: a reduction is added up in parts."""
    question, model = Question(stages), _model(device)
    tiles = sensible_tiles(stages, question.extents.frame, device)[-FEWEST_TILES:]
    least = model.least(question, question.extents.of_all(tiles), threads)
    found: list[KernelCost] = []
    tried = 0
    for seconds, number in sorted((s, number) for number, s in enumerate(least)):
        if seconds >= below or tried == TRIED_IN_PARTS:
            break
        costs = [model.in_parts(question, boxes, threads) for boxes in boxes_in_parts(stages, tiles[number])]
        found += [c for c in costs if c is not None]
        tried += any(c is not None for c in costs)
    return sorted(found, key=lambda c: c.seconds)


def memory_wanted(parts: Sequence[Stages], device: Device) -> tuple[int, int]:
    """The bytes of fast memory that tiles of these parts take, and what the device has for one.

    Of the tiles that take least, if all parts have blocks of as many threads; channels are not added up in parts.
    """
    model = _model(device)
    return min(max(_least_memory(part, model, threads) for part in parts) for threads in THREADS), model.room


def _least_memory(stages: Stages, model: _Model, threads: int) -> int:
    question = Question(stages)
    tiles = list(all_tiles(stages, question.extents.frame))
    return int(model.memory(question, question.extents.of_all(tiles), threads).min())


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
    return _model(device).scheduled(Question(stages), extents, ways, threads, shared_bytes, cluster)


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
    """As it is scheduled there: around its anchor, or what else in it does most; several anchors in stages."""
    if len(part.group.anchors) > 1:
        return cheapest_tile(part, device, threads)
    lead = next(iter(part.group.anchors), None) or max(part.group.members, key=lambda m: m.node.out.size)
    return _model(device).lone(lead.node, 0, threads)


def ranked_register_tiles(node: Node, product: tuple[int, int, int, int], device: Device) -> list[RegisterTile]:
    """The register tiles for a convolution or contraction that is a kernel of its own, the cheapest first.

    `product` has its batch, m, n and k.
    """
    return _model(device).register_tiles(node, product)


def lone_cost(node: Node, dram_bytes: int, device: Device) -> KernelCost:
    """The cost of a kernel around one anchor (or one op), whose tiles are those of its own schedule."""
    return _model(device).lone(node, dram_bytes)


@lru_cache
def _model(device: Device) -> _Model:
    return GpuModel(device) if device.has_blocks else CpuModel(device)
