"""How much of every value a tile touches, in numbers alone: quick enough for a search over tiles.

The same walk as `boxes.TileBoxes`, for one tile in the middle of the frame: an inner tile needs the most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlirfuse.dialect.indexing import Atom, Expr, FloorDiv, MaxOf, MinOf, Mod, Var
from mlirfuse.lowering.groups.boxes import frame_of
from mlirfuse.lowering.groups.stages import Stage, Stages

__all__ = ["Extents", "TileExtents"]

Span = tuple[int, int]  # the first position and how many
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
        lives = stages.lifetimes
        return max(
            (
                sum(math.prod(self.kept[v]) for v, (first, last) in lives.items() if first <= number <= last)
                for number in range(len(stages))
            ),
            default=0,
        )


class Extents:
    """The extents of tiles of one group; remembers what dimensions it has asked about."""

    def __init__(self, stages: Stages) -> None:
        frame = frame_of(stages)
        assert not isinstance(frame, str), frame
        self.stages, self.frame = stages, frame
        self._known: dict[tuple[Expr, int, tuple[Span, ...]], Span] = {}
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
        tile = tuple(min(t, d) for t, d in zip(tile, self.frame, strict=True))
        counts = [-(-d // t) for d, t in zip(self.frame, tile, strict=True)]
        inner = [1 if c == 2 else (c - 1) // 2 for c in counts]  # of two, the one that no stride leaves short
        middle = tuple((min(i * t, d - t), t) for i, t, d in zip(inner, tile, self.frame, strict=True))
        required: dict[int, list[tuple[Span, ...]]] = {}
        roots: list[tuple[Span, ...]] = [()] * len(self.stages)
        for stage in reversed(self.stages.stages):
            root = roots[stage.number] = self._root(stage, middle, required)
            for value, index, dims in self._reads[stage.number]:
                required.setdefault(value, []).append(self._box(index, root, dims))
        kept = {v: self._image(v, roots) for v in self.stages.kept}
        sizes = tuple(tuple(size for _, size in root) for root in roots)
        return TileExtents(tile, math.prod(counts), sizes, kept)

    def _root(
        self, stage: Stage, middle: tuple[Span, ...], required: Mapping[int, list[tuple[Span, ...]]]
    ) -> tuple[Span, ...]:
        dims = stage.root.node.out.dims
        wanted: list[tuple[Span, ...]] = []
        if stage in self.stages.sinks:
            channels = middle[1] if len(dims) > 1 and dims[1] == self.frame[1] else (0, dims[min(1, len(dims) - 1)])
            wanted.append(tuple(channels if axis == 1 else span for axis, span in enumerate(middle)))
        for value in stage.group.outputs:
            if value in required:
                box = _hull(required[value])
                wanted += [self._box(index, box, dims) for index in self._back[stage.number][value]]
        return _hull(wanted)

    def _image(self, value: int, roots: Sequence[tuple[Span, ...]]) -> tuple[int, ...]:
        dims = self.stages.group.types[value].dims
        parts = [self._box(self._land[s.number][value], roots[s.number], dims) for s in self.stages.writers(value)]
        return tuple(size for _, size in _hull(parts))

    def _box(self, index: _Index, box: tuple[Span, ...], dims: Sequence[int]) -> tuple[Span, ...]:
        found = []
        for (e, axes), dim in zip(index, dims, strict=True):
            if isinstance(e, int):  # the position of one dimension of the box
                found.append(_inside(*box[e], dim))
                continue
            key = e, dim, tuple(box[axis] for axis in axes)
            span = self._known.get(key)
            if span is None:
                span = self._known[key] = _inside(*_interval(e, {f"d{axis}": box[axis] for axis in axes}), dim)
            found.append(span)
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


def _inside(start: int, size: int, dim: int) -> Span:
    """What of a span lies inside a dimension: padding, and other parts of a concatenation, are not computed."""
    first = max(0, start)
    inside = max(1, min(dim, start + size) - first)
    return min(first, dim - inside), inside


def _hull(boxes: Sequence[tuple[Span, ...]]) -> tuple[Span, ...]:
    if len(boxes) == 1:
        return boxes[0]
    found = []
    for spans in zip(*boxes, strict=True):
        first, last = min(s for s, _ in spans), max(s + n for s, n in spans)
        found.append((first, last - first))
    return tuple(found)


def _interval(e: Expr, ranges: Mapping[str, Span]) -> Span:
    first, reach = e.constant, 0
    for atom, factor in e.terms:
        low, size = _atom(atom, ranges)
        first += (low if factor > 0 else low + size - 1) * factor
        reach += (size - 1) * abs(factor)
    return first, reach + 1


def _atom(atom: Atom, ranges: Mapping[str, Span]) -> Span:
    match atom:
        case Var() if atom.name in ranges:
            return ranges[atom.name]
        case FloorDiv():
            low, size = _interval(atom.value, ranges)
            if low % atom.divisor == 0:  # as for every tile, where tiles divide
                return low // atom.divisor, (size - 1) // atom.divisor + 1
            return low // atom.divisor, -(-(size - 1) // atom.divisor) + 1
        case Mod():
            low, size = _interval(atom.value, ranges)
            if low // atom.divisor == (low + size - 1) // atom.divisor:
                return low % atom.divisor, size
        case MinOf() | MaxOf():
            a, b = _interval(atom.a, ranges), _interval(atom.b, ranges)
            pick = min if isinstance(atom, MinOf) else max
            low = pick(a[0], b[0])
            return low, pick(a[0] + a[1], b[0] + b[1]) - low
    low, high = atom.range
    return low, high - low + 1
