"""What a launch moved and computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = ["SECTOR_BYTES", "Counters"]

SECTOR_BYTES = 32


@dataclass
class Counters:
    """Totals over every block of one or more launches; add them to sum launches.

    A request is one memory instruction of one warp (pieces of at most 16 bytes per thread). A
    global request moves the distinct 32-byte sectors that its threads touch; `dram_*` counts each
    sector of a buffer once per launch (an ideal L2 within a launch, none between launches). A
    shared request takes one wavefront per phase (32 threads of up to 4 bytes, 16 of 8 or 8 of 16)
    when no two words of a phase share a bank: that is `shared_ideal_wavefronts`.
    """

    launches: int = 0
    blocks: int = 0
    global_read_bytes: int = 0
    global_write_bytes: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    global_requests: int = 0
    shared_requests: int = 0
    shared_wavefronts: int = 0
    shared_ideal_wavefronts: int = 0
    flops: int = 0
    """Floating-point operations of active threads; an fma is two, a vector counts by its width."""
    barriers: int = 0
    """Barriers times the blocks that reached them."""
    uninitialised_reads: int = 0
    """Elements read from shared memory that no thread of the block had written."""
    peer_read_bytes: int = 0
    """Bytes that active threads read in the shared memory of other blocks of their cluster."""
    peer_write_bytes: int = 0
    """Bytes that active threads write there."""
    cluster_barriers: int = 0
    """Barriers of clusters times the blocks that reached them; `barriers` does not count them."""
    argument_bytes: tuple[int, ...] = field(default=(), compare=False)
    """Of one launch: the part of `dram_bytes` that each argument has; empty for sums of launches."""

    @property
    def global_bytes(self) -> int:
        """Bytes of all global requests, in whole sectors."""
        return self.global_read_bytes + self.global_write_bytes

    @property
    def dram_bytes(self) -> int:
        """Bytes of the distinct sectors read plus those written, per launch."""
        return self.dram_read_bytes + self.dram_write_bytes

    @property
    def bank_conflict_factor(self) -> float:
        """Shared wavefronts over the ideal; 1.0 means no bank conflict."""
        return self.shared_wavefronts / self.shared_ideal_wavefronts if self.shared_ideal_wavefronts else 1.0

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.type == "int"))

    def __radd__(self, other: object) -> Counters:
        return self if other == 0 else NotImplemented

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, the two byte totals included."""
        return asdict(self) | {"global_bytes": self.global_bytes, "dram_bytes": self.dram_bytes}
