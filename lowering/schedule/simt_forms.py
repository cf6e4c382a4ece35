"""SIMT schedules as plain data, for attributes and databases."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from mlirfuse.lowering.schedule.side_by_side import SideBySide
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, RowTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles
from mlirfuse.lowering.schedule.simt_deep import DeepTiles
from mlirfuse.lowering.schedule.sorting import SortTiles

__all__ = ["SimtSchedule", "schedule_from_dict", "schedule_to_dict"]

SimtSchedule = MapTiles | TeamTiles | RowTiles | ContractTiles | SortTiles | DeepTiles | CrossLayerTiles | SideBySide
_KINDS: dict[str, type[SimtSchedule]] = {
    "map": MapTiles,
    "team": TeamTiles,
    "row": RowTiles,
    "contract": ContractTiles,
    "sort": SortTiles,
    "deep": DeepTiles,
    "cross-layer": CrossLayerTiles,
    "side-by-side": SideBySide,
}


def schedule_to_dict(schedule: SimtSchedule) -> dict[str, Any]:
    """The schedule as plain data, with its kind; stages of one of several are JSON texts."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(schedule, cls))
    if isinstance(schedule, DeepTiles | CrossLayerTiles | SideBySide):
        stages = [json.dumps(schedule_to_dict(stage)) for stage in schedule.stages]
        fields = {k: v for k, v in vars(schedule).items() if k != "stages"}
        return {**fields, "kind": kind, "stages": stages}
    return {"kind": kind, **asdict(schedule)}


def schedule_from_dict(data: dict[str, Any]) -> SimtSchedule:
    fields = {k: v for k, v in data.items() if k != "kind"}
    if "stages" in fields:
        fields["stages"] = tuple(schedule_from_dict(json.loads(text)) for text in data["stages"])
    fields |= {name: tuple(fields[name]) for name in ("tile", "parts") if name in fields}
    return _KINDS[data["kind"]](**fields)
