"""Groups computed in stages, a tile of their outputs after the other: what follows from a group and a tile.

for each tile of the frame:
    for each stage:  the box of its root's result, epilogue applied;  what later stages read stays beside the tile

Each stage is a group of its own with a box; the schedules and emitters of single groups serve it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property

from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.boxes import TileBoxes, frame_of
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.stages import Stages, stages_of
from mlirfuse.lowering.schedule.deep import group_chain

__all__ = ["CrossLayerPlan", "cross_layer_stages", "tile_problem"]


def cross_layer_stages(group: Group) -> Stages | str:
    """The stages of a group of several anchors that is no chain of rows, or why it is not computed in stages."""
    if len(group.anchors) < 2:
        return "there are no two anchors"
    if not isinstance(group_chain(group), str):
        return "its anchors form a chain of rows"
    stages = stages_of(group)
    if isinstance(stages, str):
        return stages
    frame = frame_of(stages)
    return frame if isinstance(frame, str) else stages


def tile_problem(stages: Stages, tile: Sequence[int], parts: Sequence[int] = ()) -> str | None:
    """Why tiles of these sizes, with reductions in these parts, do not compute a group's outputs, or None."""
    frame = frame_of(stages)
    if isinstance(frame, str):
        return frame
    if len(tile) != len(frame) or any(size < 1 for size in tile):
        return f"a tile of {tuple(tile)} does not cut {frame}"
    channels = {sink.root.node.out.dims[1] for sink in stages.sinks if len(frame) > 1}
    if len(channels) > 1 and tile[1] < frame[1]:
        return f"outputs of {sorted(channels)} channels are not cut along these together"
    if parts and len(parts) != len(stages):
        return f"{len(parts)} parts for {len(stages)} stages"
    return _part_problem(stages, tile, parts) if any(parts) else None


def _part_problem(stages: Stages, tile: Sequence[int], parts: Sequence[int]) -> str | None:
    split = [s for s in stages if parts[s.number]]
    for stage in split:
        node, part = stage.root.node, parts[stage.number]
        if node.op not in ("conv", "contract") or node.attrs.get("groups", 1) > 1:
            return f"stage {stage.number} does not add up parts of all channels"
        if stage.depth % part or part >= stage.depth:
            return f"stage {stage.number}: parts of {part} do not divide {stage.depth} channels"
    boxes = TileBoxes(stages, tile, parts)
    once: set[int] = set()
    for stage in split:
        inner = {s.number for s in boxes.inner(stage)}
        if not inner:
            return f"stage {stage.number}: no stage computes the parts that it adds up"
        if inner & once or any(parts[n] for n in inner):
            return f"stage {stage.number}: what computes its parts is itself added up in parts"
        if why := _used_apart(stages, stage.number, inner):
            return f"stage {stage.number}: {why}"
        once |= inner
    return None


def _used_apart(stages: Stages, number: int, inner: Collection[int]) -> str | None:
    """Why the stages `inner` cannot run for each part that stage `number` adds up: something else needs them whole."""
    for n in inner:
        for v in stages.stages[n].group.outputs:
            readers = {s.number for s in stages.readers(v)} if v in stages.kept else set()
            if v in stages.group.outputs or not readers <= {number, *inner}:
                return f"what stage {n} computes of its parts is used elsewhere too"
    return None


class CrossLayerPlan:
    """What follows from a group and the `tile` of its frame. No MLIR here.

    `groups` has a group for every stage, with the box that a tile computes. Of stages with a number in `parts`, the
    reduction is added up in parts of so many channels, and the stages before them that compute one part run for each.
    """

    def __init__(self, group: Group, tile: Sequence[int], parts: Sequence[int] = ()) -> None:
        stages = cross_layer_stages(group)
        assert isinstance(stages, Stages), stages
        self.group, self.stages = group, stages
        self.boxes = TileBoxes(stages, tile, parts)
        self.groups: Sequence[Group] = [
            replace(stage.group, box=self.boxes.root_box(stage), root=stage.root.result, part=self.boxes.part(stage))
            for stage in stages
        ]

    @property
    def kept(self) -> dict[int, Box]:
        """The box of every value between stages."""
        return self.boxes.kept

    @property
    def tiles(self) -> tuple[int, ...]:
        """Tiles along each dimension of the frame."""
        return self.boxes.tiles

    @property
    def tile_count(self) -> int:
        return math.prod(self.tiles)

    @cached_property
    def inner(self) -> dict[int, tuple[int, ...]]:
        """For each stage that adds up parts, the stages that run for each of them."""
        return {
            s.number: tuple(i.number for i in self.boxes.inner(s)) for s in self.stages if self.boxes.parts[s.number]
        }

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The stages that run once for a tile, in the order in which they do."""
        inner = {n for numbers in self.inner.values() for n in numbers}
        return tuple(s.number for s in self.stages if s.number not in inner)

    @cached_property
    def turns(self) -> dict[int, int]:
        """When each stage has its turn: those that compute parts stand before the stage that adds them up."""
        sequence = [n for number in self.order for n in (*self.inner.get(number, ()), number)]
        return {number: turn for turn, number in enumerate(sequence)}

    @cached_property
    def lifetimes(self) -> dict[int, tuple[int, int]]:
        """The first and last turn at which the box of each kept value is in use.

        What is read for every part stays until the last part is added up.
        """
        until = {n: self.turns[number] for number, numbers in self.inner.items() for n in numbers}
        found = {}
        for v in self.stages.kept:
            writers = [s.number for s in self.stages.writers(v)]
            users = [*writers, *(s.number for s in self.stages.readers(v))]
            found[v] = min(self.turns[n] for n in writers), max(until.get(n, self.turns[n]) for n in users)
        return found
