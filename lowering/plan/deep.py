"""Groups of several anchors: where DNNFusion's table refuses them, and a proof of their own says that they pay.

Many-to-Many into Many-to-Many is refused because such a kernel would compute or read again what a tensor in memory
holds once. Where the anchors form a chain whose boxes fit in a block's shared memory, nothing is computed again: what
is paid is that every tile reads the later anchors' other operands from the cache, and what is gained is that the
values between the anchors never travel. Both are numbers here, and the group is formed where the sum is a gain.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlirfuse.device import Device
from mlirfuse.dialect import Node
from mlirfuse.element_types import element_bytes
from mlirfuse.lowering.plan.chain import Chain, chain_of, cut_axis, link_boxes, part_of, tile_box
from mlirfuse.lowering.plan.graph import Graph, GraphNode
from mlirfuse.lowering.plan.legality import CONTRACTIONS, outputs_of
from mlirfuse.lowering.plan.resources import Finding, ResourceModel, bytes_read, bytes_written

__all__ = [
    "LONGEST",
    "STAGING_BYTES",
    "Budget",
    "ChainFinding",
    "graph_chain",
    "judge_chain",
    "neighbouring_anchors",
    "why_no_tile",
]

STAGING_BYTES = 20 * 1024  # of a block's shared memory, what the register tiles of the stages need for themselves
ROWS = (64, 32, 16, 8, 4, 2, 1)
ENOUGH_ROWS = 32  # rows of a tile that reuse the later operands well
PART = 128  # most positions of a part, where rows are walked in parts
LEAST_TILES = 8  # fewer blocks leave a device idle that each anchor alone would fill, unless it has no more to run them
CACHE_SPEEDUP = 3.0  # of the last cache over DRAM, for what stays there
LONGEST = 3  # anchors of a chain: `neighbouring_anchors` gives no more


@dataclass(frozen=True)
class _Step:
    """A node as a step of a chain: values are numbered by the node that makes them, others are negative."""

    entry: GraphNode

    @property
    def node(self) -> Node:
        return self.entry.node

    @property
    def operands(self) -> tuple[int, ...]:
        numbered = enumerate(self.entry.producers)
        return tuple(-1 - i if p is None else p for i, p in numbered)

    @property
    def result(self) -> int:
        return self.entry.index


@dataclass(frozen=True)
class Budget:
    """What a device has for a kernel of several anchors; the default is a large GPU.

    shared_bytes     of a block: its shared memory; on a CPU half of a core's second-level cache.
    multiprocessors  that run tiles at once.
    cache_bytes      of the last cache that they share.
    """

    shared_bytes: int = 96 * 1024
    multiprocessors: int = 108
    cache_bytes: int = 40 * 1024 * 1024

    @classmethod
    def of(cls, device: Device) -> Budget:
        """The budget of one device."""
        kept = device.shared_bytes_per_block if device.has_blocks else device.l2_bytes // 2
        return cls(kept, device.multiprocessors, max(device.l2_bytes, device.l3_bytes))

    @property
    def room(self) -> int:
        """Bytes that may be kept between anchors, beside what the stages need for themselves."""
        return max(0, self.shared_bytes - STAGING_BYTES)

    @property
    def least_tiles(self) -> int:
        """The tiles below which a chain leaves too much of the device idle."""
        return min(LEAST_TILES, self.multiprocessors)


@dataclass(frozen=True)
class ChainFinding:
    """Whether a chain is one kernel, why, and the numbers that decided."""

    pays: bool
    finding: Finding


def graph_chain(graph: Graph, members: Collection[int]) -> Chain | str:
    """The chain that the anchors among some nodes form, or why one kernel cannot hold them."""
    return chain_of([_Step(graph[m]) for m in sorted(members)], outputs_of(graph, members))


def neighbouring_anchors(graph: Graph, block_of: Mapping[int, Collection[int]]) -> Iterator[tuple[int, int, int]]:
    """Candidates for a chain: (contraction, row op, contraction), each in a block that feeds the next.

    `block_of` has the members of every node's block.
    """
    for entry in graph:
        if entry.node.op != "softmax" or entry.index not in block_of:
            continue
        before = _feeding(graph, block_of, block_of[entry.index])
        after = _fed(graph, block_of, block_of[entry.index])
        if len(before) == 1 and len(after) == 1:
            yield before[0], entry.index, after[0]


def _feeding(graph: Graph, block_of: Mapping[int, Collection[int]], block: Collection[int]) -> list[int]:
    """The contractions of the blocks whose values a block reads."""
    outside = {p for m in block for p in graph[m].inputs if p not in block and p in block_of}
    return sorted({a for p in outside for a in _contractions(graph, block_of[p])})


def _fed(graph: Graph, block_of: Mapping[int, Collection[int]], block: Collection[int]) -> list[int]:
    outside = {u for m in block for u in graph[m].users if u not in block and u in block_of}
    return sorted({a for u in outside for a in _contractions(graph, block_of[u])})


def _contractions(graph: Graph, block: Collection[int]) -> list[int]:
    return [m for m in block if graph[m].node.op in CONTRACTIONS]


def judge_chain(
    graph: Graph, chain: Chain, blocks: Sequence[Collection[int]], model: ResourceModel, budget: Budget
) -> ChainFinding:
    """Whether the blocks of a chain take less time as one kernel, by the model that decides over them apart.

    Some tile has to fit in the budget.
    """
    members = sorted(m for block in blocks for m in block)
    rows, kept, part = _tile_that_fits(chain, budget)
    travels = 2 * sum(graph[link.kept].bytes for link in chain.links[:-1])
    numbers: dict[str, float | int | str] = {"bytes_not_travelling": travels, "shared_bytes": kept + STAGING_BYTES}
    tiles = _tiles(chain, rows)
    traffic = bytes_read(graph, members) + bytes_written(graph, members)
    again, at_once = _bytes_again(chain, rows, budget)
    speedup = CACHE_SPEEDUP if at_once <= budget.cache_bytes else 1.0
    together = max(model.seconds(graph, members), model.launch + (traffic + again / speedup) / model.bandwidth)
    apart = sum(model.seconds(graph, block) for block in blocks)
    numbers |= {
        "tiles": tiles,
        "rows": rows,
        "part": part,
        "bytes_again_from_cache": again,
        "bytes_in_cache": at_once,
        "recomputed_flops": 0,
        "seconds_together": together,
        "seconds_apart": apart,
    }
    if tiles < budget.least_tiles:
        reason = f"one kernel would have {tiles} tiles, too few to fill a device"
        return ChainFinding(False, Finding(reason, {**numbers, "limit": budget.least_tiles}))
    times = f"one kernel takes {together * 1e6:.1f} us, {len(blocks)} take {apart * 1e6:.1f} us"
    return ChainFinding(together <= apart, Finding(times, numbers))


def why_no_tile(chain: Chain, budget: Budget) -> Finding | None:
    """Why not even a row of what a chain keeps fits in the budget, or None."""
    rows, kept, _ = _tile_that_fits(chain, budget)
    if rows:
        return None
    needed, limit = kept + STAGING_BYTES, budget.shared_bytes
    reason = f"a row of what is kept takes {kept} bytes beside {STAGING_BYTES} for the stages, and a block has {limit}"
    return Finding(reason, {"shared_bytes": needed, "limit": limit})


def _tile_that_fits(chain: Chain, budget: Budget) -> tuple[int, int, int]:
    """The rows of a tile whose boxes fit in a block (0 if none do), the bytes of these boxes, and the part of a row.

    Rows are kept whole (part 0) where enough of them fit, else walked in parts if their reduction can be carried. Of
    the tiles that have enough rows, the tallest that leaves enough tiles is taken.
    """
    room, most = budget.room, _rows_of(chain)
    enough = min(most, ENOUGH_ROWS)
    fitting = [(r, b) for r in ROWS if r <= most and (b := _kept_bytes(chain, r)) <= room]
    tall = [(r, b) for r, b in fitting if r >= enough]
    many = [(r, b) for r, b in tall if _tiles(chain, r) >= budget.least_tiles]
    whole = next(iter((*many, *tall[-1:], *fitting)), (0, _kept_bytes(chain, 1)))
    part = part_of(chain, PART)
    if whole[0] >= enough or not part:
        return *whole, 0
    result = math.prod(tile_box(chain, enough).sizes)
    kept = 4 * (enough * part + result + 65 * enough)  # a maximum and a sum of a row for every lane of a warp, a factor
    return (enough, kept, part) if kept <= room else (*whole, 0)


def _rows_of(chain: Chain) -> int:
    """Positions of the dimension that tiles cut, no more than the tallest tile takes."""
    cut = cut_axis(chain)
    return 1 if cut is None else min(ROWS[0], chain.last.anchor.node.out.dims[cut])


def _kept_bytes(chain: Chain, rows: int) -> int:
    """Bytes of the largest box that a tile keeps of whole rows."""
    boxes = link_boxes(chain, tile_box(chain, rows))
    assert not isinstance(boxes, str), boxes
    return max(4 * math.prod(box.sizes) for box, _ in boxes[:-1])


def _tiles(chain: Chain, rows: int) -> int:
    """Tiles of the last anchor's result."""
    sizes = tile_box(chain, rows).sizes
    return math.prod(-(-d // s) for d, s in zip(chain.last.anchor.node.out.dims, sizes, strict=True))


def _bytes_again(chain: Chain, rows: int, budget: Budget) -> tuple[int, int]:
    """What all tiles read of the anchors' operands beyond reading each once, and the bytes of these at any one time.

    Tiles run in the order of the dimension that is cut, neighbours along which read the same of what is read again.
    """
    boxes = link_boxes(chain, tile_box(chain, rows))
    assert not isinstance(boxes, str), boxes
    tiles, cut = _tiles(chain, rows), cut_axis(chain)
    alike = 1 if cut is None else -(-chain.last.anchor.node.out.dims[cut] // rows)
    differing = -(-min(tiles, budget.multiprocessors) // alike)
    again = at_once = 0
    for link, (_, operands) in zip(chain.links, boxes, strict=True):
        for position, (box, tensor) in enumerate(zip(operands, link.anchor.node.inputs, strict=True)):
            if position == link.position:
                continue
            size = element_bytes(tensor.dtype) * math.prod(box.sizes)
            if tiles * size > tensor.bytes:
                again += tiles * size - tensor.bytes
                at_once += min(tensor.bytes, differing * size)
    return again, at_once
