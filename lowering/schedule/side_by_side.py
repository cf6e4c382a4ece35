"""Parts of a group that share no values, side by side in one grid: each has blocks of its own.

    for each part:  for each of its tiles:  the kernel of its own schedule                      (a block)

Layers that read the same, or that run between the same two layers, fill a device together that each alone would leave
idle, and cost one launch.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlirfuse.device import Device
from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.groups.cost import side_by_side_cost
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.register_tile import RegisterTile
from mlirfuse.lowering.groups.stages import Stages, stages_of
from mlirfuse.lowering.schedule.simt import WARP, ContractTiles, MapTiles, TeamTiles, reduction_length
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles, choose_cross_layer

__all__ = ["PartTiles", "SideBySide", "choose_side_by_side"]

PartTiles = ContractTiles | TeamTiles | MapTiles | CrossLayerTiles


@dataclass(frozen=True)
class SideBySide:
    """A schedule for each part of a group, in the order of `components`; all have blocks of `threads`."""

    threads: int
    stages: tuple[PartTiles, ...]

    def why_illegal(self, group: Group, device: Device) -> str | None:
        parts = components(group)
        if len(parts) != len(self.stages) or len(parts) < 2:
            return f"{len(self.stages)} schedules for {len(parts)} parts"
        for number, (part, schedule) in enumerate(zip(parts, self.stages, strict=True)):
            if schedule.threads != self.threads:
                return f"part {number} has blocks of {schedule.threads} threads, not of {self.threads}"
            if isinstance(schedule, TeamTiles) and schedule.team != WARP:
                return f"part {number} shares an element among {schedule.team} threads; a warp takes one"
            if isinstance(schedule, CrossLayerTiles) and schedule.cluster > 1:
                return f"part {number} takes clusters of blocks, and those of a grid are all of one size"
            if complaint := schedule.why_illegal(part, device):
                return f"part {number}: {complaint}"
        return None


def choose_side_by_side(group: Group, device: Device) -> SideBySide | None:
    """The schedules that the cost model finds cheapest together, or None where the group is one part."""
    parts = components(group)
    if len(parts) < 2:
        return None
    stages = [stages_of(part) for part in parts]
    if any(isinstance(s, str) for s in stages):
        return None
    traffic = sum(group.types[v].bytes for v in (*group.inputs, *group.outputs))
    cost = side_by_side_cost([s for s in stages if isinstance(s, Stages)], traffic, device)
    if cost is None:
        return None
    found: list[PartTiles] = []
    for part, priced in zip(parts, cost.parts, strict=True):
        tiles: PartTiles | None
        if len(part.anchors) > 1:
            tiles = choose_cross_layer(part, device, cost.threads)
        else:
            tiles = _tiled(priced.stages[0].tile, part, device) or _untiled(part, cost.threads, device)
        if tiles is None:
            return None
        found.append(tiles)
    schedule = SideBySide(cost.threads, tuple(found))
    return schedule if schedule.why_illegal(group, device) is None else None


def _tiled(tile: RegisterTile | None, part: Group, device: Device) -> ContractTiles | None:
    if tile is None:
        return None
    found = ContractTiles.of(tile)
    return found if found.why_illegal(part, device) is None else None


def _untiled(part: Group, threads: int, device: Device) -> TeamTiles | MapTiles:
    anchor = part.anchor
    teams = TeamTiles(threads, WARP)
    long = anchor is not None and anchor.node.op in ("conv", "contract", "reduce") and reduction_length(anchor) >= 64
    return teams if long and teams.why_illegal(part, device) is None else MapTiles(threads)
