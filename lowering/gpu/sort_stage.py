"""A block sorts one run in shared memory and stores its first positions (`RunSort`).

for each block:  load, sort and store its run; thread t takes places and comparators t, t + threads, ...
    with a barrier before each phase of the network and after the last
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.kernel.run_sort import RunSort
from mlirfuse.lowering.schedule.sorting import SortTiles

__all__ = ["emit_sort"]

KEYS, POSITIONS = 0, 1  # shared arrays


def emit_sort(frame: Frame, schedule: SortTiles) -> None:
    """Emit the body of a sort kernel."""
    _BlockSort(frame, schedule.threads).emit()


class _BlockSort(RunSort[Frame]):
    """The threads of a block are the workers."""

    def __init__(self, frame: Frame, threads: int) -> None:
        super().__init__(frame, frame.block[0])
        self.threads = threads

    def share(self, count: int, body: Callable[[Expr], None]) -> None:
        last = self.plan.dims[self.plan.axis] - 1

        def guarded(place: Expr) -> None:
            conditions = [Condition(place, 0, count - 1), Condition(self.start + place, 0, last)]
            self.builder.when(conditions, lambda: body(self.builder.below(count, place, "place")))

        self._each(count, "share", guarded)

    def compare(self, pairs: int, body: Callable[[Expr], None]) -> None:
        def guarded(number: Expr) -> None:
            self.builder.when([Condition(number, 0, pairs - 1)], lambda: body(number))

        self._each(pairs, "pair", guarded)

    def _each(self, count: int, stem: str, body: Callable[[Expr], None]) -> None:
        def step(i: Expr, _: list[Any]) -> list[Any]:
            body(i * self.threads + self.frame.thread)
            return []

        self.builder.loop(-(-count // self.threads), stem, [], step)

    def scratch(self, place: Any) -> Sequence[tuple[Any, list[Any]]]:
        zero = self.builder.index_constant(0)
        return [(self.frame.shared[array], [zero, place]) for array in (KEYS, POSITIONS)]

    def wait(self) -> None:
        self.frame.barrier()
