"""The graph that planning decides on: frozen, read once from the IR.

Only operations that compute are nodes. Weights, splats and function arguments are operands without a producer.
Elided concats and fall-back nodes are nodes that no block may hold (`boundary` says why).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mlirfuse.dialect import MappingType, Node, attribute_value, node_of, semantics
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.mlir import ir

__all__ = ["Graph", "GraphNode", "main_function", "nodes_of", "read_graph", "source_of"]


@dataclass(frozen=True)
class GraphNode:
    """One operation at its place in the graph.

    `producers[i]` is the index of the node that makes operand i, or None where nothing computed does.
    `users` are the indices of the nodes that read the result, each once, in order. `sources[i]` tells what operand i is
    where no node makes it ("argument 0", "weight KEY", "splat 0.5"; else empty), so that it is seen to be read twice.
    """

    index: int
    node: Node
    mapping: str
    producers: tuple[int | None, ...]
    users: tuple[int, ...] = ()
    onnx_nodes: tuple[str, ...] = ()
    boundary: str = ""
    returned: bool = False
    sources: tuple[str, ...] = ()

    @cached_property
    def is_anchor(self) -> bool:
        """Whether the op combines many elements into one: what a kernel is built around."""
        return semantics(self.node.op).mapping_type == MappingType.MANY_TO_MANY

    @cached_property
    def elements(self) -> int:
        return self.node.out.size

    @cached_property
    def bytes(self) -> int:
        """Of the result (0 where its size is known only at run time)."""
        return sum(t.bytes for t in self.node.outputs if t.static)

    @cached_property
    def flops(self) -> int:
        return 0 if self.boundary else semantics(self.node.op).flops(self.node)

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """The nodes that this one reads, each once, the latest first."""
        return tuple(sorted({p for p in self.producers if p is not None}, reverse=True))

    @property
    def label(self) -> str:
        """What people call this op: its ONNX nodes, or its kind and number."""
        kind = self.node.get("kind")
        return "+".join(self.onnx_nodes) or f"{self.node.op}{f'.{kind}' if kind else ''}#{self.index}"


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order: an index is a position in the program."""

    nodes: tuple[GraphNode, ...]

    def __getitem__(self, index: int) -> GraphNode:
        return self.nodes[index]

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[GraphNode]:
        return iter(self.nodes)

    @property
    def edges(self) -> Iterator[tuple[int, int]]:
        """(producer, consumer) pairs, each once, by consumer."""
        return ((p, n.index) for n in self.nodes for p in reversed(n.inputs))

    def parts_of(self, index: int) -> list[int]:
        """What a concatenation that costs nothing is made of; else the node itself."""
        entry = self.nodes[index]
        whole = entry.node.op == "concat" and bool(entry.boundary)
        return [n for p in entry.inputs for n in self.parts_of(p)] if whole else [index]

    @classmethod
    def of(cls, entries: Sequence[GraphNode]) -> Graph:
        """From nodes without users: fills them in."""
        users: list[list[int]] = [[] for _ in entries]
        for entry in entries:
            for producer in entry.inputs:
                users[producer].append(entry.index)
        return cls(tuple(_with_users(e, tuple(users[e.index])) for e in entries))


def _with_users(entry: GraphNode, users: tuple[int, ...]) -> GraphNode:
    return replace(entry, users=users)


def main_function(module_op: ir.Operation) -> ir.Operation:
    """The function that a module of fusion ops holds: the one called main, or else the only one."""
    functions = [op.operation for op in module_op.regions[0].blocks[0] if op.operation.name == "func.func"]
    named = [f for f in functions if f.attributes["sym_name"].value == "main"]
    if not named and len(functions) != 1:
        raise ValueError(f"expected a function @main, or one function, but the module has {len(functions)}")
    return (named or functions)[0]


def nodes_of(function: ir.Operation) -> list[ir.Operation]:
    """The ops that are nodes of the graph, in program order."""
    body = function.regions[0].blocks[0]
    skipped = (*CONSTANTS, "func.return")
    return [op.operation for op in body if op.operation.name not in skipped]


def read_graph(function: ir.Operation) -> Graph:
    """Freeze a function of ungrouped fusion ops; ops without `mapping` are classified here."""
    numbers: dict[Any, int] = {}
    entries = []
    body = function.regions[0].blocks[0]
    terminator = list(body.operations)[-1].operation
    returned = set(terminator.operands)
    for index, op in enumerate(nodes_of(function)):
        for result in op.results:
            numbers[result] = index
        node = node_of(op)
        entries.append(
            GraphNode(
                index,
                node,
                attribute_value(op, "mapping") or semantics(node.op).mapping(node),
                tuple(numbers.get(v) for v in op.operands),
                onnx_nodes=attribute_value(op, "onnx_nodes", ()),
                boundary=_boundary(op),
                returned=any(r in returned for r in op.results),
                sources=tuple("" if v in numbers else source_of(v) for v in op.operands),
            )
        )
    return Graph.of(entries)


def source_of(value: ir.Value) -> str:
    """What an operand is that no node makes, as in `GraphNode.sources`."""
    if isinstance(value.owner, ir.Block):
        return f"argument {ir.BlockArgument(value).arg_number}"
    constant = value.owner.operation
    if constant.name == "fusion.splat":
        return f"splat {attribute_value(constant, 'value')}"
    return f"weight {attribute_value(constant, 'key')}"


def _boundary(op: ir.Operation) -> str:
    if op.name == "fusion.fallback":
        return "it runs on the host"
    if op.name == "fusion.concat" and attribute_value(op, "elided", False):
        return "its operands are written in place, so that it costs nothing"
    return ""
