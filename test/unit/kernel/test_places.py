"""Where values live while a kernel is emitted: what is remembered of one place is never taken for another's."""

from group_builder import GroupBuilder

from mlirfuse.dialect.indexing import Expr
from mlirfuse.lowering.kernel.builder import Builder
from mlirfuse.lowering.kernel.point import Evaluator, Registers
from mlirfuse.mlir import ir


def in_registers(builder: Builder, group, number: int, held):
    """Value `number` by an evaluator that lives for this one question, in whose registers it is."""
    index = (Expr(0),)
    return Evaluator(builder, group, {number: Registers(index, held)}).value(number, index)


def test_registers_that_come_and_go_are_told_apart():
    b = GroupBuilder()
    x = b.input(1)
    y = b.op("unary", x, kind="neg")
    group = b.group(b.op("unary", y, kind="neg"))
    with ir.Context(), ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            builder = Builder()
            values = [builder.constant(float(i), ir.F32Type.get()) for i in range(100)]
            for i, held in enumerate(values):
                assert in_registers(builder, group, (x, y)[i % 2], held) is held


def test_the_same_place_is_read_once():
    b = GroupBuilder()
    x = b.input(1)
    group = b.group(b.op("unary", x, kind="neg"))

    class Counted:
        reads = 0

        def load(self, evaluator, index):
            self.reads += 1
            return evaluator.builder.constant(0.0, ir.F32Type.get())

    place, builder = Counted(), Builder()
    with ir.Context(), ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            for _ in range(3):
                Evaluator(builder, group, {x: place}).value(x, (Expr(0),))
    assert place.reads == 1
