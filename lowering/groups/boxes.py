"""The reuse analysis: which box of every value the stages of a group need for one tile of its outputs.

Tiles cut the *frame*, the dimensions of the last sink's result. From the tile's box the stages are walked backwards:
what a stage reads for its box, halo included, is what the stages before it have to leave; a value with several readers
keeps the hull of what they read. Boxes have the same size for every tile and lie inside their value: at a border they
are moved inwards, so that nothing is computed that does not exist.

The number of a tile along axis i is the variable `t<i>`; starts are expressions of these. Where the blocks of a cluster
share a tile, each computes its part of the channels of a stage's box; the number of the block is the variable `c`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

from mlirfuse.dialect.indexing import Expr, Fetch, FloorDiv, Var, maximum, minimum, var
from mlirfuse.lowering.groups.box import Box, Span, share_of
from mlirfuse.lowering.groups.reads import Read
from mlirfuse.lowering.groups.stages import Stage, Stages

__all__ = ["Box", "TileBoxes", "frame_of"]

_MOST_TILES = 1 << 14  # tile numbers that are walked through to join boxes whose starts differ by no constant


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
    `p<stage>`. A tile is computed by the `cluster` blocks of a cluster together.
    """

    def __init__(self, stages: Stages, tile: Sequence[int], parts: Sequence[int] = (), cluster: int = 1) -> None:
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
        """What one block computes of a stage's box: its part of the channels, or all where they do not divide."""
        box = self.root_box(stage)
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

    @cached_property
    def kept_elements(self) -> dict[int, int]:
        """Elements of the box of each kept value."""
        return {v: box.elements for v, box in self.kept.items()}

    def flops(self, stage: Stage) -> float:
        """Operations that all blocks of a tile do for a stage."""
        return self.cluster * self.share(stage).elements * stage.flops_per_element

    @property
    def recomputed_flops(self) -> float:
        """Operations of all tiles beyond those of the group: what lies in the boxes of several tiles."""
        tiles = math.prod(self.tiles)
        return max(0.0, tiles * sum(self.flops(s) for s in self.stages) - self.stages.group.flops)

    # -- the walk

    def _dims(self, stage: Stage) -> tuple[int, ...]:
        return stage.root.node.out.dims

    def _walk(self, stage: Stage, required: dict[int, list[Box]]) -> None:
        dims = self._dims(stage)
        wanted = [self._tile_box(dims)] if stage in self.stages.sinks else []
        for value in stage.group.outputs:
            if value in required:
                box = _hull(required[value], stage.group.types[value].dims)
                wanted += [_box_of(index, box, dims) for index in stage.root_index(value)]
        self._roots[stage.number] = root = _hull(wanted, dims)
        reads = self._reads[stage.number] = []
        number = self.part_number(stage).variables()
        for read in (*self._root_reads(stage), *stage.epilogue_reads):
            box = _box_of(read.index, root, stage.group.types[read.value].dims, number)
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

    def _tile_box(self, dims: tuple[int, ...]) -> Box:
        starts, sizes = [], []
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
        parts = [_box_of(s.landing[value], self._roots[s.number], dims) for s in self.stages.writers(value)]
        return _hull(parts, dims)


# -- intervals


def _box_of(index: Sequence[Expr], box: Box, dims: Sequence[int], outside: frozenset[Var] = frozenset()) -> Box:
    """The box that an index in `out_variables` reaches as these run through a box, inside `dims`.

    Variables in which the box starts, and those `outside`, stand still.
    """
    local = [var(f"l{axis}", size) for axis, size in enumerate(box.sizes)]
    by_name = {f"d{axis}": start + inner for axis, (start, inner) in enumerate(zip(box.start, local, strict=True))}
    outside = outside | {v for e in box.start for v in e.variables()}
    starts, sizes = [], []
    for e, dim in zip(index, dims, strict=True):
        found = {v: by_name[v.name] for v in e.variables() if v.name in by_name}
        first, reach = _interval(e.substitute(found), outside)
        size = _most_inside(first, reach + 1, dim)
        starts.append(_inside(first, dim - size))
        sizes.append(size)
    return Box(tuple(starts), tuple(sizes))


def _inside(start: Expr, largest: int) -> Expr:
    return _simplified(minimum(maximum(start, 0), largest)) if largest else Expr(0)


def _simplified(start: Expr) -> Expr:
    """Of two tiles, any start is a multiple of the tile's number."""
    variables = start.variables()
    if len(variables) != 1:
        return start
    (t,) = variables
    if t.hi - t.lo != 1:
        return start
    low, high = start.evaluate({t: t.lo}), start.evaluate({t: t.hi})
    return (Expr(0, ((t, 1),)) - t.lo) * (high - low) + low


def _most_inside(start: Expr, size: int, dim: int) -> int:
    """The most elements of a part that are inside `dim` in any one tile.

    Where every tile meets a border, as each of two does, no box has to hold the halo of both its sides.
    """
    variables = sorted(start.variables(), key=lambda v: v.name)
    lo, hi = start.range
    if (lo >= 0 and hi + size <= dim) or math.prod(v.hi - v.lo + 1 for v in variables) > _MOST_TILES:
        return min(size, dim)
    most = 1
    for point in itertools.product(*(range(v.lo, v.hi + 1) for v in variables)):
        first = start.evaluate(dict(zip(variables, point, strict=True)))
        most = max(most, min(dim, first + size) - max(0, first))
        if most == min(size, dim):
            break
    return most


def _interval(e: Expr, outside: Collection[Var]) -> tuple[Expr, int]:
    """The least value of an expression, in the variables `outside`, and how far it reaches as all others run."""
    first, reach = Expr(e.constant), 0
    for atom, factor in e.terms:
        low, far = _atom_interval(Expr(0, ((atom, 1),)), outside)
        first = first + (low if factor > 0 else low + far) * factor
        reach += far * abs(factor)
    return first, reach


def _atom_interval(e: Expr, outside: Collection[Var]) -> tuple[Expr, int]:
    atom = e.terms[0][0]
    variables = e.variables()
    if isinstance(atom, Fetch) or not variables & set(outside):
        lo, hi = atom.range
        return Expr(lo), hi - lo
    if variables <= set(outside):
        return e, 0
    if isinstance(atom, FloorDiv):
        low, far = _interval(atom.value, outside)
        return low // atom.divisor, -(-far // atom.divisor)
    lo, hi = atom.range
    return Expr(lo), hi - lo


def _hull(boxes: Sequence[Box], dims: Sequence[int]) -> Box:
    """The smallest box of one size that holds all of them, for every tile."""
    if len(set(boxes)) == 1:
        return boxes[0]
    starts, sizes = [], []
    for axis, dim in enumerate(dims):
        start, size = _hull_along({(b.start[axis], b.sizes[axis]) for b in boxes}, dim)
        starts.append(start)
        sizes.append(size)
    return Box(tuple(starts), tuple(sizes))


def _hull_along(parts: set[tuple[Expr, int]], dim: int) -> tuple[Expr, int]:
    ordered = sorted(parts, key=lambda p: (repr(p[0]), p[1]))
    if len(ordered) == 1:
        return ordered[0]
    distances = [start - ordered[0][0] for start, _ in ordered]
    if all(d.is_constant for d in distances):
        low = min(d.constant for d in distances)
        size = max(d.constant + s for d, (_, s) in zip(distances, ordered, strict=True)) - low
        first = ordered[0][0] + low
    else:
        size = _widest(ordered, dim)
        first = ordered[0][0]
        for start, _ in ordered[1:]:
            first = minimum(first, start)
    size = min(size, dim)
    return _inside(first, dim - size), size


def _widest(parts: Sequence[tuple[Expr, int]], dim: int) -> int:
    variables = sorted({v for start, _ in parts for v in start.variables()}, key=lambda v: v.name)
    if math.prod(v.hi - v.lo + 1 for v in variables) > _MOST_TILES:
        return dim
    widest = 0
    for point in itertools.product(*(range(v.lo, v.hi + 1) for v in variables)):
        values: Mapping[Var, int] = dict(zip(variables, point, strict=True))
        found = [(start.evaluate(values), size) for start, size in parts]
        widest = max(widest, max(s + n for s, n in found) - min(s for s, _ in found))
    return widest
