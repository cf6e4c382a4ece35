"""What a kernel of stages takes, as the models of GPUs and CPUs tell it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mlirfuse.lowering.groups.register_tile import RegisterTile

__all__ = ["KernelCost", "StageCost"]


@dataclass(frozen=True)
class StageCost:
    """One stage in one block: seconds at full rate, least seconds by latency, bytes from the second cache.

    `how` is contract (with its register `tile`), team or map.
    """

    how: str
    compute: float
    latency: float
    l2_bytes: int
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
    l2_bytes: int
    flops: float
    recomputed_flops: float
    stages: tuple[StageCost, ...]
    registers: int = 0
    parts: tuple[KernelCost, ...] = ()  # of a kernel whose blocks belong to parts that share no values
    depths: tuple[int, ...] = ()  # of each stage, the channels that it adds up at a time, 0 for all
    cluster: int = 1  # blocks that share a tile: each computes a part of the channels of every stage
    walk: int = 1  # tiles that a block computes one after the other: costs of stages are of all of them
    lines: StageCost | None = None  # what a block copies to lines and from them

    @property
    def overhead(self) -> float:
        """Seconds that it takes whatever it computes: to launch it, and until the first bytes come."""
        return self.seconds - max(self.busiest, self.memory)

    @property
    def blocks(self) -> int:
        return self.tiles // self.walk * self.cluster

    @property
    def work(self) -> tuple[StageCost, ...]:
        """All that a block does."""
        return self.stages if self.lines is None else (*self.stages, self.lines)

    @property
    def rounds(self) -> int:
        return math.ceil(self.blocks / max(1, self.resident))
