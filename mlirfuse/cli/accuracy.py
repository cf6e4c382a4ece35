"""How far outputs are from what they should be, and how far they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["LIMITS", "Comparison", "compare", "relative_error"]

# The largest difference allowed, relative to the largest magnitude in the expected output.
LIMITS = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 1e-2, "bf16": 5e-2}


@dataclass(frozen=True)
class Comparison:
    """Errors by output against a limit. An error is infinite where shapes, types or not-a-numbers differ."""

    errors: dict[str, float]
    limit: float
    notes: dict[str, str]

    @property
    def worst(self) -> float:
        return max(self.errors.values(), default=0.0)

    @property
    def ok(self) -> bool:
        return self.worst <= self.limit

    def to_dict(self) -> dict[str, Any]:
        return {"limit": self.limit, "error": self.worst, "ok": self.ok, "errors": self.errors, "notes": self.notes}


def compare(found: Mapping[str, Any], expected: Mapping[str, Any], precision: str) -> Comparison:
    """Every expected output against what was found under its name."""
    errors: dict[str, float] = {}
    notes: dict[str, str] = {}
    for name, wanted in expected.items():
        errors[name], note = relative_error(found.get(name), wanted)
        if note:
            notes[name] = note
    return Comparison(errors, LIMITS.get(precision, LIMITS["fp32"]), notes)


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
