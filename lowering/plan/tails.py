"""Chains of element-wise steps with constants, brought to one by steps that change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

__all__ = ["Step", "common_steps", "places"]

# What leaves every number as it is, by binary function and the place of the constant: the sum of -0.0 and -0.0 is -0.0.
_NEUTRAL = {("add", 0): -0.0, ("add", 1): -0.0, ("sub", 1): 0.0, ("mul", 0): 1.0, ("mul", 1): 1.0, ("div", 1): 1.0}


@dataclass(frozen=True)
class Step:
    """An element-wise op of one value and constants, but for what its constant holds and how long it is on one axis.

    `place` is the constant's among the operands (-1: there is none), `dims` its dimensions on all other axes.
    """

    op: str
    attrs: tuple[tuple[str, Any], ...]
    place: int = -1
    dims: tuple[int, ...] = ()

    @property
    def neutral(self) -> float | None:
        """The constant with which the step changes nothing; None if there is none."""
        return _NEUTRAL.get((dict(self.attrs).get("kind", ""), self.place))


def common_steps(tails: Iterable[tuple[Step, ...]]) -> tuple[Step, ...]:
    """The shortest steps found that contain each tail in order, others being neutral.

    All tails must have the same steps that cannot be neutral.
    """
    return reduce(_both, tails)


@cache
def _both(a: tuple[Step, ...], b: tuple[Step, ...]) -> tuple[Step, ...]:
    """The shortest common supersequence of two tails."""
    if not a or not b:
        return a or b
    if a[0] == b[0]:
        return (a[0], *_both(a[1:], b[1:]))
    ways = [(a[0], *_both(a[1:], b))] if a[0].neutral is not None else []
    ways += [(b[0], *_both(a, b[1:]))] if b[0].neutral is not None else []
    return min(ways, key=len)


def places(tail: tuple[Step, ...], steps: tuple[Step, ...]) -> Iterator[int | None]:
    """For each of the common steps, which step of the tail it is; None where the tail has none."""
    done = 0
    for step in steps:
        found = done < len(tail) and tail[done] == step
        yield done if found else None
        done += found
