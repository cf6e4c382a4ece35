"""The frame of a CPU kernel: its function, buffers, tile number, scratch, and loops with bounds known at run time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr, Var
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.kernel.builder import Builder, memory_type
from mlirfuse.lowering.kernel.point import Buffer, Evaluator
from mlirfuse.mlir import func, ir, memref, scf

__all__ = ["Frame", "kernel_frame", "span_of"]

Strides = tuple[int, ...]
VectorBody = Callable[[Expr, Expr | None, int], None]


def span_of(dims: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last of a strided tensor, both included; at least one."""
    if 0 in dims:
        return 1
    return 1 + sum((d - 1) * s for d, s in zip(dims, strides, strict=True))


@dataclass
class Frame:
    """What stage emitters share: the builder, the buffers of operands and outputs, and the tile's number."""

    group: Group
    builder: Builder
    operands: dict[int, Buffer]
    results: dict[int, Buffer]
    tile: Expr
    entry: ir.InsertionPoint

    def evaluator(self, places: Mapping[int, Any] | None = None, lane: Expr | None = None, width: int = 1) -> Evaluator:
        """An evaluator that finds the group's operands in their buffers, and further values where `places` says."""
        return Evaluator(self.builder, self.group, {**self.operands, **(places or {})}, lane, width)

    def store_outputs(
        self, evaluator: Evaluator, where: Mapping[int, tuple[Expr, ...]], outputs: Sequence[int]
    ) -> None:
        """Compute every output at its index and store it."""
        values = [(v, evaluator.value(v, where[v])) for v in outputs]
        for v, value in values:
            self.results[v].store(evaluator, where[v], value)

    def scratch(self, elements: int, dtype: str) -> Any:
        """Memory of this tile, allocated on entry."""
        with self.entry:
            kind = ir.MemRefType.get([elements], memory_type(dtype))
            return memref.AllocaOp(kind, [], [], alignment=64).result

    def named(self, e: Expr, stem: str, lo: int | None = None, hi: int | None = None) -> Expr:
        """`e` as one variable, computed here; `lo` and `hi` may narrow its range."""
        lo = e.range[0] if lo is None else lo
        hi = e.range[1] if hi is None else hi
        if lo == hi:
            return Expr(lo)
        variable = Expr(0, ((Var(self.builder.fresh_name(stem), lo, hi), 1),))
        self.builder.bind(variable, self.builder.index(e), affine=False)
        return variable

    def either(self, conditions: Sequence[Condition], then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """`scf.if` with two branches that give nothing."""
        unknown = [c for c in conditions if not c.always]
        if not unknown:
            then()
            return
        op = scf.IfOp(self.builder.all_of(unknown), has_else=True)
        for block, body in ((op.then_block, then), (op.else_block, otherwise)):
            with self.builder.scope(ir.InsertionPoint(block)):
                body()
                scf.YieldOp([])

    def span(self, start: Expr, stop: Expr, stem: str, body: Callable[[Expr], None]) -> None:
        """A loop over [start, stop), bounds of any kind."""
        self.builder.span(start, stop, stem, body)

    def vectors(self, begin: Expr, end: Expr, width: int, body: VectorBody) -> None:
        """body(position, lane, width) for the vectors [begin, end) of `width` lanes."""
        lane = self._lane(width)
        self.span(begin, end, "v", lambda v: body(v * width + (lane or 0), lane, width))

    def tail(self, size: int, width: int, body: VectorBody, *, overlap: bool) -> None:
        """What whole vectors leave of [0, size): by a vector overlapping the last if `overlap`, else one by one."""
        whole = size // width
        if size == whole * width:
            return
        if overlap and whole:
            lane = self._lane(width)
            body((lane or Expr(0)) + (size - width), lane, width)
        else:
            self.span(Expr(whole * width), Expr(size), "v", lambda i: body(i, None, 1))

    def row(self, size: int, width: int, body: VectorBody, *, overlap: bool) -> None:
        """All of [0, size), in vectors of `width`."""
        self.vectors(Expr(0), Expr(size // width), width, body)
        self.tail(size, width, body, overlap=overlap)

    def _lane(self, width: int) -> Expr | None:
        return Expr(0, ((Var(self.builder.fresh_name("lane"), 0, width - 1), 1),)) if width > 1 else None


@contextlib.contextmanager
def kernel_frame(
    name: str,
    group: Group,
    strides: Mapping[int, Strides],
    packed: Mapping[int, int],
    tiles: int,
    output_strides: Mapping[int, Strides],
) -> Iterator[tuple[func.FuncOp, Frame]]:
    """A private function `name`; inside the context, the insertion point is before its return.

    Arguments are the operands, then the outputs, each a flat buffer that spans the tensor, then the tile's number.
    `packed` has the number of elements of operands that are packed.
    """
    kinds, attributes, buffers = [], [], []
    for position, value in enumerate((*group.inputs, *group.outputs)):
        tensor = group.types[value]
        own = (strides if position < len(group.inputs) else output_strides).get(value, tensor.strides())
        span = packed[value] if position < len(group.inputs) and value in packed else span_of(tensor.dims, own)
        kinds.append(ir.MemRefType.get([span], memory_type(tensor.dtype)))
        readonly = {"llvm.readonly": ir.UnitAttr.get()} if position < len(group.inputs) else {}
        attributes.append(ir.DictAttr.get({"llvm.noalias": ir.UnitAttr.get(), **readonly}))
        buffers.append((value, own, tensor.dtype))
    signature = ir.FunctionType.get([*kinds, ir.IndexType.get()], [])
    function = func.FuncOp(name, signature, visibility="private")
    function.attributes["arg_attrs"] = ir.ArrayAttr.get([*attributes, ir.DictAttr.get({})])
    block = function.add_entry_block()
    arguments = list(block.arguments)
    made = [Buffer(arguments[i], own, dtype, Expr(0), 0) for i, (_, own, dtype) in enumerate(buffers)]
    split = len(group.inputs)
    builder = Builder(branches=True)
    with ir.InsertionPoint(block):
        terminator = func.ReturnOp([])
    with ir.InsertionPoint(terminator):
        tile = Expr(0)
        if tiles > 1:
            tile = Expr(0, ((Var("tile", 0, tiles - 1), 1),))
            builder.bind(tile, arguments[-1], affine=True)
        builder.end_of_top()
        entry = ir.InsertionPoint.at_block_begin(block)
        yield (
            function,
            Frame(
                group,
                builder,
                dict(zip(group.inputs, made[:split], strict=True)),
                dict(zip(group.outputs, made[split:], strict=True)),
                tile,
                entry,
            ),
        )
