"""Sorting one run of a sort op in scratch memory.

key[p], position[p] = key(operand(row, start + p)), start + p
for each phase, for each comparator:  order its pair
out[row, q] = epilogue(position[q])

Workers share places and comparators; what a worker is, and where scratch is, belongs to the target.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from mlirfuse.dialect.indexing import Expr
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.kernel.builder import Builder
from mlirfuse.lowering.kernel.landing import store_landings
from mlirfuse.lowering.kernel.point import Evaluator
from mlirfuse.lowering.kernel.sorting import emit_comparator, network_phases, next_phase, sort_key
from mlirfuse.lowering.schedule.sorting import SortPlan
from mlirfuse.mlir import arith, ir, memref

__all__ = ["RunSort"]


class Frame(Protocol):
    """What the kernels of every target have."""

    group: Group
    builder: Builder

    def evaluator(
        self, places: Mapping[int, Any] | None = None, lane: Expr | None = None, width: int = 1
    ) -> Evaluator: ...

    def store_outputs(
        self, evaluator: Evaluator, where: Mapping[int, tuple[Expr, ...]], outputs: Sequence[int]
    ) -> None: ...


F = TypeVar("F", bound=Frame)


class RunSort(ABC, Generic[F]):
    """The run of one unit: `start` is its first position in the row, `length` how many elements it has."""

    def __init__(self, frame: F, unit: Expr) -> None:
        anchor = frame.group.anchor
        assert anchor is not None
        self.frame, self.builder, self.anchor = frame, frame.builder, anchor
        self.plan = SortPlan(anchor.node)
        self.row, self.start, self.length = self.plan.run_of(unit)
        self.i32 = ir.IntegerType.get_signless(32)

    @abstractmethod
    def share(self, count: int, body: Callable[[Expr], None]) -> None:
        """This worker's places below `count` and the run's length, one after the other."""

    @abstractmethod
    def compare(self, pairs: int, body: Callable[[Expr], None]) -> None:
        """This worker's comparators of one phase, of which there are `pairs`."""

    @abstractmethod
    def scratch(self, place: Any) -> Sequence[tuple[Any, list[Any]]]:
        """Where the key and the position at `place` are: two buffers, each with the indices there."""

    @abstractmethod
    def wait(self) -> None:
        """Until all workers are here."""

    def emit(self) -> None:
        self.share(self.plan.length, self._load)
        self._sort()
        self.wait()
        self.share(self.plan.keep, self._store)

    def _load(self, place: Expr) -> None:
        node = self.plan.node
        at = self.builder.below(self.plan.dims[self.plan.axis], self.start + place, "at")
        x = self.frame.evaluator().value(self.anchor.operands[0], self.plan.at(self.row, at))
        key = sort_key(self.builder, x, node.inputs[0].dtype, bool(node.attrs["largest"]))
        self._put(self.builder.index(place), (key, self._narrow(at)))

    def _put(self, place: Any, pair: tuple[Any, Any]) -> None:
        for (memory, index), value in zip(self.scratch(place), pair, strict=True):
            memref.StoreOp(value, memory, index)

    def _get(self, place: Any) -> tuple[Any, Any]:
        key, position = (memref.LoadOp(memory, index).result for memory, index in self.scratch(place))
        return key, position

    def _sort(self) -> None:
        pairs = 1 << max(0, (self.plan.length - 1).bit_length() - 1)
        one, length = self.builder.constant(1, self.i32), self._narrow(self.length)

        def phase(_: Expr, carried: list[Any]) -> list[Any]:
            half, distance = carried
            self.wait()
            self.compare(
                pairs,
                lambda number: emit_comparator(
                    self.builder, self._narrow(number), (half, distance), length, self._get, self._put
                ),
            )
            return next_phase(self.builder, half, distance)

        self.builder.loop(network_phases(self.plan.length), "phase", [one, one], phase)

    def _store(self, place: Expr) -> None:
        _, position = self._get(self.builder.index(place))
        value = arith.ExtSIOp(ir.IntegerType.get_signless(64), position).result
        length = self.anchor.node.out.dims[self.plan.axis]
        out = self.builder.below(length, self.plan.result_start(self.start) + place, "out")
        index = self.plan.at(self.row, out)
        evaluator, store = self.frame.evaluator, self.frame.store_outputs
        store_landings(self.frame.group, self.anchor, evaluator, store, index, value)

    def _narrow(self, e: Expr) -> Any:
        return arith.IndexCastOp(self.i32, self.builder.index(e)).result
