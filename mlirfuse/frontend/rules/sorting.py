"""The largest or smallest elements of rows, in order."""

import numpy as np

from mlirfuse.dialect.sorting import LONGEST_RUN
from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.rules.gathering import along_axis
from mlirfuse.frontend.tensor import Tensor

__all__ = ["sorted_positions"]


@importer("TopK")
def top_k(b: OpBuilder, node: NodeCall) -> tuple[Tensor, Tensor]:
    """Sorted positions, and the elements there; without `sorted` the order is free, and the same."""
    x, axis = node.input(0), node.axis(-1, node.input(0).rank)
    given = node.attr("k") if node.has("k") else node.array(1, "k")
    if given is None:
        raise InvalidNode("lacks its input 1, k")
    k = int(np.asarray(given).reshape(-1)[0])
    if not 0 <= k <= x.dims[axis]:
        raise InvalidNode(f"asks for {k} elements of the {x.dims[axis]} along axis {axis} of {x.type}")
    if not k or not x.type.size:
        shape = (*x.dims[:axis], k, *x.dims[axis + 1 :])
        return b.constant(np.zeros(shape), x.dtype), b.constant(np.zeros(shape), "int64")
    order = sorted_positions(b, x, axis, k, bool(node.attr("largest", 1)))
    return along_axis(b, x, order, axis), order


def sorted_positions(b: OpBuilder, x: Tensor, axis: int, k: int, largest: bool) -> Tensor:
    """The positions of the first k elements of every row along `axis`: sorted runs, merged pair by pair."""
    if x.rank == 0:
        raise NoRule("sorts a scalar")
    run, keep = LONGEST_RUN, min(k, LONGEST_RUN)
    order = b.op("sort", [x], axis=axis, run=run, keep=keep, largest=largest)
    while keep < order.dims[axis]:
        longer = min(k, 2 * keep)
        order = b.op("merge", [x, order], axis=axis, run=keep, keep=longer, largest=largest)
        keep = longer
    return order
