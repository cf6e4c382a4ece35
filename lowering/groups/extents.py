"""How much of every value a tile touches, in numbers alone: quick enough for a search over tiles.

The same walk as `boxes.TileBoxes`, for one tile in the middle of the frame: an inner tile needs the most. All tiles of
a search are walked at once: a position is an array with one number for each of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlirfuse.dialect.indexing import Atom, Expr, FloorDiv, MaxOf, MinOf, Mod, Var
from mlirfuse.lowering.groups.boxes import frame_of
from mlirfuse.lowering.groups.stages import Stage, Stages

__all__ = ["Extents", "TileExtents"]

Position = npt.NDArray[np.int64]
Span = tuple[Position, Position]  # the first position and how many, of each tile
_Index = tuple[tuple[Expr | int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class TileExtents:
    """Sizes of boxes for one tile: of each stage's root, and of kept values."""

    tile: tuple[int, ...]
    tiles: int
    roots: tuple[tuple[int, ...], ...]
    kept: Mapping[int, tuple[int, ...]]

    def shared_elements(self, stages: Stages) -> int:
        """The most elements of kept boxes that are alive at once."""
        elements = {v: math.prod(sizes) for v, sizes in self.kept.items()}
        return max((sum(elements[v] for v in alive) for alive in stages.alive), default=0)


class Extents:
    """The extents of tiles of one group."""

    def __init__(self, stages: Stages) -> None:
        frame = frame_of(stages)
        assert not isinstance(frame, str), frame
        self.stages, self.frame = stages, frame
        inputs = set(stages.group.inputs)
        reads = [[r for r in (*s.root_reads, *s.epilogue_reads) if r.value not in inputs] for s in stages]
        self._reads = [
            [(r.value, self._dimensions(r.index), stages.group.types[r.value].dims) for r in found] for found in reads
        ]
        self._back = [
            {v: [self._dimensions(index) for index in s.root_index(v)] for v in s.group.outputs} for s in stages
        ]
        self._land = [{v: self._dimensions(s.landing[v]) for v in s.group.outputs} for s in stages]

    def of(self, tile: Sequence[int]) -> TileExtents:
        """What a tile of these sizes along the frame touches."""
        return self.of_all([tile])[0]

    def of_all(self, tiles: Sequence[Sequence[int]]) -> list[TileExtents]:
        """The same for each of several tiles."""
        dims = np.array(self.frame)
        cut = np.minimum(np.array(tiles, dtype=np.int64).reshape(len(tiles), len(dims)), dims)
        counts = -(-dims // cut)
        inner = np.where(counts == 2, 1, (counts - 1) // 2)  # of two, the one that no stride leaves short
        firsts = np.minimum(inner * cut, dims - cut)
        middle = tuple((firsts[:, axis], cut[:, axis]) for axis in range(len(dims)))
        required: dict[int, list[tuple[Span, ...]]] = {}
        roots: list[tuple[Span, ...]] = [()] * len(self.stages)
        for stage in reversed(self.stages.stages):
            root = roots[stage.number] = self._root(stage, middle, required)
            for value, index, extent in self._reads[stage.number]:
                required.setdefault(value, []).append(self._box(index, root, extent))
        kept = {v: _sizes(self._image(v, roots), len(tiles)) for v in self.stages.kept}
        sizes = [_sizes(root, len(tiles)) for root in roots]
        numbers = counts.prod(axis=1).tolist()
        return [
            TileExtents(
                tuple(tile), number, tuple(root[i] for root in sizes), {v: found[i] for v, found in kept.items()}
            )
            for i, (tile, number) in enumerate(zip(cut.tolist(), numbers, strict=True))
        ]

    def _root(
        self, stage: Stage, middle: tuple[Span, ...], required: Mapping[int, list[tuple[Span, ...]]]
    ) -> tuple[Span, ...]:
        dims = stage.root.node.out.dims
        wanted: list[tuple[Span, ...]] = []
        if stage in self.stages.sinks:
            cut = len(dims) > 1 and dims[1] == self.frame[1]
            channels = middle[1] if cut else _whole(dims[min(1, len(dims) - 1)])
            wanted.append(tuple(channels if axis == 1 else span for axis, span in enumerate(middle)))
        for value in stage.group.outputs:
            if value in required:
                box = _hull(required[value])
                wanted += [self._box(index, box, dims) for index in self._back[stage.number][value]]
        return _hull(wanted)

    def _image(self, value: int, roots: Sequence[tuple[Span, ...]]) -> tuple[Span, ...]:
        dims = self.stages.group.types[value].dims
        parts = [self._box(self._land[s.number][value], roots[s.number], dims) for s in self.stages.writers(value)]
        return _hull(parts)

    def _box(self, index: _Index, box: tuple[Span, ...], dims: Sequence[int]) -> tuple[Span, ...]:
        found = []
        for (e, axes), dim in zip(index, dims, strict=True):
            if isinstance(e, int):  # the position of one dimension of the box
                found.append(_inside(*box[e], dim))
                continue
            found.append(_inside(*_interval(e, {f"d{axis}": box[axis] for axis in axes}), dim))
        return tuple(found)

    @staticmethod
    def _dimensions(index: Sequence[Expr]) -> _Index:
        """Each dimension's expression with the dimensions of the box that it depends on; its number where it is one."""
        found: list[tuple[Expr | int, tuple[int, ...]]] = []
        for e in index:
            named = [v.name for v in e.variables()]
            axes = tuple(sorted(int(n[1:]) for n in named if n[0] == "d" and n[1:].isdigit()))
            alone = len(e.terms) == 1 and not e.constant and e.terms[0][1] == 1 and isinstance(e.terms[0][0], Var)
            found.append((axes[0], axes) if alone and axes else (e, axes))
        return tuple(found)


def _whole(dim: int) -> Span:
    return np.array([0]), np.array([dim])


def _inside(start: Position, size: Position, dim: int) -> Span:
    """What of a span lies inside a dimension: padding, and other parts of a concatenation, are not computed."""
    first = np.maximum(0, start)
    inside = np.maximum(1, np.minimum(dim, start + size) - first)
    return np.minimum(first, dim - inside), inside


def _sizes(box: tuple[Span, ...], count: int) -> list[tuple[int, ...]]:
    """How large a box is, for each tile."""
    return list(zip(*(np.broadcast_to(size, count).tolist() for _, size in box), strict=True)) if box else [()] * count


def _hull(boxes: Sequence[tuple[Span, ...]]) -> tuple[Span, ...]:
    if len(boxes) == 1:
        return boxes[0]
    found = []
    for spans in zip(*boxes, strict=True):
        first, end = spans[0][0], spans[0][0] + spans[0][1]
        for start, size in spans[1:]:
            first, end = np.minimum(first, start), np.maximum(end, start + size)
        found.append((first, end - first))
    return tuple(found)


def _interval(e: Expr, ranges: Mapping[str, Span]) -> Span:
    first, reach = np.array([e.constant]), np.array([0])
    for atom, factor in e.terms:
        low, size = _atom(atom, ranges)
        first = first + (low if factor > 0 else low + size - 1) * factor
        reach = reach + (size - 1) * abs(factor)
    return first, reach + 1


def _atom(atom: Atom, ranges: Mapping[str, Span]) -> Span:
    match atom:
        case Var() if atom.name in ranges:
            return ranges[atom.name]
        case FloorDiv():
            low, size = _interval(atom.value, ranges)
            whole = low % atom.divisor == 0  # as for every tile, where tiles divide
            last = np.where(whole, (size - 1) // atom.divisor, -(-(size - 1) // atom.divisor))
            return low // atom.divisor, last + 1
        case Mod():
            low, size = _interval(atom.value, ranges)
            inside = low // atom.divisor == (low + size - 1) // atom.divisor
            least, most = atom.range
            return np.where(inside, low % atom.divisor, least), np.where(inside, size, most - least + 1)
        case MinOf() | MaxOf():
            a, b = _interval(atom.a, ranges), _interval(atom.b, ranges)
            pick = np.minimum if isinstance(atom, MinOf) else np.maximum
            low = pick(a[0], b[0])
            return low, pick(a[0] + a[1], b[0] + b[1]) - low
    least, most = atom.range
    return np.array([least]), np.array([most - least + 1])
