"""Arena planning: byte offsets for buffers so that those in use at the same time do not overlap.

Steps are the launches and host nodes, numbered in program order. A buffer knows the steps that write it and those that
read it; what else it is does not matter here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["ALIGNMENT", "Arena", "Buffer", "may_coexist", "plan_arena"]

ALIGNMENT = 256


@dataclass(frozen=True)
class Buffer:
    """`bytes` of memory, written and read in some steps."""

    bytes: int
    writers: tuple[int, ...]
    readers: tuple[int, ...] = ()

    @cached_property
    def steps(self) -> tuple[int, ...]:
        return tuple(sorted({*self.writers, *self.readers}))

    @property
    def first(self) -> int:
        return min(self.writers)

    @property
    def last(self) -> int:
        return self.steps[-1]


@dataclass(frozen=True)
class Arena:
    """The offset of every buffer, and the bytes of the whole."""

    offsets: tuple[int, ...]
    bytes: int


def may_coexist(a: Buffer, b: Buffer) -> bool:
    """Whether two buffers are ever in use at once when steps run one after the other."""
    return a.first <= b.last and b.first <= a.last


def plan_arena(buffers: Sequence[Buffer]) -> Arena:
    """Offsets by greedy best fit: the largest buffer first, each in the smallest gap that holds it."""
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for i in sorted(range(len(buffers)), key=lambda i: (-buffers[i].bytes, i)):
        taken = sorted((offsets[j], buffers[j].bytes) for j in placed if may_coexist(buffers[i], buffers[j]))
        offsets[i] = _best_fit(_aligned(buffers[i].bytes), taken)
        placed.append(i)
    total = max((o + b.bytes for o, b in zip(offsets, buffers, strict=True)), default=0)
    return Arena(tuple(offsets), _aligned(total))


def _best_fit(size: int, taken: Sequence[tuple[int, int]]) -> int:
    """The offset of the smallest gap of at least `size` between the intervals (offset, bytes), or after them."""
    best: tuple[int, int] | None = None
    end = 0
    for offset, length in taken:
        gap = offset - end
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, end)
        end = max(end, _aligned(offset + length))
    return end if best is None else best[1]


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
