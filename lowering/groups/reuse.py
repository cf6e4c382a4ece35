"""What a kernel of several stages reuses, as plain data: needs no MLIR, so that an explanation holds it as it is.

Everything is that of one tile unless it says otherwise; bytes and operations are counted, seconds are the cost model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PartReuse", "Reuse", "SideBySideReuse", "StageReuse", "ValueReuse"]

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class StageReuse:
    """One stage: its root, the `box` of the root's result (of `shape`) that a tile computes, and how.

    `nodes` are the ONNX nodes of the root and of what follows it in registers. In a walk, the box is that of its first
    tile, and operations, seconds and bytes are those of a walk divided by its tiles. `kind` is contract (a register
    tile), team (threads share a reduction) or map; `schedule` the sizes of it. `halo` is how far the boxes of
    neighbouring tiles overlap along each dimension; `factor` how often all tiles together compute an element,
    `flops_added` what that costs them. `compute_seconds` are those of one tile at full rate, `latency_seconds` the
    least it takes.
    """

    number: int
    op: str
    nodes: tuple[str, ...]
    shape: Sizes
    box: Sizes
    halo: Sizes
    kind: str
    schedule: Mapping[str, Any]
    flops: float
    factor: float
    flops_added: float
    compute_seconds: float
    latency_seconds: float
    l2_bytes: int
    array_bytes: int


@dataclass(frozen=True)
class ValueReuse:
    """Where a value of the kernel lives.

    `place` is read (an operand, from DRAM), written (to DRAM), kept (its box lies in the block's shared memory, or in a
    thread's scratch, from stage `first` to stage `last`), line (rows of such a box that the next tile of a walk takes
    over), register (elements pass from one op to the next) or inline (computed where it is read). A value has an entry
    for each of its places. `bytes` are those of the whole value, `box_bytes` those of its `box`, which neighbouring
    tiles share by `halo`; `dram_bytes` are what the launch moves of it. Where a value has no box of its own, `box` is
    empty.
    """

    name: str
    op: str
    shape: Sizes
    place: str
    first: int
    last: int
    bytes: int
    box: Sizes = ()
    halo: Sizes = ()
    box_bytes: int = 0
    dram_bytes: int = 0


@dataclass(frozen=True)
class Reuse:
    """A kernel of several stages: tiles of size `tile` cut the `frame` into `tiles` along each dimension.

    A GPU runs a tile as a block of `threads`, or as a `cluster` of several blocks that share its channels; `at_once`
    blocks at one time, of the `most_at_once` that its `multiprocessors` have room for by what `limited_by` names (so in
    `rounds`); a CPU's thread works on one tile. A block (or thread) may `walk` over several tiles one after the other,
    each taking over rows of the one before from line buffers. `kept_bytes` is the most that kept boxes take at once,
    and lines, `memory_bytes` with what stages need for themselves, of the `memory_limit` of a block (or of scratch).
    `registers` are those that a thread may have. `flops` are of all tiles, `flops_added` what is computed more than
    once among them. `l2_bytes` is what all tiles read together, `dram_bytes` what the launch moves. `seconds` is the
    launch, the latency of the first and last bytes, and the longer of `busiest_seconds` (of the multiprocessor or core
    with most to do) and `dram_seconds`.
    """

    device: str
    tile: Sizes
    frame: Sizes
    tiles: Sizes
    threads: int
    multiprocessors: int
    at_once: int
    most_at_once: int
    limited_by: str
    rounds: int
    registers: int
    kept_bytes: int
    memory_bytes: int
    memory_limit: int
    flops: float
    flops_added: float
    l2_bytes: int
    dram_bytes: int
    seconds: float
    busiest_seconds: float
    dram_seconds: float
    stages: tuple[StageReuse, ...]
    values: tuple[ValueReuse, ...]
    cluster: int = 1
    walk: int = 1

    @property
    def factor(self) -> float:
        """Operations of all tiles together over those of computing everything once."""
        return self.flops / max(1.0, self.flops - self.flops_added)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reuse:
        """The inverse of `dataclasses.asdict`, also from JSON."""
        parts = {
            "stages": tuple(_made(StageReuse, stage) for stage in data["stages"]),
            "values": tuple(_made(ValueReuse, value) for value in data["values"]),
        }
        return _made(cls, {**data, **parts})


@dataclass(frozen=True)
class PartReuse:
    """One part of a kernel between whose parts no value passes: `tiles` blocks of the grid are its own.

    `nodes` are its ONNX nodes, `kind` that of its schedule. `shared_bytes` is what a block of it takes. `flops` are of
    computing everything once, `flops_added` what is computed more than once among tiles. `dram_bytes` are what its
    blocks move; what several parts read is in each of them. `reuse` tells what tiles of several layers share.
    """

    nodes: tuple[str, ...]
    kind: str
    schedule: Mapping[str, Any]
    tiles: int
    shared_bytes: int
    flops: int
    flops_added: int
    dram_bytes: int
    reuse: Reuse | None = None


@dataclass(frozen=True)
class SideBySideReuse:
    """A kernel of several `parts` side by side in one grid of `tiles` blocks, each of `threads`.

    A block has `shared_bytes`, the most that one of a part takes, of the `memory_limit`. `dram_bytes` is what the
    launch moves: less than its parts together by what several of them read.
    """

    device: str
    tiles: int
    threads: int
    shared_bytes: int
    memory_limit: int
    dram_bytes: int
    parts: tuple[PartReuse, ...]

    @property
    def flops_added(self) -> int:
        """Computed more than once among the tiles of all parts."""
        return sum(part.flops_added for part in self.parts)

    @property
    def bytes_read_together(self) -> int:
        """What parts read that others read too, which each kernel of its own would move again."""
        return sum(part.dram_bytes for part in self.parts) - self.dram_bytes

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SideBySideReuse:
        """The inverse of `dataclasses.asdict`, also from JSON."""
        parts = ({**p, "reuse": None if p["reuse"] is None else Reuse.from_dict(p["reuse"])} for p in data["parts"])
        return _made(cls, {**data, "parts": tuple(_made(PartReuse, part) for part in parts)})


def _made(kind: Any, data: Mapping[str, Any]) -> Any:
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})
