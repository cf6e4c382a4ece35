"""What padding and concatenation after an anchor leave: the elements of outputs that no element of the anchor reaches.

for each element of this tile's share of an output:
    out[element] = value(out, element)          (where that does not depend on the anchor)
"""

from __future__ import annotations

from functools import partial

from mlirfuse.dialect.indexing import Expr, delinearize, minimum
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.groups.forward import uncovered
from mlirfuse.lowering.kernel.landing import border

__all__ = ["emit_borders"]


def emit_borders(frame: Frame, tiles: int) -> None:
    """Emit the end of a kernel of `tiles` tiles that is built around an anchor."""
    anchor = frame.group.anchor
    for output in frame.group.outputs:
        if anchor is not None and uncovered(frame.group, anchor, output):
            size = frame.group.types[output].size
            share = -(-size // tiles)
            start = frame.tile * share
            frame.span(start, minimum(start + share, size), "border", partial(_at, frame, output))


def _at(frame: Frame, output: int, element: Expr) -> None:
    group, anchor = frame.group, frame.group.anchor
    assert anchor is not None
    index = delinearize(element, group.types[output].dims)
    border(group, anchor, output, frame.evaluator, frame.store_outputs, index)
