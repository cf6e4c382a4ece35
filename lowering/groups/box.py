"""Boxes and spans: the part of a value that a tile works on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlirfuse.dialect.indexing import Expr

__all__ = ["Box", "Span"]


@dataclass(frozen=True)
class Box:
    """A part of a value: where it starts, and its size along each dimension."""

    start: tuple[Expr, ...]
    sizes: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.sizes)


@dataclass(frozen=True)
class Span:
    """So many positions of one dimension, from `start` on."""

    start: Expr
    size: int


def share_of(sizes: tuple[int, ...], cluster: int) -> tuple[int, ...]:
    """What each block of a cluster computes of a box: its part of the channels, or all where these do not divide."""
    if cluster == 1 or len(sizes) < 2 or sizes[1] % cluster:
        return sizes
    return (sizes[0], sizes[1] // cluster, *sizes[2:])
