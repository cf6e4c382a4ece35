"""How far outputs are from what they should be, and how far they may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from mlirfuse.explain import SCHEMA

__all__ = ["LIMITS", "Comparison", "coarsest", "compare", "relative_error", "rounded_types", "row_errors"]

# The largest difference allowed, relative to the largest magnitude in the expected output.
LIMITS = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 1e-2, "bf16": 5e-2}
_STORED = {"float16": "fp16", "bfloat16": "bf16"}  # precision of what is stored in fewer bits than a float32


@dataclass(frozen=True)
class Comparison:
    """Errors by output against the limit of its precision. Infinite where shapes, types or not-a-numbers differ."""

    errors: dict[str, float]
    precisions: dict[str, str]
    notes: dict[str, str]

    @property
    def precision(self) -> str:
        """That of the output that is furthest beyond its limit, or nearest to it."""
        nearest = max(self.errors, key=lambda name: self.errors[name] / LIMITS[self.precisions[name]], default=None)
        return "fp32" if nearest is None else self.precisions[nearest]

    @property
    def limit(self) -> float:
        return LIMITS[self.precision]

    @property
    def worst(self) -> float:
        """The largest error among the outputs of `precision`."""
        return max((e for name, e in self.errors.items() if self.precisions[name] == self.precision), default=0.0)

    @property
    def ok(self) -> bool:
        return self.worst <= self.limit

    def to_dict(self) -> dict[str, Any]:
        return {"limit": self.limit, "error": self.worst, "ok": self.ok, "errors": self.errors, "notes": self.notes}


def compare(
    found: Mapping[str, Any],
    expected: Mapping[str, Any],
    precision: str,
    rounded: Mapping[str, Iterable[str]] = MappingProxyType({}),
) -> Comparison:
    """Every expected output against what was found under its name.

    The limit is that of the coarsest among `precision`, in which kernels compute, the output's element type, and the
    types that values on the way to it are `rounded` to: a kernel keeps more digits of them than the definition does.
    """
    errors: dict[str, float] = {}
    notes: dict[str, str] = {}
    for name, wanted in expected.items():
        errors[name], note = relative_error(found.get(name), wanted)
        if note:
            notes[name] = note
    types = {name: (np.asarray(wanted).dtype.name, *rounded.get(name, ())) for name, wanted in expected.items()}
    return Comparison(errors, {name: coarsest(precision, found) for name, found in types.items()}, notes)


def coarsest(precision: str, dtypes: Iterable[str]) -> str:
    """The precision with the largest limit: of arithmetic, and of values that have these element types."""
    stored = (_STORED.get(dtype, "fp32") for dtype in dtypes)
    return max((precision if precision in LIMITS else "fp32", *stored), key=lambda name: LIMITS[name])


def rounded_types(explained: Mapping[str, Any] | None) -> dict[str, set[str]]:
    """The element types of all values that each output is computed from, by an artifact's explanation."""
    if explained is None or explained.get("schema") != SCHEMA:
        return {}
    operators = {op["number"]: op for op in explained["operators"]}
    types: dict[int, set[str]] = {}
    for number, op in sorted(operators.items()):  # in the order of the program: what an operator reads comes before
        types[number] = {op["dtype"]}.union(*(types[read] for read in op["reads"]))
    return {value["name"]: set().union(*(types[n] for n in value["operators"])) for value in explained["outputs"]}


def relative_error(found: Any, wanted: Any) -> tuple[float, str]:
    """max |found - wanted| / max |wanted|, and what makes the two incomparable, if anything does."""
    if found is None:
        return math.inf, "missing"
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape:
        return math.inf, f"shape {list(found.shape)}, expected {list(wanted.shape)}"
    if found.dtype != wanted.dtype:
        return math.inf, f"{found.dtype}, expected {wanted.dtype}"
    if wanted.size == 0:
        return 0.0, ""
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    strange = ~(np.isfinite(a) & np.isfinite(b))
    if strange.any():
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        if not same[strange].all():
            return math.inf, f"{int((strange & ~same).sum())} elements are not finite in one of the two only"
        a, b = np.where(strange, 0.0, a), np.where(strange, 0.0, b)
    largest = float(np.abs(b).max())
    return float(np.abs(a - b).max()) / (largest or 1.0), ""


def row_errors(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, float]:
    """`relative_error` of outputs that list regions, [regions, ...] or [1, regions, ...], in any order of the regions.

    A region is its row of every output of that length together, each scaled to its output's largest element; its
    partner is the nearest row. Every row of both sides needs one, so a region that is missing or made up counts.
    """
    lists: dict[int, list[str]] = {}
    errors: dict[str, float] = {}
    for name, wanted in expected.items():
        errors[name], note = relative_error(found.get(name), wanted)
        if not note and np.ndim(wanted) and np.size(wanted):
            lists.setdefault(_regions(wanted), []).append(name)
    for names in lists.values():
        if not any(errors[name] for name in names):
            continue
        scales = {name: float(np.abs(np.asarray(expected[name], np.float64)).max()) or 1.0 for name in names}
        a = [_rows(found[name], scales[name]) for name in names]
        b = [_rows(expected[name], scales[name]) for name in names]
        forth, back = _partners(np.hstack(a), np.hstack(b)), _partners(np.hstack(b), np.hstack(a))
        for name, x, y in zip(names, a, b, strict=True):
            errors[name] = float(max(np.abs(x - y[forth]).max(), np.abs(y - x[back]).max()))
    return errors


def _regions(array: Any) -> int:
    """How many rows an output has: its first extent, or its second where the first is a batch of one."""
    return int(array.shape[1] if array.ndim > 1 and array.shape[0] == 1 else array.shape[0])


def _rows(array: Any, scale: float) -> np.ndarray[Any, Any]:
    return np.asarray(array, np.float64).reshape(_regions(array), -1) / scale


def _partners(rows: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For every row the index of the nearest of the others, by their largest difference."""
    same = len(rows) == len(others)
    chosen = np.empty(len(rows), np.int64)
    for index, row in enumerate(rows):
        distances = np.abs(others - row).max(axis=1)
        nearest = int(distances.argmin())
        # the row at the same place wins where it is as near
        chosen[index] = index if same and distances[index] <= distances[nearest] else nearest
    return chosen
