"""Names and order of nodes: topological, live, each with a stable name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx

from mlirfuse.errors import InvalidModel
from mlirfuse.subgraphs import captured_names

__all__ = ["live_nodes", "name_nodes", "sort_nodes"]


def reads(node: onnx.NodeProto) -> list[str]:
    """Every value that a node needs, captured ones included."""
    return [name for name in node.input if name] + captured_names(node)


def sort_nodes(model: str, graph: onnx.GraphProto, weights: Mapping[str, Any]) -> list[onnx.NodeProto]:
    """The nodes in an order in which every value is defined before it is used (the given one if it is such).

    InvalidModel for values defined twice, never, or through themselves.
    """
    maker: dict[str, int] = {}
    sources = {value.name for value in graph.input} | set(weights)
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in maker or name in sources:
                raise InvalidModel(
                    f"{model}: the value '{name}' is defined twice, the second time by {describe(node, index)}; "
                    "every value of a graph must have one definition. Export the model again."
                )
            maker[name] = index
    waiting = []
    for index, node in enumerate(graph.node):
        needed = reads(node)
        for name in needed:
            if name not in maker and name not in sources:
                raise InvalidModel(
                    f"{model}: {describe(node, index)} reads '{name}', but no node, input or initializer defines it. "
                    "The model is incomplete; export it again."
                )
        waiting.append({maker[name] for name in needed if name in maker})
    for output in graph.output:
        if output.name not in maker and output.name not in sources:
            raise InvalidModel(
                f"{model}: no node, input or initializer defines the output '{output.name}'. Export the model again."
            )
    return [graph.node[index] for index in _topological(model, graph, waiting)]


def _topological(model: str, graph: onnx.GraphProto, waiting: Sequence[set[int]]) -> Iterable[int]:
    if all(max(before, default=-1) < index for index, before in enumerate(waiting)):
        return range(len(waiting))
    readers: list[list[int]] = [[] for _ in waiting]
    for index, before in enumerate(waiting):
        for earlier in before:
            readers[earlier].append(index)
    missing = [len(before) for before in waiting]
    ready = [index for index, count in enumerate(missing) if not count]
    order: list[int] = []
    while ready:
        index = ready.pop(0)
        order.append(index)
        for reader in readers[index]:
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    if len(order) < len(waiting):
        stuck = [describe(graph.node[i], i) for i, count in enumerate(missing) if count]
        raise InvalidModel(
            f"{model}: {len(stuck)} nodes wait for each other in a cycle: {', '.join(stuck[:5])}. "
            "A graph must be acyclic; export the model again."
        )
    return order


def describe(node: onnx.NodeProto, index: int) -> str:
    """A node as messages call it."""
    return f"node {index} ({node.op_type})" if not node.name else f"node '{node.name}' ({node.op_type})"


def name_nodes(nodes: Sequence[onnx.NodeProto]) -> None:
    """Give nodes without a name, or with one that is taken, the name OpType_index (in topological order)."""
    taken = {node.name for node in nodes if node.name}
    seen: set[str] = set()
    for index, node in enumerate(nodes):
        if not node.name or node.name in seen:
            base = node.name or node.op_type
            name = f"{base}_{index}"
            while name in taken or name in seen:
                name += "_"
            node.name = name
        seen.add(node.name)


def live_nodes(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in order."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(reads(node))
    return kept[::-1]
