"""The predicted time of a group's kernel, whatever schedule it has."""

from __future__ import annotations

from collections.abc import Sequence

from mlirfuse.device import Device
from mlirfuse.lowering.groups.boxes import frame_of
from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.groups.cost import kernel_cost, lone_cost, side_by_side_cost
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.kernel_cost import KernelCost
from mlirfuse.lowering.groups.stages import stages_of

__all__ = ["launch_seconds"]


def launch_seconds(
    group: Group,
    dram_bytes: int,
    device: Device,
    tile: Sequence[int] | None = None,
    parts: Sequence[int] = (),
    walk: int = 1,
) -> float:
    """Seconds of one launch that moves so many bytes; with a `tile`, of stages over boxes of that tile.

    With `parts`, each stage adds up so many channels at a time (0 for all); with a `walk`, a block computes so many
    tiles.
    Layers that share no values run side by side. A group without stages takes as long as its anchor, or what else in it
    does most; several anchors (a chain of attention) follow each other.
    """
    if tile is not None:
        stages = stages_of(group)
        assert not isinstance(stages, str), stages
        if (cost := kernel_cost(stages, tile, device, parts, walk)) is not None:
            return cost.seconds
    if (cost := _side_by_side(group, dram_bytes, device)) is not None:
        return cost.seconds
    leads = [a.node for a in group.anchors] or [max(group.members, key=lambda m: m.node.out.size).node]
    costs = [lone_cost(node, dram_bytes // len(leads), device) for node in leads]
    return sum(c.seconds for c in costs) - sum(c.overhead for c in costs[1:])


def _side_by_side(group: Group, dram_bytes: int, device: Device) -> KernelCost | None:
    """The cost of several parts with anchors, if there are such and the device has blocks for them."""
    if len(group.anchors) < 2 or len(parts := components(group)) < 2:
        return None
    found = [stages for part in parts if not isinstance(stages := stages_of(part), str)]
    if len(found) < len(parts) or any(isinstance(frame_of(stages), str) for stages in found):
        return None
    return side_by_side_cost(found, dram_bytes, device)
