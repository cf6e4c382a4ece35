"""The predicted time of a group's kernel, whatever schedule it has."""

from __future__ import annotations

from collections.abc import Sequence

from mlirfuse.device import Device
from mlirfuse.lowering.groups.cost import kernel_cost, lone_cost
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.stages import stages_of

__all__ = ["launch_seconds"]


def launch_seconds(group: Group, dram_bytes: int, device: Device, tile: Sequence[int] | None = None) -> float:
    """Seconds of one launch that moves so many bytes; with a `tile`, of stages over boxes of that tile.

    A group without stages takes as long as its anchor, or what else in it does most; several anchors (a chain of
    attention) follow each other.
    """
    if tile is not None:
        stages = stages_of(group)
        assert not isinstance(stages, str), stages
        if (cost := kernel_cost(stages, tile, device)) is not None:
            return cost.seconds
    leads = [a.node for a in group.anchors] or [max(group.members, key=lambda m: m.node.out.size).node]
    costs = [lone_cost(node, dram_bytes // len(leads), device).seconds for node in leads]
    return sum(costs) - (len(leads) - 1) * device.launch_seconds
