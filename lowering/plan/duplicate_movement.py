"""Let each reader of moved elements find them by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.graph import Graph, main_function, nodes_of, read_graph
from mlirfuse.lowering.plan.placement import Placement
from mlirfuse.lowering.plan.reachability import Reachability
from mlirfuse.mlir import ir

__all__ = ["DuplicateMovement"]

MOVEMENT = frozenset({"expand", "reshape", "slice", "transpose"})


@register_pass
@dataclass(frozen=True)
class DuplicateMovement:
    """y = move(x), f(y), g(y)  =>  f(move(x)), g(move(x)): index arithmetic in f and g, not a kernel and a tensor.

    Not where the movement ends the kernel of an anchor, which then stores y and nothing else, and not where y has to be
    in memory anyway: returned, read by a host node, or a part of an elided concat. Run before fusion-plan.
    """

    name: ClassVar[str] = "fusion-duplicate-movement"

    def __call__(self, module_op: ir.Operation) -> None:
        function = main_function(module_op)
        ops = nodes_of(function)
        graph = read_graph(function)
        home = Placement(graph, Reachability(graph)).home
        for index in reversed(range(len(ops))):  # a chain's last op first: its copies are the readers of the one before
            if graph[index].node.op in MOVEMENT and home[index] is None and not _stored(graph, index):
                _give_each_reader_its_own(ops[index])


def _stored(graph: Graph, index: int) -> bool:
    return graph[index].returned or any(graph[user].boundary for user in graph[index].users)


def _give_each_reader_its_own(op: ir.Operation) -> None:
    readers = list(dict.fromkeys(use.owner.operation for use in op.results[0].uses))
    readers.sort(key=lambda reader: sum(reader.is_before_in_block(other) for other in readers), reverse=True)
    for reader in readers[1:]:
        copy = op.clone(ip=ir.InsertionPoint(op))
        for i, value in enumerate(list(reader.operands)):
            if value == op.results[0]:
                reader.operands[i] = copy.results[0]
