"""The reuse analysis: which box of every value the stages of a group need for one tile of its outputs.

Tiles cut the *frame*, the dimensions of the last sink's result. From the tile's box the stages are walked backwards:
what a stage reads for its box, halo included, is what the stages before it have to leave; a value with several readers
keeps the hull of what they read. Boxes have the same size for every tile and lie inside their value: at a border they
are moved inwards, so that nothing is computed that does not exist.

The number of a tile along axis i is the variable `t<i>`; starts are expressions of these. Where the blocks of a cluster
share a tile, each computes its part of the channels of a stage's box; the number of the block is the variable `c`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

from mlirfuse.dialect.indexing import Expr, Var, minimum, var
from mlirfuse.lowering.groups.box import Box, Span, share_of
from mlirfuse.lowering.groups.hulls import hull_of, image_of
from mlirfuse.lowering.groups.lines import WALKED, Walk
from mlirfuse.lowering.groups.reads import Read
from mlirfuse.lowering.groups.stages import Stage, Stages

__all__ = ["Box", "TileBoxes", "frame_of"]


def frame_of(stages: Stages) -> tuple[int, ...] | str:
    """The dimensions that tiles cut: those of the last sink's result. Sinks may differ in channels (dimension 1) alone.

    Gives the reason where sinks have no dimensions in common.
    """
    frame = stages.sinks[-1].root.node.out.dims
    if not frame:
        return "a scalar is not cut into tiles"
    for sink in stages.sinks:
        dims = sink.root.node.out.dims
        if len(dims) != len(frame) or any(a != b for i, (a, b) in enumerate(zip(dims, frame, strict=True)) if i != 1):
            return f"outputs of {dims} and {frame} are not cut into tiles together"
    return frame


class TileBoxes:
    """Everything that one tile touches. `tile` has the extent of a tile along each dimension of the frame.

    Where sinks have different numbers of channels, `tile` must not cut these (it has the frame's own). A stage with a
    number in `parts` adds up so many positions at a time of the first dimension that its root reduces: stages before it
    that only it reads then compute what one such part needs, and run once for each; its number is the variable
    `p<stage>`. A tile is computed by the `cluster` blocks of a cluster together. A block walks over `walk` tiles along
    the first spatial dimension, and takes over what they have in common (`lines`).
    """

    def __init__(
        self, stages: Stages, tile: Sequence[int], parts: Sequence[int] = (), cluster: int = 1, walk: int = 1
    ) -> None:
        frame = frame_of(stages)
        assert not isinstance(frame, str), frame
        self.stages, self.frame = stages, frame
        self.tile = tuple(min(size, dim) for size, dim in zip(tile, frame, strict=True))
        self.parts = tuple(parts) or (0,) * len(stages)
        self.cluster = cluster
        self._roots: dict[int, Box] = {}
        self._reads: dict[int, list[tuple[int, Box]]] = {}
        required: dict[int, list[Box]] = {}
        for stage in reversed(stages.stages):
            self._walk(stage, required)
        self.kept = {v: self._image(v) for v in stages.kept}
        self.walk = Walk(self, walk) if walk > 1 else None

    @cached_property
    def walks(self) -> tuple[int, ...]:
        """What blocks are handed: tiles along each dimension of the frame, or walks of several."""
        if self.walk is None:
            return self.tiles
        return (*self.tiles[:WALKED], self.tiles[WALKED] // self.walk.length, *self.tiles[WALKED + 1 :])

    @cached_property
    def tiles(self) -> tuple[int, ...]:
        """Tiles along each dimension of the frame."""
        return tuple(-(-dim // size) for dim, size in zip(self.frame, self.tile, strict=True))

    @cached_property
    def numbers(self) -> tuple[Expr, ...]:
        """The variables that number a tile."""
        return tuple(var(f"t{axis}", count) for axis, count in enumerate(self.tiles))

    def root_box(self, stage: Stage) -> Box:
        """The box of a stage's root's result that it computes."""
        return self._roots[stage.number]

    @cached_property
    def rank(self) -> Expr:
        """The variable that numbers the blocks of a cluster."""
        return var("c", self.cluster)

    def share(self, stage: Stage) -> Box:
        """What one block computes of a stage's box at a time: its part of the channels, or all where they do not
        divide; in a walk, a strip."""
        box = self.root_box(stage) if self.walk is None else self.walk.strips[stage.number]
        sizes = share_of(box.sizes, self.cluster)
        if sizes == box.sizes:
            return box
        return Box((box.start[0], box.start[1] + self.rank * sizes[1], *box.start[2:]), sizes)

    def is_shared(self, stage: Stage) -> bool:
        """Whether each block of a cluster computes a part of a stage's box."""
        return share_of(self.root_box(stage).sizes, self.cluster) != self.root_box(stage).sizes

    def reads(self, stage: Stage) -> Sequence[tuple[int, Box]]:
        """The boxes of kept values and operands that a stage reads, its epilogue included; one for each use."""
        return self._reads[stage.number]

    def part(self, stage: Stage) -> Span | None:
        """What a stage adds up at a time, if not all."""
        size = self.parts[stage.number]
        return Span(self.part_number(stage) * size, size) if size else None

    def part_number(self, stage: Stage) -> Expr:
        """The variable that numbers the parts of a stage's reduction."""
        size = self.parts[stage.number]
        return var(f"p{stage.number}", stage.depth // size) if size else Expr(0)

    def inner(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages that run once for each part of this one's reduction."""
        number = self.part_number(stage).variables()
        return tuple(s for s in self.stages if any(e.variables() & number for e in self._roots[s.number].start))

    @cached_property
    def inner_stages(self) -> dict[int, tuple[int, ...]]:
        """The numbers of these, for each stage that adds up parts."""
        return {s.number: tuple(i.number for i in self.inner(s)) for s in self.stages if self.parts[s.number]}

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The stages that run once for a tile, in the order in which they do."""
        inner = {n for numbers in self.inner_stages.values() for n in numbers}
        return tuple(s.number for s in self.stages if s.number not in inner)

    @cached_property
    def turns(self) -> dict[int, int]:
        """When each stage has its turn: those that compute parts stand before the stage that adds them up."""
        sequence = [n for number in self.order for n in (*self.inner_stages.get(number, ()), number)]
        return {number: turn for turn, number in enumerate(sequence)}

    @cached_property
    def lifetimes(self) -> dict[int, tuple[int, int]]:
        """The first and last turn at which the box of each kept value is in use.

        What is read for every part stays until the last part is added up.
        """
        until = {n: self.turns[number] for number, numbers in self.inner_stages.items() for n in numbers}
        found = {}
        for v in self.stages.kept:
            writers = [s.number for s in self.stages.writers(v)]
            users = [*writers, *(s.number for s in self.stages.readers(v))]
            found[v] = min(self.turns[n] for n in writers), max(until.get(n, self.turns[n]) for n in users)
        return found

    def own(self, stage: Stage) -> list[tuple[int, Expr, int]]:
        """(axis, first, size) of the part of a sink's result that this tile alone stores, where its box holds more."""
        box, found = self._roots[stage.number], []
        for axis, (dim, size, number) in enumerate(zip(self._dims(stage), self.tile, self.numbers, strict=True)):
            whole = axis == 1 and self._dims(stage)[1] != self.frame[1]
            if not whole and (dim % size or box.sizes[axis] != size):
                found.append((axis, number * size, size))
        return found

    def runs(self, stage: Stage) -> int:
        """How many times a block computes a stage's box for one tile, or its strip for one walk: once for each part
        of a reduction that it is read for."""
        if self.walk is not None:
            return self.walk.runs(stage)
        readers = [n for n, inner in self.inner_stages.items() if stage.number in inner]
        return math.prod(self.stages.stages[n].depth // self.parts[n] for n in readers)

    def computed(self, stage: Stage) -> int:
        """Elements of a stage's root that all tiles together compute."""
        return math.prod(self.walks) * self.runs(stage) * self.cluster * self.share(stage).elements

    @property
    def recomputed_flops(self) -> float:
        """Operations of all tiles beyond those of the group: what several tiles compute."""
        done = sum(self.computed(s) * s.flops_per_element for s in self.stages)
        return max(0.0, done - self.stages.group.flops)

    # -- the walk

    def _dims(self, stage: Stage) -> tuple[int, ...]:
        return stage.root.node.out.dims

    def _walk(self, stage: Stage, required: dict[int, list[Box]]) -> None:
        dims = self._dims(stage)
        wanted = [self.tile_box(stage)] if stage in self.stages.sinks else []
        for value in stage.group.outputs:
            if value in required:
                box = hull_of(required[value], stage.group.types[value].dims)
                wanted += [image_of(index, box, dims) for index in stage.root_index(value)]
        self._roots[stage.number] = root = hull_of(wanted, dims)
        reads = self._reads[stage.number] = []
        number = self.part_number(stage).variables()
        for read in (*self._root_reads(stage), *stage.epilogue_reads):
            box = image_of(read.index, root, stage.group.types[read.value].dims, number)
            reads.append((read.value, box))
            if read.value not in self.stages.group.inputs:
                required.setdefault(read.value, []).append(box)

    def _root_reads(self, stage: Stage) -> Sequence[Read]:
        part, depth = self.part(stage), stage.depth_variable
        if part is None or depth is None:
            return stage.root_reads
        here: dict[Var, Expr] = {depth: part.start + var("part", part.size)}
        return [
            Read(
                r.value,
                tuple(e.substitute(here) for e in r.index),
                tuple(c.substitute(here) for c in r.conditions),
                r.trips * part.size // stage.depth,
            )
            for r in stage.root_reads
        ]

    def tile_box(self, stage: Stage) -> Box:
        """The part of a sink's result that is in the tile."""
        dims, starts, sizes = self._dims(stage), [], []
        for axis, (dim, size, number) in enumerate(zip(dims, self.tile, self.numbers, strict=True)):
            if axis == 1 and dim != self.frame[1]:
                starts.append(Expr(0))
                sizes.append(dim)
                continue
            starts.append(number * size if dim % size == 0 else minimum(number * size, dim - size))
            sizes.append(size)
        return Box(tuple(starts), tuple(sizes))

    def _image(self, value: int) -> Box:
        """The box of a kept value that its writers fill."""
        dims = self.stages.group.types[value].dims
        parts = [image_of(s.landing[value], self._roots[s.number], dims) for s in self.stages.writers(value)]
        return hull_of(parts, dims)
