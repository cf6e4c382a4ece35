"""An analytic model of what one kernel costs, and the choices that follow from it.

The planner asks a chooser where DNNFusion's table does not decide. This is the default one: a roofline with a fixed
cost for each launch. A database of measurements can take its place (`measured.MeasuredModel`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from mlirfuse.device import Device
from mlirfuse.lowering.plan.graph import Graph
from mlirfuse.lowering.plan.legality import CONTRACTIONS, is_expensive, outputs_of
from mlirfuse.lowering.plan.verdict import Finding

__all__ = ["Chooser", "ResourceModel", "bytes_read", "bytes_written"]

Members = Collection[int]


class Chooser(Protocol):
    """Decides what the table leaves open; the same question must always get the same answer."""

    def why_separate(self, graph: Graph, first: Members, second: Members) -> Finding | None:
        """Why two blocks are better apart, or None (asked for a cell that may or may not pay)."""
        ...

    def why_together(self, graph: Graph, first: Members, second: Members) -> Finding | None:
        """A proof that two blocks pay together although the table refuses them, or None."""
        ...


@dataclass(frozen=True)
class ResourceModel:
    """Kernel time is launch + max(bytes / bandwidth, flops / rate), in seconds.

    A contraction's prologue is computed again for every `tile` of output channels. `host` bytes a second pass from the
    host or to it; 0 where both have one memory.
    """

    bandwidth: float = 2e12
    flops: float = 20e12
    launch: float = 2e-6
    tile: int = 64
    host: float = 0.0

    @classmethod
    def of(cls, device: Device) -> ResourceModel:
        """The model of one device."""
        return cls(device.dram_bandwidth, device.fp32_flops, device.launch_seconds, host=device.host_bandwidth)

    def seconds(self, graph: Graph, members: Members) -> float:
        """Time of one kernel that holds `members`."""
        traffic = bytes_read(graph, members) + bytes_written(graph, members)
        work = sum(graph[m].flops for m in members) + self._recomputed(graph, members)
        return self.kernel_seconds(traffic, work)

    def kernel_seconds(self, traffic: float, work: float) -> float:
        """Time of one kernel that moves `traffic` bytes and does `work` operations."""
        return self.launch + max(traffic / self.bandwidth, work / self.flops)

    def copy_seconds(self, size: float) -> float:
        """Time of `size` bytes between the host and the device."""
        return size / self.host if self.host else 0.0

    def why_separate(self, graph: Graph, first: Members, second: Members) -> Finding | None:
        together = self.seconds(graph, {*first, *second})
        apart = self.seconds(graph, first) + self.seconds(graph, second)
        if together <= apart:
            return None
        numbers = {"seconds_together": together, "seconds_apart": apart}
        return Finding(f"one kernel would take {together * 1e6:.1f} us, two take {apart * 1e6:.1f} us", numbers)

    def why_together(self, graph: Graph, first: Members, second: Members) -> Finding | None:
        """A One-to-Many producer pays where it is read once, or where reading through it moves no more than it does."""
        if any(graph[m].is_anchor or is_expensive(graph[m]) for m in first):
            return None
        through, stored = bytes_read(graph, first), bytes_written(graph, first)
        numbers = {"bytes_read_through": through, "bytes_stored": stored}
        if not any(graph[m].node.op in (*CONTRACTIONS, "window") for m in second):
            return Finding("every element is read once", numbers)
        if through > 1.25 * stored:
            return None
        return Finding(f"reading through it moves {through} bytes, storing it {stored}", numbers)

    def _recomputed(self, graph: Graph, members: Members) -> float:
        """Extra operations of what stands before a convolution or contraction."""
        anchor = next((graph[m] for m in members if graph[m].node.op in CONTRACTIONS), None)
        if anchor is None:
            return 0.0
        weight = anchor.node.inputs[1]
        channels = weight.dims[0] if anchor.node.op == "conv" else anchor.elements // max(1, weight.size)
        times = max(0, -(-channels // self.tile) - 1)
        return float(times * sum(graph[m].flops for m in members if m < anchor.index))


def bytes_read(graph: Graph, members: Members) -> int:
    """Bytes that a kernel of `members` reads from memory, each tensor once."""
    inside = set(members)
    read: dict[int | str | tuple[int, int], int] = {}
    for m in sorted(inside):
        entry = graph[m]
        for i, (producer, tensor) in enumerate(zip(entry.producers, entry.node.inputs, strict=True)):
            if producer in inside or not tensor.static:
                continue
            touched = min(tensor.bytes, entry.bytes) if entry.node.op in ("gather", "slice") else tensor.bytes
            source = entry.sources[i] if entry.sources else ""
            key = producer if producer is not None else source or (m, i)
            read[key] = max(read.get(key, 0), touched)
    return sum(read.values())


def bytes_written(graph: Graph, members: Members) -> int:
    """Bytes that a kernel of `members` stores for others."""
    return sum(graph[m].bytes for m in outputs_of(graph, members))
