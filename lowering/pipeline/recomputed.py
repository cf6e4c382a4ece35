"""What the tiles of a launch compute again, from the scheduled stage."""

from __future__ import annotations

from typing import Any

from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.stages import stages_of
from mlirfuse.lowering.schedule.families import Family
from mlirfuse.lowering.schedule.side_by_side import SideBySide

__all__ = ["scheduled_recomputed_flops"]


def scheduled_recomputed_flops(group: Group, schedule: Any, family: Family) -> int:
    """Operations beyond those of the group: what lies in the boxes of several tiles, in every part that has boxes."""
    if isinstance(schedule, SideBySide):
        parts = zip(components(group), schedule.stages, strict=True)
        return sum(scheduled_recomputed_flops(part, tiles, family) for part, tiles in parts)
    if (tile := family.tile_of(schedule)) is None:
        return 0
    stages = stages_of(group)
    assert not isinstance(stages, str), stages
    cluster, walk = family.cluster_of(schedule), family.walk_of(schedule)
    return round(TileBoxes(stages, tile, family.parts_of(schedule), cluster, walk).recomputed_flops)
