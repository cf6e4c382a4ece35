"""Which schedules to measure, in which order: the chosen one, promising and random ones, neighbours of the best."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["CHOSEN", "Outcome", "search"]

CHOSEN = ""  # stands for the schedule that is chosen without a database
_PROMISING = 3


@dataclass(frozen=True)
class Outcome:
    """The fastest schedule (JSON, or CHOSEN), its seconds, those of the chosen one, and how many were measured."""

    schedule: str
    seconds: float
    chosen_seconds: float
    trials: int


def search(
    alternatives: Sequence[str], measure: Callable[[str], float | None], trials: int, seed: int = 0
) -> Outcome | None:
    """Measure up to `trials` schedules; None if the chosen one cannot be measured, or `measure` gives up.

    `measure` gives seconds, or None for a schedule that fails. Half of the trials explore: the most promising by
    estimate, then seeded random ones. The others change the best one as little as the alternatives allow.
    """
    chosen = measure(CHOSEN)
    if chosen is None:
        return None
    seconds = {CHOSEN: chosen}
    rest = list(alternatives)
    generator = random.Random(seed)
    while rest and len(seconds) < trials:
        best = min(seconds, key=lambda s: seconds[s])
        if len(seconds) <= _PROMISING:
            tried = rest[0]
        elif len(seconds) <= trials // 2 or best == CHOSEN:
            tried = generator.choice(rest)
        else:
            tried = min(rest, key=lambda s: _distance(s, best))
        rest.remove(tried)
        taken = measure(tried)
        seconds[tried] = float("inf") if taken is None else taken
    best = min(seconds, key=lambda s: seconds[s])
    return Outcome(best, seconds[best], chosen, len(seconds))


def _distance(a: str, b: str) -> int:
    """In how many fields two schedules differ."""
    first, second = json.loads(a), json.loads(b)
    return sum(first.get(name) != second.get(name) for name in {*first, *second})
