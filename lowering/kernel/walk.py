"""A block's walk over tiles, whatever the machine: its loops, and what it copies to lines and takes over from them.

for each step of the walk:
    for each stage:  take over the lines that it adds to;  for each strip that is new: the stage
                     leave what the next tile needs of what is complete

Where a block computes one tile, these are the stages alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, minimum
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.lines import WALKED
from mlirfuse.lowering.kernel.builder import Builder
from mlirfuse.lowering.kernel.cross_layer import TilePlaces
from mlirfuse.lowering.schedule.cross_layer import CrossLayerPlan

__all__ = ["Walker"]

CopyRows = Callable[[int, Box, bool], None]


@dataclass(frozen=True)
class Walker:
    """The loops around the stages of a plan; `numbers` has the number of the walk along each dimension of the frame.

    `copy(value, box, out)` emits a copy of these rows of a value: `out` of its box into its line, or back.
    """

    builder: Builder
    plan: CrossLayerPlan
    places: TilePlaces
    numbers: Sequence[Expr]
    copy: CopyRows

    def each_tile(self, body: Callable[[Expr], None]) -> None:
        """body(step) for each tile."""
        walk = self.plan.boxes.walk
        if walk is None:
            body(Expr(0))
            return

        def step(number: Expr, _: list[Any]) -> list[Any]:
            self.places.at_tile(self.numbers[WALKED], number)
            body(number)
            return []

        self.builder.loop(walk.length, "step", [], step)
        self.builder.forget()

    def each_strip(self, number: int, step: Expr, body: Callable[[], None]) -> None:
        """body() for each strip that a stage computes in the tile at a step."""
        walk, stage = self.plan.boxes.walk, self.plan.stages.stages[number]
        count, later = (1, 1) if walk is None else (walk.first_strips[number], walk.later_strips[number])

        def strip(at: Expr) -> None:
            self.places.at_strip(stage, at)
            body()

        if count == 1:
            body()
        else:
            self.builder.span(minimum(step, 1) * (count - later), Expr(count), "strip", strip)
            self.builder.forget()

    def take_over(self, number: int, step: Expr) -> None:
        """Bring what the tile before left in lines into the boxes that a stage adds to."""
        self._copy(self.plan.taken_before(number), Condition(step, 1, step.range[1]), out=False)

    def leave(self, number: int, step: Expr) -> None:
        """Put what the next tile needs of the boxes that a stage has completed into their lines."""
        self._copy(self.plan.saved_after(number), Condition(step, 0, step.range[1] - 1), out=True)

    def _copy(self, values: Sequence[int], condition: Condition, *, out: bool) -> None:
        for value in values:
            walk = self.plan.boxes.walk
            assert walk is not None
            box = walk.of_next(walk.line_boxes[value]) if out else walk.line_boxes[value]
            here = self.places.box(box)
            self.builder.when([condition], lambda v=value, b=here: self.copy(v, b, out))  # type: ignore[misc]
        if values:
            self.builder.forget()
