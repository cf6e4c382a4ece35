"""Groups computed in stages, a tile of their outputs after the other: what follows from a group and a tile.

for each tile of the frame:
    for each stage:  the box of its root's result, epilogue applied;  what later stages read stays beside the tile
                     and, in a walk, what the next tile reads of it

Each stage is a group of its own with a box; the schedules and emitters of single groups serve it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.boxes import TileBoxes, frame_of
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.in_parts import part_problem
from mlirfuse.lowering.groups.lines import walk_problem
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


def tile_problem(stages: Stages, tile: Sequence[int], parts: Sequence[int] = (), walk: int = 1) -> str | None:
    """Why tiles of these sizes, with reductions in parts or in walks of so many, do not compute a group, or None."""
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
    if any(parts):
        return "blocks that walk add up no parts" if walk != 1 else part_problem(stages, tile, parts)
    return None if walk == 1 else walk_problem(TileBoxes(stages, tile), walk)


class CrossLayerPlan:
    """What follows from a group and the `tile` of its frame. No MLIR here.

    `groups` has a group for every stage, with the box that a tile computes. Of stages with a number in `parts`, the
    reduction is added up in parts of so many channels, and the stages before them that compute one part run for each.
    Where `cluster` blocks share a tile, the box of a stage is what one of them computes; where a block walks over
    `walk` tiles, it is a strip.
    """

    def __init__(
        self, group: Group, tile: Sequence[int], parts: Sequence[int] = (), cluster: int = 1, walk: int = 1
    ) -> None:
        stages = cross_layer_stages(group)
        assert isinstance(stages, Stages), stages
        self.group, self.stages = group, stages
        self.boxes = TileBoxes(stages, tile, parts, cluster, walk)
        self.groups: Sequence[Group] = [
            replace(stage.group, box=self.boxes.share(stage), root=stage.root.result, part=self.boxes.part(stage))
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

    @property
    def walks(self) -> tuple[int, ...]:
        """Walks along each dimension of the frame: tiles, unless a block computes several."""
        return self.boxes.walks

    @cached_property
    def lines(self) -> Mapping[int, Box]:
        """The part of the box of kept values that a tile takes over from the one before it."""
        return {} if self.boxes.walk is None else self.boxes.walk.line_boxes

    def saved_after(self, stage: int) -> tuple[int, ...]:
        """The values whose lines are complete when a stage has run."""
        return tuple(v for v in self.lines if self.stages.writers(v)[-1].number == stage)

    def taken_before(self, stage: int) -> tuple[int, ...]:
        """The values whose lines are taken over before a stage, the first that adds to them."""
        return tuple(v for v in self.lines if self.stages.writers(v)[0].number == stage)

    @property
    def inner(self) -> dict[int, tuple[int, ...]]:
        """For each stage that adds up parts, the stages that run for each of them."""
        return self.boxes.inner_stages

    @property
    def order(self) -> tuple[int, ...]:
        """The stages that run once for a tile, in the order in which they do."""
        return self.boxes.order

    @property
    def turns(self) -> dict[int, int]:
        """When each stage has its turn."""
        return self.boxes.turns

    @property
    def lifetimes(self) -> dict[int, tuple[int, int]]:
        """The first and last turn at which the box of each kept value is in use."""
        return self.boxes.lifetimes
