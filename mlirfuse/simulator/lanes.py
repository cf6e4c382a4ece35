"""The threads that run side by side."""

from dataclasses import dataclass

__all__ = ["Lanes"]


@dataclass(frozen=True)
class Lanes:
    """All threads of `blocks` blocks, from block number `first` (x fastest) of the grid on."""

    threads: int
    blocks: int
    first: int
    grid: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Of a full lane array."""
        return self.threads, self.blocks

    def block_name(self, block: int) -> str:
        """Coordinates of a block of the batch, for messages."""
        number = self.first + block
        x, y, _ = self.grid
        return f"block ({number % x}, {number // x % y}, {number // (x * y)})"
