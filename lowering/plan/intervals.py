"""Intervals of blocks as kernels, and the partition of all blocks into intervals that takes least.

Blocks stand in the order in which they run, so that any interval is convex. What was not chosen is kept: a proof
names the next best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mlirfuse.device import Device
from mlirfuse.lowering.groups.kernel_cost import KernelCost
from mlirfuse.lowering.plan.verdict import Finding, Number, Refusal

__all__ = ["Interval", "Partition"]


@dataclass(frozen=True)
class Interval:
    """Some `blocks` as one kernel: its cost beside what they take `apart`; a `refusal` forbids it (without a cost)."""

    members: tuple[int, ...]
    apart: float
    cost: KernelCost | None = None
    refusal: Refusal | None = None
    blocks: int = 1

    @property
    def seconds(self) -> float:
        """What it takes; a block alone takes what it takes apart."""
        return self.apart if self.cost is None else self.cost.seconds

    @property
    def pays(self) -> bool:
        return self.cost is not None and self.cost.seconds < self.apart

    def finding(self, device: Device, layers: str) -> Finding:
        """What one kernel of `layers` takes beside its blocks, and from which numbers."""
        cost = self.cost
        assert cost is not None, self.refusal
        numbers: dict[str, Number] = {
            "layers": layers,
            "seconds_together": cost.seconds,
            "seconds_apart": self.apart,
            "tile": "x".join(map(str, cost.tile)),
            "tiles": cost.tiles,
            "blocks_of_a_tile": cost.cluster,
            "tiles_of_a_block": cost.walk,
            "tiles_at_once": cost.resident,
            "shared_bytes": cost.shared_bytes,
            "dram_bytes": cost.dram_bytes,
            "bytes_from_l2": cost.l2_bytes,
            "flops": cost.flops,
            "recomputed_flops": cost.recomputed_flops,
            "seconds_busiest": cost.busiest,
            "seconds_dram": cost.memory,
        }
        together, apart = cost.seconds * 1e6, self.apart * 1e6
        apart_from = f"{self.blocks} kernels take {apart:.2f} us"
        reason = f"one kernel of {layers} takes {together:.2f} us on {device.name}, {apart_from}"
        return Finding(reason, numbers)


@dataclass(frozen=True)
class Partition:
    """Blocks `alone`, and the intervals of several that were looked at, by where they start and stop."""

    alone: Sequence[Interval]
    joined: Mapping[tuple[int, int], Interval]

    @cached_property
    def taken(self) -> dict[tuple[int, int], Interval]:
        """The intervals of several blocks that become kernels, in running order."""
        spans = self._spans(0, len(self.alone))
        return {span: self.joined[span] for span in spans if span in self.joined}

    @property
    def seconds(self) -> float:
        return self._before[-1]

    def runner_up(self, start: int, stop: int) -> list[Interval]:
        """The quickest way to run some blocks in several kernels."""
        return [self.joined.get(span) or self.alone[span[0]] for span in self._spans(start, stop, (start, stop))]

    def adds(self, start: int, stop: int) -> float:
        """How much longer all blocks take, at best, if some are one kernel."""
        return self._before[start] + self.joined[start, stop].seconds + self._after[stop] - self.seconds

    def nearest_larger(self, start: int, stop: int) -> tuple[Interval, float] | None:
        """Of the kernels that hold an interval and more, the one that costs least: how much longer all blocks take."""
        larger = [
            (i, self.adds(a, b))
            for (a, b), i in self.joined.items()
            if i.cost is not None and a <= start and stop <= b and (a, b) != (start, stop)
        ]
        return min(larger, key=lambda found: found[1], default=None)

    @cached_property
    def _before(self) -> list[float]:
        """Seconds of the best partition of the first blocks, by their number."""
        return self._prefixes(0, len(self.alone))[0]

    @cached_property
    def _after(self) -> list[float]:
        """Of the blocks from each on."""
        count = len(self.alone)
        best = [0.0] * (count + 1)
        for start in reversed(range(count)):
            choices = [self.alone[start].seconds + best[start + 1]]
            choices += [i.seconds + best[b] for (a, b), i in self.joined.items() if a == start and i.cost is not None]
            best[start] = min(choices)
        return best

    def _spans(self, start: int, stop: int, without: tuple[int, int] | None = None) -> list[tuple[int, int]]:
        """The best partition of some blocks, as intervals."""
        _, chosen = self._prefixes(start, stop, without)
        found, end = [], stop
        while end > start:
            found.append((chosen[end - start], end))
            end = chosen[end - start]
        return found[::-1]

    def _prefixes(self, start: int, stop: int, without: tuple[int, int] | None = None) -> tuple[list[float], list[int]]:
        """For each number of blocks from `start` on, what they take, and where their last interval starts."""
        best, chosen = [0.0], [start]
        for end in range(start + 1, stop + 1):
            choices = [(best[-1] + self.alone[end - 1].seconds, end - 1)]
            choices += [
                (best[a - start] + i.seconds, a)
                for (a, b), i in self.joined.items()
                if b == end and a >= start and (a, b) != without and i.cost is not None
            ]
            seconds, first = min(choices, key=lambda c: (c[0], -c[1]))
            best.append(seconds)
            chosen.append(first)
        return best, chosen
