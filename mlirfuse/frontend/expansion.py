"""Nodes as other nodes: model-local functions, operators that ONNX itself defines as functions, chosen branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlirfuse.frontend.registry import NoRule

if TYPE_CHECKING:
    from mlirfuse.frontend.model import ImportedModel
    from mlirfuse.frontend.node_call import NodeCall

__all__ = ["Expansion", "expansion_of", "inlined", "renamed_branch"]


@dataclass(frozen=True)
class Expansion:
    """The nodes that define another, by what names they read its inputs and give its outputs, and their opsets."""

    nodes: Sequence[onnx.NodeProto]
    inputs: Sequence[str]
    outputs: Sequence[str]
    opsets: Mapping[str, int]


def expansion_of(model: ImportedModel, call: NodeCall) -> Expansion | None:
    """The nodes of the function that defines a node, its attributes filled in, or None."""
    proto = call.proto
    function = model.functions.get((proto.domain, proto.op_type)) or _schema_function(call)
    if function is None:
        return None
    given = {a.name: a for a in proto.attribute}
    defaults = {a.name: a for a in function.attribute_proto}
    nodes = [_bound_node(n, given, defaults) for n in function.node]
    opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in function.opset_import}
    return Expansion(nodes, list(function.input), list(function.output), opsets)


def _schema_function(call: NodeCall) -> onnx.FunctionProto | None:
    """The function by which ONNX defines an operator at this opset, for these input types."""
    domain = "" if call.proto.domain == "ai.onnx" else call.proto.domain
    try:
        schema: Any = onnx.defs.get_schema(call.op_type, call.opset, domain)
    except onnx.defs.SchemaError:
        return None
    function, defaults = onnx.FunctionProto(), {}
    if schema.has_function:
        function.CopyFrom(schema.function_body)
        defaults = {name: a.default_value for name, a in schema.attributes.items() if a.default_value.name}
    elif schema.has_context_dependent_function:
        kinds = [onnx.TypeProto() if t is None else _type_proto(t) for t in call.inputs]
        text = schema.get_context_dependent_function(
            call.proto.SerializeToString(), [kind.SerializeToString() for kind in kinds]
        )
        function.ParseFromString(text)
    else:
        return None
    function.attribute_proto.extend(defaults.values())
    return function


def _type_proto(tensor: Any) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)), tensor.type.shape)


def _bound_node(
    node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto], defaults: Mapping[str, onnx.AttributeProto]
) -> onnx.NodeProto:
    """A node of a function body with references to the caller's attributes resolved."""
    bound = onnx.NodeProto()
    bound.CopyFrom(node)
    del bound.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            bound.attribute.append(attribute)
            continue
        source = given.get(attribute.ref_attr_name) or defaults.get(attribute.ref_attr_name)
        if source is not None:
            copy = bound.attribute.add()
            copy.CopyFrom(source)
            copy.name = attribute.name
    return bound


def inlined(expansion: Expansion, call: NodeCall) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes of a function in terms of the caller's values, and what its outputs are called there.

    Names of their own are prefixed with the caller's name, so that they clash with none.
    """
    names = dict.fromkeys(expansion.inputs, "") | dict(zip(expansion.inputs, call.proto.input, strict=False))
    names |= {name: f"{call.name}/{name}" for node in expansion.nodes for name in node.output if name}
    return _renamed(expansion.nodes, names, call.name), [names[output] for output in expansion.outputs]


def renamed_branch(graph: onnx.GraphProto, prefix: str) -> tuple[list[onnx.NodeProto], dict[str, Any], list[str]]:
    """The nodes, constants and outputs of a sub-graph, its own names prefixed so that they clash with none."""
    own = {name for node in graph.node for name in node.output if name} | {t.name for t in graph.initializer}
    names = {name: f"{prefix}/{name}" for name in own}
    constants = {names[t.name]: numpy_helper.to_array(t) for t in graph.initializer}
    if graph.sparse_initializer:
        raise NoRule("has sparse initializers in a branch")
    return _renamed(graph.node, names, prefix), constants, [names.get(o.name, o.name) for o in graph.output]


def _renamed(nodes: Sequence[onnx.NodeProto], names: Mapping[str, str], prefix: str) -> list[onnx.NodeProto]:
    copies = []
    for index, node in enumerate(nodes):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}/{node.name or f'{node.op_type}_{index}'}"
        _rename(copy, names)
        copies.append(copy)
    return copies


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    for field in (node.input, node.output):
        for index, name in enumerate(field):
            field[index] = names.get(name, name)
    for attribute in node.attribute:
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            shadowed = {v.name for v in (*graph.input, *graph.initializer)}
            shadowed |= {output for child in graph.node for output in child.output}
            inner = {old: new for old, new in names.items() if old not in shadowed}
            for child in graph.node:
                _rename(child, inner)
            for output in graph.output:
                output.name = inner.get(output.name, output.name)
