"""Copy the box of an operand that a tile needs into scratch, with padding and prologue applied once.

scratch = fill                                       (where the box may reach outside the operand)
for each source position inside the box and the operand:
    scratch[position * step - start] = value(operand, position)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlirfuse.dialect.indexing import Expr, maximum, minimum
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.kernel.point import Buffer
from mlirfuse.mlir import ir

__all__ = ["Box", "copy_in", "fill"]


@dataclass(frozen=True)
class Box:
    """A part of `value` in scratch: element i of the operand lies at coordinate i * step, coordinate `start` first."""

    value: int
    start: tuple[Expr, ...]
    extent: tuple[int, ...]
    steps: tuple[int, ...]
    order: tuple[int, ...]
    strides: tuple[int, ...]
    pads: bool


def fill(frame: Frame, memory: object, elements: int, number: float, lanes: int) -> None:
    """Set every element of a float scratch."""
    buffer = Buffer(memory, (1,), "float32", Expr(0), 0)
    f32 = ir.F32Type.get()

    def store(position: Expr, lane: Expr | None, width: int) -> None:
        evaluator = frame.evaluator(lane=lane, width=width)
        kind = ir.VectorType.get([width], f32) if width > 1 else f32
        buffer.store(evaluator, (position,), frame.builder.constant(number, kind))

    frame.row(elements, min(4 * lanes, max(1, elements)), store, overlap=True)


def copy_in(frame: Frame, box: Box, memory: object, lanes: int) -> None:
    """Emit the copy; `lanes` is the width of a vector."""
    dims = frame.group.types[box.value].dims
    if box.pads:
        fill(frame, memory, math.prod(box.extent), 0.0, lanes)
    ranges = [_inside(frame, *axis) for axis in zip(box.start, box.extent, box.steps, dims, strict=True)]
    target = Buffer(memory, box.strides, "float32", Expr(0), 0)
    index: list[Expr] = [Expr(0)] * len(dims)

    def put(lane: Expr | None, width: int) -> None:
        evaluator = frame.evaluator(lane=lane, width=width)
        at = [i * step - start for i, step, start in zip(index, box.steps, box.start, strict=True)]
        value = evaluator.value(box.value, tuple(index))
        target.store(evaluator, at, evaluator.vectorized(value) if lane is not None else value)

    def nest(remaining: Sequence[int]) -> None:
        axis = remaining[0]
        begin, end = ranges[axis]

        def one(i: Expr) -> None:
            index[axis] = i
            nest(remaining[1:])

        if len(remaining) > 1:
            frame.span(begin, end, "c", one)
        else:
            _innermost(frame, axis, begin, end, index, put, lanes if box.steps[axis] == 1 else 1)

    nest(box.order)


def _innermost(frame: Frame, axis: int, begin: Expr, end: Expr, index: list[Expr], put: object, lanes: int) -> None:
    """The last dimension, in vectors where its bounds are known."""
    length = end - begin

    def place(position: Expr, lane: Expr | None, width: int) -> None:
        index[axis] = begin + position
        put(lane, width)  # type: ignore[operator]

    if not length.is_constant:
        frame.span(begin, end, "c", lambda i: place(i - begin, None, 1))
        return
    size = length.constant
    width = next((w for w in (4 * lanes, 2 * lanes, lanes) if size % w == 0), lanes if size >= lanes else 1)
    frame.row(size, width, place, overlap=True)


def _inside(frame: Frame, start: Expr, extent: int, step: int, size: int) -> tuple[Expr, Expr]:
    """The operand's positions [begin, end) whose coordinates lie in the box."""
    begin = maximum((start + (step - 1)) // step, 0)
    end = minimum((start + (extent - 1)) // step + 1, size)
    if (end - begin).is_constant:
        return begin, end
    return _held(frame, begin), _held(frame, end)


def _held(frame: Frame, e: Expr) -> Expr:
    return e if e.is_constant else frame.named(e, "edge")
