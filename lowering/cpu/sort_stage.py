"""A tile sorts its runs one after the other in scratch, and stores the first positions of each.

for each run:  key[p], position[p] = key(operand(row, start + p)), start + p
    for each phase, for each comparator:  order its pair
    out[row, q] = epilogue(position[q])
"""

from __future__ import annotations

from typing import Any

from mlirfuse.dialect.indexing import Expr, minimum
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.groups.forward import downstream_indices
from mlirfuse.lowering.kernel.point import Registers
from mlirfuse.lowering.kernel.sorting import emit_comparator, key_dtype, network_phases, next_phase, sort_key
from mlirfuse.lowering.schedule.sorting import SortLoops, SortPlan
from mlirfuse.mlir import arith, ir, memref

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
    frame.span(start, end, "run", lambda unit: _Run(frame, plan, (keys, positions), unit).emit())


class _Run:
    """One run: `start` is its first position in the row, `length` how many elements it has."""

    def __init__(self, frame: Frame, plan: SortPlan, scratch: tuple[Any, Any], unit: Expr) -> None:
        self.frame, self.plan, self.builder = frame, plan, frame.builder
        self.scratch = scratch
        self.row, self.start, length = plan.run_of(unit)
        self.length = frame.named(length, "length", 1, plan.length)
        self.i32 = ir.IntegerType.get_signless(32)
        assert frame.group.anchor is not None
        self.anchor = frame.group.anchor

    def emit(self) -> None:
        self.frame.span(Expr(0), self.length, "p", self._load)
        self._sort()
        self.frame.span(Expr(0), minimum(self.length, self.plan.keep), "q", self._store)

    def _load(self, place: Expr) -> None:
        node = self.plan.node
        at = self.frame.named(self.start + place, "at", 0, self.plan.dims[self.plan.axis] - 1)
        x = self.frame.evaluator().value(self.anchor.operands[0], self.plan.at(self.row, at))
        key = sort_key(self.builder, x, node.inputs[0].dtype, bool(node.attrs["largest"]))
        self._put(self.builder.index(place), (key, arith.IndexCastOp(self.i32, self.builder.index(at)).result))

    def _put(self, place: Any, pair: tuple[Any, Any]) -> None:
        for memory, value in zip(self.scratch, pair, strict=True):
            memref.StoreOp(value, memory, [place])

    def _get(self, place: Any) -> tuple[Any, Any]:
        key, position = (memref.LoadOp(memory, [place]).result for memory in self.scratch)
        return key, position

    def _sort(self) -> None:
        pairs = 1 << max(0, (self.plan.length - 1).bit_length() - 1)
        one = self.builder.constant(1, self.i32)
        length = arith.IndexCastOp(self.i32, self.builder.index(self.length)).result

        def phase(_: Expr, carried: list[Any]) -> list[Any]:
            half, distance = carried

            def compare(number: Expr, _: list[Any]) -> list[Any]:
                wide = arith.IndexCastOp(self.i32, self.builder.index(number)).result
                emit_comparator(self.builder, wide, (half, distance), length, self._get, self._put)
                return []

            self.builder.loop(pairs, "pair", [], compare)
            return next_phase(self.builder, half, distance)

        self.builder.loop(network_phases(self.plan.length), "phase", [one, one], phase)

    def _store(self, place: Expr) -> None:
        _, position = self._get(self.builder.index(place))
        value = arith.ExtSIOp(ir.IntegerType.get_signless(64), position).result
        last = self.anchor.node.out.dims[self.plan.axis] - 1
        out = self.frame.named(self.plan.result_start(self.start) + place, "out", 0, last)
        index = self.plan.at(self.row, out)
        where = downstream_indices(self.frame.group, self.anchor, index)
        assert not isinstance(where, str), where
        evaluator = self.frame.evaluator({self.anchor.result: Registers(index, value)})
        self.frame.store_outputs(evaluator, where, self.frame.group.outputs)
