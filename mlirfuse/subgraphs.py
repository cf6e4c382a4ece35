"""What the sub-graphs of an ONNX node (If, Loop, Scan) read from around it."""

from typing import Any

__all__ = ["captured_names"]


def captured_names(node: Any) -> list[str]:
    """Outer values that the sub-graphs of a NodeProto read, each once, in order."""
    found: dict[str, None] = {}
    for attribute in node.attribute:
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            inner = {v.name for v in graph.input} | {t.name for t in graph.initializer}
            inner |= {t.values.name for t in graph.sparse_initializer}
            for child in graph.node:
                for name in (*child.input, *captured_names(child)):
                    if name and name not in inner:
                        found[name] = None
                inner |= set(child.output)
            for output in graph.output:
                if output.name not in inner:
                    found[output.name] = None
    return list(found)
