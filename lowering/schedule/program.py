"""The tile program: how one kernel computes its group, as frozen data.

For each tile of the tile space the kernel runs the stages in order; a stage reads boxes of values and makes a box of
one value. Boxes live in global memory, shared memory (the cache, on a CPU) or registers. Analysis, cost model and
the emitters of every target consume this one form; kernels are emitted from nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlirfuse.lowering.groups.group import Group

__all__ = ["Box", "Stage", "TileProgram"]


@dataclass(frozen=True)
class Box:
    """The part of a value that one tile touches: its size along each dimension, and where it lies.

    `place` is global, shared or register. `elements` may be smaller than the value's own box where
    the reduction is split (a slice of the operand at a time).
    """

    value: int
    sizes: tuple[int, ...]
    place: str
    bytes: int


@dataclass(frozen=True)
class Stage:
    """One step of a tile: `kind` is copy_in, map, contract, reduce, row, sort or copy_out; `value` is what it makes."""

    kind: str
    value: int
    how: str  # e.g. "scalar", "vector", "register-tile", "team", "shared row"


@dataclass(frozen=True)
class TileProgram:
    """A group, the schedule that cuts it, and what follows from both.

    `tiles` is the extent of the tile space (number of tiles along each of its dimensions); `workers` how many threads
    share a tile (1 on a CPU). `shared_bytes` is the scratch that a tile needs.
    """

    group: Group
    schedule: Any
    tiles: tuple[int, ...]
    workers: int
    boxes: tuple[Box, ...]
    stages: tuple[Stage, ...]
    shared_bytes: int = 0

    @property
    def tile_count(self) -> int:
        return math.prod(self.tiles)

    @property
    def flops(self) -> int:
        return self.group.flops
