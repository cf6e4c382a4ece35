"""Nodes without a rule: collected, typed, and written as fusion.fallback.

A value that no tensor type describes (a sequence, strings, an unknown rank) is `Opaque`: it is not computed where
it is defined; the nodes that make it travel on, into the fall-back of whatever reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from mlirfuse.dialect import TensorType
from mlirfuse.dialect.node import REPRESENTABLE
from mlirfuse.frontend.host_node import encode_node, graph_node, oldest_opset, operand_names, other_domains
from mlirfuse.frontend.source import INLINE_BYTES
from mlirfuse.frontend.tensor import Tensor, known

__all__ = ["Island", "Opaque", "encoded", "infer_outputs", "island_of", "tensor_type"]


@dataclass(frozen=True)
class Island:
    """Nodes that run together on the host: `leaves` are the tensors they read, by name."""

    nodes: tuple[onnx.NodeProto, ...]
    leaves: Mapping[str, Tensor]
    opsets: Mapping[str, int]
    functions: tuple[onnx.FunctionProto, ...] = ()

    def graph(self, outputs: Sequence[str], inline_known: bool) -> onnx.GraphProto:
        """The island as a graph; `inline_known` puts small known leaves inside, for type inference."""
        graph = onnx.GraphProto(name="fallback", node=self.nodes)
        for name, leaf in self.leaves.items():
            inline = not leaf.representable or (inline_known and leaf.known and leaf.array.nbytes <= INLINE_BYTES)
            if inline:
                graph.initializer.append(numpy_helper.from_array(np.asarray(leaf.array), name))
            else:
                element = helper.np_dtype_to_tensor_dtype(np.dtype(leaf.dtype))
                graph.input.append(helper.make_tensor_value_info(name, element, leaf.type.shape))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        return graph


@dataclass(frozen=True)
class Opaque:
    """A value that only the host can hold, as the island that makes it."""

    name: str
    island: Island = field(repr=False)


def island_of(node: onnx.NodeProto, values: Mapping[str, Tensor | Opaque], opsets: Mapping[str, int]) -> Island:
    """The node with everything opaque that it reads."""
    nodes: dict[int, onnx.NodeProto] = {}
    leaves: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, Opaque):
            nodes |= {id(n): n for n in value.island.nodes}
            leaves |= value.island.leaves
            if value.name != name:  # a chosen branch gives it another name
                alias = helper.make_node("Identity", [value.name], [name])
                nodes[id(alias)] = alias
        else:
            leaves[name] = value
    nodes[id(node)] = node
    return Island(tuple(nodes.values()), leaves, opsets)


def infer_outputs(island: Island, outputs: Sequence[str]) -> dict[str, onnx.TypeProto]:
    """The types of some outputs as far as onnx can tell."""
    graph = island.graph(outputs, inline_known=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in island.opsets.items()])
    model.functions.extend(island.functions)
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # no types, then
        return {}
    return {value.name: value.type for value in inferred.graph.output if value.type.WhichOneof("value")}


def tensor_type(kinds: Sequence[onnx.TypeProto | None]) -> TensorType | None:
    """The tensor type that some descriptions of one value give together, None if no tensor can hold it."""
    best: list[int | None] | None = None
    dtype = None
    for kind in kinds:
        if kind is None or kind.WhichOneof("value") != "tensor_type" or not kind.tensor_type.elem_type:
            continue
        if kind.tensor_type.elem_type == onnx.TensorProto.STRING:
            return None
        dtype = helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type).name
        if not kind.tensor_type.HasField("shape"):
            continue
        dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.tensor_type.shape.dim]
        if best is None:
            best = dims
        elif len(best) == len(dims):
            best = [_agreed(a, b) for a, b in zip(best, dims, strict=True)]
    if dtype not in REPRESENTABLE or best is None:
        return None
    return TensorType(tuple(best), dtype)


def _agreed(a: int | None, b: int | None) -> int | None:
    """One extent of two descriptions; none where they contradict each other, as onnx's inference and a model may."""
    return b if a is None else a if b in (None, a) else None


def encoded(island: Island, name: str, outputs: Sequence[str]) -> tuple[dict[str, Any], list[Tensor]]:
    """The attributes and operands of the fusion.fallback of an island that gives `outputs`."""
    node, leaves = island.nodes[-1], dict(island.leaves)
    together = (
        len(island.nodes) > 1
        or any(not leaf.representable for leaf in leaves.values())
        or [o for o in node.output if o] != list(outputs)
    )
    if together:
        condition = f"{name}/always"
        leaves[condition] = known(np.array(True))
        body = island.graph(outputs, inline_known=False)
        del body.input[:]  # a branch reads outer values by their names
        node = graph_node(body, name, condition)
    attrs = {
        "node": encode_node(node),
        "opset": oldest_opset(island.nodes, island.opsets.get("", 1)),
        "operand_slots": tuple(i for i, given in enumerate(node.input) if given),
    }
    if domains := other_domains(island.nodes):
        attrs["domains"] = tuple(f"{domain}={island.opsets.get(domain, 1)}" for domain in domains)
    return attrs, [leaves[operand] for operand in operand_names(node)]
