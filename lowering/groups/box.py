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
