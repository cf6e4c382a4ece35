"""Register tiles: how the threads of a block share a product, and those that are tried."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QUAD", "TILES", "RegisterTile"]

QUAD = 4  # elements of a thread's vectors
BUFFERS = 2  # slices of the reduction in shared memory
ADDRESSES = 24  # registers of a thread for addresses and counters


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
        return self.thread_m * self.thread_n + multiplied + fetched + ADDRESSES


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
