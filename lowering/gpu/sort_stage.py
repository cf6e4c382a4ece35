"""A block sorts one run in shared memory and stores its first positions.

for each block:  (row, start) = its run
    key[p], position[p] = key(operand(row, start + p)), start + p        for p = thread, thread + threads, ...
    for each phase:  barrier;  order the comparators thread, thread + threads, ...
    out[row, q] = epilogue(position[q])                                  for q = thread, thread + threads, ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, Var
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.gpu.team_stage import store_from_registers
from mlirfuse.lowering.kernel.sorting import emit_comparator, network_phases, next_phase, sort_key
from mlirfuse.lowering.schedule.sorting import SortPlan, SortTiles
from mlirfuse.mlir import arith, ir, memref

__all__ = ["emit_sort"]

KEYS, POSITIONS = 0, 1  # shared arrays


def emit_sort(frame: Frame, schedule: SortTiles) -> None:
    """Emit the body of a sort kernel."""
    anchor = frame.group.anchor
    assert anchor is not None
    plan = SortPlan(anchor.node)
    _BlockSort(frame, plan, schedule.threads).emit()


class _BlockSort:
    """One block's run: `start` is its first position in the row, `length` how many elements it has."""

    def __init__(self, frame: Frame, plan: SortPlan, threads: int) -> None:
        self.frame, self.plan, self.builder, self.threads = frame, plan, frame.builder, threads
        self.row, self.start, self.length = plan.run_of(frame.block[0])
        self.i32 = ir.IntegerType.get_signless(32)

    def emit(self) -> None:
        self._share(self.plan.length, self._load)
        self._sort()
        self.frame.barrier()
        self._share(self.plan.keep, self._store)

    def _share(self, count: int, body: Callable[[Expr], None]) -> None:
        """This thread's places below `count` and the run's length, one after the other."""

        def step(i: Expr, _: list[Any]) -> list[Any]:
            place = i * self.threads + self.frame.thread
            self.builder.when(
                [Condition(place, 0, count - 1), Condition(self.start + place, 0, self._last)],
                lambda: body(self._named(place, count)),
            )
            return []

        self.builder.loop(-(-count // self.threads), "share", [], step)

    @property
    def _last(self) -> int:
        return self.plan.dims[self.plan.axis] - 1

    def _named(self, place: Expr, count: int) -> Expr:
        """`place` under a name whose range is what the guard leaves of it."""
        if place.range[1] < count:
            return place
        if count == 1:
            return Expr(0)
        named = Expr(0, ((Var(self.builder.fresh_name("place"), 0, count - 1), 1),))
        self.builder.bind(named, self.builder.index(place), affine=False)
        return named

    def _inside(self, place: Expr) -> Expr:
        """A position of the row, which the guard keeps below its end."""
        if place.range[1] <= self._last:
            return place
        named = Expr(0, ((Var(self.builder.fresh_name("at"), 0, self._last), 1),))
        self.builder.bind(named, self.builder.index(place), affine=False)
        return named

    def _load(self, place: Expr) -> None:
        node = self.plan.node
        at = self._inside(self.start + place)
        anchor = self.frame.group.anchor
        assert anchor is not None
        x = self.frame.evaluator().value(anchor.operands[0], self.plan.at(self.row, at))
        key = sort_key(self.builder, x, node.inputs[0].dtype, bool(node.attrs["largest"]))
        position = arith.IndexCastOp(self.i32, self.builder.index(at)).result
        self._put(self.builder.index(place), (key, position))

    def _put(self, place: Any, pair: tuple[Any, Any]) -> None:
        zero = self.builder.index_constant(0)
        for array, value in zip((KEYS, POSITIONS), pair, strict=True):
            memref.StoreOp(value, self.frame.shared[array], [zero, place])

    def _get(self, place: Any) -> tuple[Any, Any]:
        zero = self.builder.index_constant(0)
        key, position = (memref.LoadOp(self.frame.shared[array], [zero, place]).result for array in (KEYS, POSITIONS))
        return key, position

    def _sort(self) -> None:
        pairs = 1 << max(0, (self.plan.length - 1).bit_length() - 1)
        one = self.builder.constant(1, self.i32)
        length = arith.IndexCastOp(self.i32, self.builder.index(self.length)).result

        def phase(_: Expr, carried: list[Any]) -> list[Any]:
            self.frame.barrier()

            def compare(i: Expr, _: list[Any]) -> list[Any]:
                number = i * self.threads + self.frame.thread
                wide = arith.IndexCastOp(self.i32, self.builder.index(number)).result
                half, distance = carried
                self.builder.when(
                    [Condition(number, 0, pairs - 1)],
                    lambda: emit_comparator(self.builder, wide, (half, distance), length, self._get, self._put),
                )
                return []

            self.builder.loop(-(-pairs // self.threads), "pair", [], compare)
            return next_phase(self.builder, *carried)

        self.builder.loop(network_phases(self.plan.length), "phase", [one, one], phase)

    def _store(self, place: Expr) -> None:
        anchor = self.frame.group.anchor
        assert anchor is not None
        _, position = self._get(self.builder.index(place))
        value = arith.ExtSIOp(ir.IntegerType.get_signless(64), position).result
        out = self.plan.result_start(self.start) + place
        last = anchor.node.out.dims[self.plan.axis] - 1
        if out.range[1] > last:
            named = Expr(0, ((Var(self.builder.fresh_name("out"), 0, last), 1),)) if last else Expr(0)
            self.builder.bind(named, self.builder.index(out), affine=False)
            out = named
        store_from_registers(self.frame, anchor, self.plan.at(self.row, out), value)
