"""What options that overrule the planner cost, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlirfuse.cli.display import Display, amount, microseconds, signed

__all__ = ["print_overrides"]

_COSTS = (
    ("launches", "launches", str),
    ("memory traffic", "bytes_moved", lambda n: amount(n, "B")),
    ("intermediates stored", "intermediate_bytes", lambda n: amount(n, "B")),
    ("computed again", "flops_added", lambda n: amount(n, "FLOP")),
    ("time by the cost model", "predicted_seconds", microseconds),
)


def print_overrides(display: Display, overrides: Sequence[Mapping[str, Any]]) -> None:
    """The figures of the plan with each option, without it, and the difference."""
    for override in overrides:
        display.line(f"what {override['option']} costs", style="bold")
        display.table(["", "with", "without", "difference"], [_row(override, *cost) for cost in _COSTS])


def _row(override: Mapping[str, Any], label: str, key: str, show: Any) -> list[str]:
    sides = (show(override[side][key]) for side in ("with", "without"))
    return [label, *sides, signed(override["cost"][key], show)]
