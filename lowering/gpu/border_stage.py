"""What padding and concatenation after an anchor leave: the elements of outputs that no element of the anchor reaches.

for each thread of the grid, its share of an output's elements:
    out[element] = value(out, element)          (where that does not depend on the anchor)
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.gpu.map_stage import in_memory_order, narrowed
from mlirfuse.lowering.groups.forward import uncovered
from mlirfuse.lowering.kernel.landing import border

__all__ = ["emit_borders"]


def emit_borders(frame: Frame) -> None:
    """Emit the end of a kernel that is built around an anchor."""
    anchor = frame.group.anchor
    for output in frame.group.outputs:
        if anchor is not None and uncovered(frame.group, anchor, output):
            _emit(frame, output)


def _emit(frame: Frame, output: int) -> None:
    group, tensor, builder = frame.group, frame.group.types[output], frame.builder
    anchor = group.anchor
    assert anchor is not None
    x, y, z = frame.block
    block = (z * frame.grid[1] + y) * frame.grid[0] + x
    first = block * frame.threads + frame.thread
    total = math.prod(frame.grid) * frame.threads

    def one(i: Expr, _: list[Any]) -> list[Any]:
        element = first + i * total
        within = Condition(element, 0, tensor.size - 1)
        builder.when([within], partial(at, element))
        return []

    def at(element: Expr) -> None:
        here = element if element.range[1] < tensor.size else narrowed(frame, element, tensor.size - 1)
        index = in_memory_order(here, tensor)
        border(group, anchor, output, frame.evaluator, frame.store_outputs, index)

    builder.loop(-(-tensor.size // total), "border", [], one)
