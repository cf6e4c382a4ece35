"""A tile sorts its runs one after the other in scratch, and stores the first positions of each (`RunSort`).

for each run of the tile:  load, sort and store, with one worker
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlirfuse.dialect.indexing import Expr, minimum
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.kernel.run_sort import RunSort
from mlirfuse.lowering.kernel.sorting import key_dtype
from mlirfuse.lowering.schedule.sorting import SortLoops, SortPlan

__all__ = ["emit_sort"]


def emit_sort(frame: Frame, schedule: SortLoops) -> None:
    """Emit the body of a sort kernel."""
    anchor = frame.group.anchor
    assert anchor is not None
    plan = SortPlan(anchor.node)
    keys = frame.scratch(plan.length, key_dtype(anchor.node.inputs[0].dtype))
    positions = frame.scratch(plan.length, "int32")
    chunk = -(-plan.units // schedule.tiles)
    start = frame.tile * chunk
    end = minimum(start + chunk, plan.units)
    frame.span(start, end, "run", lambda unit: _TileSort(frame, (keys, positions), unit).emit())


class _TileSort(RunSort[Frame]):
    """One worker, to whom every place and comparator belongs."""

    def __init__(self, frame: Frame, memory: tuple[Any, Any], unit: Expr) -> None:
        super().__init__(frame, unit)
        self.memory = memory
        self.length = frame.named(self.length, "length", 1, self.plan.length)

    def share(self, count: int, body: Callable[[Expr], None]) -> None:
        self.frame.span(Expr(0), minimum(self.length, count), "p", body)

    def compare(self, pairs: int, body: Callable[[Expr], None]) -> None:
        self.frame.span(Expr(0), Expr(pairs), "pair", body)

    def scratch(self, place: Any) -> Sequence[tuple[Any, list[Any]]]:
        return [(memory, [place]) for memory in self.memory]

    def wait(self) -> None:
        """There is nobody to wait for."""
