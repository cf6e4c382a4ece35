"""One thread computes a few neighbouring elements of every output, point by point.

for each block, thread:  p = (block * threads + thread) * vector
    out[p : p + vector] = value(out, p : p + vector)
"""

from __future__ import annotations

from mlirfuse.dialect import TensorType
from mlirfuse.dialect.indexing import Condition, Expr, Var, delinearize
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.schedule.simt import MapTiles

__all__ = ["emit_map", "in_memory_order", "narrowed"]


def in_memory_order(position: Expr, tensor: TensorType) -> tuple[Expr, ...]:
    """The logical index of the element at `position` of the tensor's memory order."""
    order = tensor.layout or tuple(range(tensor.rank))
    physical = delinearize(position, tuple(tensor.dims[axis] for axis in order))
    index = [Expr(0)] * tensor.rank
    for axis, e in zip(order, physical, strict=True):
        index[axis] = e
    return tuple(index)


def emit_map(frame: Frame, schedule: MapTiles) -> None:
    """Emit the body of a map kernel."""
    group, width = frame.group, schedule.vector
    lane = Expr(0, ((Var("lane", 0, width - 1), 1),)) if width > 1 else None
    first = (frame.block[0] * schedule.threads + frame.thread) * width
    position = first if lane is None else first + lane
    for output in group.outputs:
        tensor = group.types[output]
        if tensor.size == 0:
            continue
        covered = Condition(first, 0, tensor.size - width)
        if not covered.always:  # beyond the end the thread has nothing to do: narrow the range to what is left
            position_here = narrowed(frame, first, tensor.size - width) + (lane if lane is not None else 0)
        else:
            position_here = position
        index = in_memory_order(position_here, tensor)
        evaluator = frame.evaluator(lane=lane, width=width)

        def compute(output: int = output, index: tuple[Expr, ...] = index, evaluator=evaluator) -> None:  # type: ignore[no-untyped-def]
            frame.buffers[output].store(evaluator, index, evaluator.value(output, index))

        frame.builder.when([covered], compute)


def narrowed(frame: Frame, first: Expr, largest: int) -> Expr:
    """The same value under a name whose range is what the guard leaves of it."""
    lo = first.range[0]
    if lo == largest:
        return Expr(lo)
    grain = 1
    for _, factor in first.terms:
        grain = factor if grain == 1 else min(grain, factor)
    quotient = first // grain if grain > 1 else first
    name = Var(frame.builder.fresh_name("at"), lo // grain, largest // grain)
    narrowed = Expr(0, ((name, 1),))
    frame.builder.bind(narrowed, frame.builder.index(quotient), affine=frame.builder.is_affine(quotient))
    return narrowed * grain
