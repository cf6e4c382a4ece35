"""Which memory a set of elements lies in: distinct sectors of 32 bytes, from index expressions alone.

An access is the set of addresses `sum(stride * index)` as its variables run through their ranges, where all its
conditions hold. Variables that no dimension and no condition has in common are independent: the set is then the sum of
one small set for each of them (rows, columns and channels of a convolution), and is never listed element by element.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlirfuse.dialect.indexing import Atom, Condition, Expr, Fetch, FloorDiv, MaxOf, MinOf, Mod, Var, var

__all__ = ["SECTOR_BYTES", "Sectors", "whole_sectors"]

SECTOR_BYTES = 32  # what DRAM and the second cache of GPUs move at least
_MOST_POINTS = 1 << 24  # combinations of variables that are listed; an access with more is taken to be of everything

Array = np.ndarray[Any, Any]


def whole_sectors(size: int) -> int:
    """Bytes of the sectors that a buffer of `size` bytes takes."""
    return -(-size // SECTOR_BYTES) * SECTOR_BYTES


class Sectors:
    """The sectors of one value that accesses touch.

    `strides` are in elements of `element_bytes`; the first element lies at byte `offset` of the buffer, which starts at
    a whole sector.
    """

    def __init__(self, dims: Sequence[int], strides: Sequence[int], element_bytes: int, offset: int = 0) -> None:
        self._dims, self._strides = tuple(dims), tuple(strides)
        self._item, self._offset = element_bytes, offset % SECTOR_BYTES
        self._runs: dict[tuple[bytes, int], tuple[Array, int]] = {}
        self._fetched: dict[tuple[Expr, ...], int] = {}  # sectors that runs may touch whose places are fetched

    def touch_all(self) -> None:
        """Every element."""
        self.touch([Expr(0, ((Var(f"d{i}", 0, n - 1), 1),)) for i, n in enumerate(self._dims)])

    def touch(self, index: Sequence[Expr], conditions: Iterable[Condition] = ()) -> None:
        """The elements at `index`, for all values of its variables for which the conditions hold.

        An index that is fetched from a tensor is any of as many as there are places to fetch it from.
        """
        if not math.prod(self._dims):
            return
        terms = _named(index)
        known = [c for c in conditions if not _fetches([c.value])]
        parts = _independent_parts(terms, self._strides, known)
        if parts is None:
            self.touch_all()
        elif all(len(p) for p in parts):
            starts, run = _runs(parts)
            if _fetches(index) and len(starts) * run < math.prod(self._dims):
                self._fetched[tuple(index)] = len(starts) * self._most(index, run)
            else:
                self._runs[starts.tobytes(), run] = starts, run

    def _most(self, index: Sequence[Expr], run: int) -> int:
        """How many sectors a run touches at most, wherever it starts among the places that may be fetched."""
        steps = (s for e, s in zip(index, self._strides, strict=True) if _fetches([e]))
        grain = math.gcd(SECTOR_BYTES, self._offset, *(s * self._item for s in steps))
        return -(-(run * self._item + SECTOR_BYTES - grain) // SECTOR_BYTES)

    @property
    def count(self) -> int:
        """Distinct sectors; what is fetched counts as if no two fetches shared one, but the same fetch twice."""
        if not self._fetched:
            return self._spanned
        whole = Sectors(self._dims, self._strides, self._item, self._offset)
        whole.touch_all()
        return min(whole._spanned, self._spanned + sum(self._fetched.values()))

    @property
    def _spanned(self) -> int:
        """Of the runs whose places are known."""
        if not self._runs:
            return 0
        spans = [(self._first(starts), self._last(starts, run)) for starts, run in self._runs.values()]
        low, high = min(int(f[0]) for f, _ in spans), max(int(last[-1]) for _, last in spans)
        if any(len(f) == 1 and (int(f[0]), int(last[0])) == (low, high) for f, last in spans):
            return high - low + 1
        edges = np.zeros(high - low + 2, np.int64)
        for first, last in spans:
            edges += np.bincount(first - low, minlength=len(edges))
            edges -= np.bincount(last - low + 1, minlength=len(edges))
        return int(np.count_nonzero(np.cumsum(edges)))

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return self.count * SECTOR_BYTES

    def _first(self, starts: Array) -> Array:
        return (starts * self._item + self._offset) // SECTOR_BYTES

    def _last(self, starts: Array, run: int) -> Array:
        return ((starts + run) * self._item - 1 + self._offset) // SECTOR_BYTES


def _runs(parts: Sequence[Array]) -> tuple[Array, int]:
    """The sum of sets of addresses as runs of neighbours: their sorted starts, and the length of each."""
    run, apart = _neighbours(parts)
    starts = np.array([sum(int(p[0]) for p in parts)], np.int64)
    for part in reversed(apart):
        starts = np.add.outer(starts, part).reshape(-1)
    return np.sort(starts), run


def _neighbours(parts: Sequence[Array]) -> tuple[int, list[Array]]:
    """How many neighbours the finest sets add up to, and the other sets (all from 0 on)."""
    run, apart = 1, list[Array]()
    for part in sorted((p - p[0] for p in parts if len(p) > 1), key=lambda p: (int(p[1]), len(p))):
        if not apart and np.array_equal(part, np.arange(len(part), dtype=np.int64) * run):
            run *= len(part)
        else:
            apart.append(part)
    return run, apart


@dataclass
class _Part:
    """What variables have in common: the terms of an address, and conditions."""

    variables: frozenset[Var]
    terms: list[tuple[Expr, int]]
    conditions: list[Condition]

    @property
    def points(self) -> int:
        return math.prod(v.hi - v.lo + 1 for v in self.variables)


def _independent_parts(
    index: Sequence[Expr], strides: Sequence[int], conditions: Sequence[Condition]
) -> list[Array] | None:
    """Sets of addresses whose sum is that of the access; None if there are too many combinations to list."""
    parts: list[_Part] = []
    for e, stride in zip(index, strides, strict=True):
        _join(parts, _Part(e.variables(), [(e, stride)], []))
    for c in conditions:
        _join(parts, _Part(c.value.variables(), [], [c]))
    if any(p.points > _MOST_POINTS for p in parts):
        return None
    found = [_listed(p) for p in parts]
    many = all(len(f) for f in found) and math.prod(map(len, _neighbours(found)[1])) > _MOST_POINTS
    return None if many else found


def _join(parts: list[_Part], new: _Part) -> None:
    """Add a part, together with those that have variables of it."""
    for part in [p for p in parts if p.variables & new.variables]:
        parts.remove(part)
        terms, conditions = part.terms + new.terms, part.conditions + new.conditions
        new = _Part(part.variables | new.variables, terms, conditions)
    parts.append(new)


def _listed(part: _Part) -> Array:
    """The distinct sums of terms over all values of the variables for which the conditions hold, sorted."""
    variables = sorted(part.variables, key=lambda v: v.name)
    shape = tuple(v.hi - v.lo + 1 for v in variables)
    grid = np.ix_(*(np.arange(v.lo, v.hi + 1, dtype=np.int64) for v in variables))
    values = dict(zip(variables, grid, strict=True))
    address = np.zeros((1,) * len(shape), np.int64)
    for e, stride in part.terms:
        address = address + _evaluate(e, values) * stride
    if not part.conditions:
        return np.unique(address)
    holds = np.ones((1,) * len(shape), np.bool_)
    for c in part.conditions:
        value = _evaluate(c.value, values)
        holds = holds & (value >= c.lo) & (value <= c.hi)
    return np.unique(np.broadcast_to(address, shape)[np.broadcast_to(holds, shape)])


def _evaluate(e: Expr, values: Mapping[Var, Array]) -> Any:
    total: Any = np.int64(e.constant)
    for atom, factor in e.terms:
        total = total + _evaluate_atom(atom, values) * factor
    return total


def _evaluate_atom(atom: Atom, values: Mapping[Var, Array]) -> Any:
    match atom:
        case Var():
            return values[atom]
        case FloorDiv():
            return _evaluate(atom.value, values) // atom.divisor
        case Mod():
            return _evaluate(atom.value, values) % atom.divisor
        case MinOf():
            return np.minimum(_evaluate(atom.a, values), _evaluate(atom.b, values))
        case MaxOf():
            return np.maximum(_evaluate(atom.a, values), _evaluate(atom.b, values))
        case Fetch():
            raise AssertionError("fetches have been given variables")


def _fetches(index: Sequence[Expr]) -> list[Fetch]:
    found: list[Fetch] = []

    def note(one: Fetch) -> Expr:
        found.append(one)
        return Expr(0)

    for e in index:
        e.rewrite_fetches(note)
    return found


def _named(index: Sequence[Expr]) -> list[Expr]:
    """The index with a variable for each fetch: as many values, far apart, as there are places to fetch from."""
    names: dict[Fetch, Expr] = {}
    for one in _fetches(index):
        places = math.prod(v.hi - v.lo + 1 for v in {v for e in one.index for v in e.variables()})
        reach = max(1, min(one.size, places))
        names.setdefault(one, var(f"fetched{len(names)}", reach) * one.size // reach)
    return [e.rewrite_fetches(names.__getitem__) for e in index]
