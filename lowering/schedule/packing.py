"""How a constant operand is rearranged before it reaches a kernel, as steps that NumPy alone can replay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["Packing"]

Step = dict[str, Any]


@dataclass(frozen=True)
class Packing:
    """The logical array goes through `steps` (objects of the artifact's weight recipes) and is then read flat.

    `shape` is what the steps give: panels of neighbouring output channels, outermost first.
    """

    steps: tuple[tuple[tuple[str, Any], ...], ...]
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    def recipe(self) -> list[Step]:
        """The steps as JSON objects."""
        return [{key: list(v) if isinstance(v, tuple) else v for key, v in step} for step in self.steps]


class PackingSteps:
    """Collects steps; each follows the shape that the array then has."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.steps: list[tuple[tuple[str, Any], ...]] = []

    def reshape(self, shape: tuple[int, ...]) -> None:
        assert math.prod(shape) == math.prod(self.shape)
        if shape != self.shape:
            self.steps.append((("op", "reshape"), ("shape", shape)))
            self.shape = shape

    def transpose(self, perm: tuple[int, ...]) -> None:
        if perm != tuple(range(len(perm))):
            self.steps.append((("op", "transpose"), ("perm", perm)))
            self.shape = tuple(self.shape[p] for p in perm)

    def take(self, indices: tuple[int, ...], axis: int) -> None:
        if indices != tuple(range(self.shape[axis])):
            self.steps.append((("op", "take"), ("indices", indices), ("axis", axis)))
            self.shape = (*self.shape[:axis], len(indices), *self.shape[axis + 1 :])

    def finish(self) -> Packing:
        return Packing(tuple(self.steps), self.shape)
