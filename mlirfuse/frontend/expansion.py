"""Nodes as other nodes: model-local functions, operators that ONNX itself defines as functions, chosen branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlirfuse.frontend.registry import InvalidNode

if TYPE_CHECKING:
    from mlirfuse.frontend.model import ImportedModel
    from mlirfuse.frontend.node_call import NodeCall

__all__ = ["expansion_of", "renamed_branch"]

Expansion = tuple[Sequence[onnx.NodeProto], Sequence[str], Sequence[str]]


def expansion_of(model: ImportedModel, call: NodeCall) -> Expansion | None:
    """The nodes, formal inputs and formal outputs of the function that defines a node, or None."""
    proto = call.proto
    function = model.functions.get((proto.domain, proto.op_type)) or _schema_function(call)
    if function is None:
        return None
    given = {a.name: a for a in proto.attribute}
    defaults = {a.name: a for a in function.attribute_proto}
    return [_bound_node(n, given, defaults) for n in function.node], list(function.input), list(function.output)


def _schema_function(call: NodeCall) -> onnx.FunctionProto | None:
    """The function by which ONNX defines an operator at this opset, for these input types."""
    domain = "" if call.proto.domain == "ai.onnx" else call.proto.domain
    try:
        schema = onnx.defs.get_schema(call.op_type, call.opset, domain)
    except onnx.defs.SchemaError:
        return None
    if schema.has_function:
        function = schema.function_body
        defaults = {name: a.default_value for name, a in schema.attributes.items() if a.default_value.name}
    elif schema.has_context_dependent_function:
        kinds = [onnx.TypeProto() if t is None else _type_proto(t) for t in call.inputs]
        text = schema.get_context_dependent_function(
            call.proto.SerializeToString(), [kind.SerializeToString() for kind in kinds]
        )
        function, defaults = onnx.FunctionProto.FromString(text), {}
    else:
        return None
    complete = onnx.FunctionProto()
    complete.CopyFrom(function)
    complete.attribute_proto.extend(defaults.values())
    if {o.version for o in complete.opset_import if o.domain == ""} - {call.opset}:
        return complete if _same_operators(complete, call.opset) else None
    return complete


def _same_operators(function: onnx.FunctionProto, opset: int) -> bool:
    """Whether the operators of a body mean the same at the model's opset as at the function's."""
    versions = {o.domain: o.version for o in function.opset_import}
    for node in function.node:
        written = onnx.defs.get_schema(node.op_type, versions.get(node.domain, opset), node.domain).since_version
        here = onnx.defs.get_schema(node.op_type, opset, node.domain).since_version
        if written != here and node.op_type in CHANGED_SIGNATURES:
            return False
    return True


# Operators whose attributes became inputs: a body written for one form is not valid in the other.
CHANGED_SIGNATURES = frozenset(
    ("Clip", "Dropout", "Pad", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSum",
     "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare", "Resize", "Slice", "Split", "Squeeze", "TopK", "Unsqueeze", "Softmax", "LogSoftmax")
)  # fmt: skip


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


def renamed_branch(graph: onnx.GraphProto, prefix: str) -> tuple[list[onnx.NodeProto], dict[str, Any], list[str]]:
    """The nodes, constants and outputs of a sub-graph, its own names prefixed so that they clash with none."""
    own = {name for node in graph.node for name in node.output if name} | {t.name for t in graph.initializer}
    names = {name: f"{prefix}/{name}" for name in own}
    nodes = []
    for index, node in enumerate(graph.node):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}/{node.name or f'{node.op_type}_{index}'}"
        _rename(copy, names)
        nodes.append(copy)
    constants = {names[t.name]: numpy_helper.to_array(t) for t in graph.initializer}
    if any(t.values.name for t in graph.sparse_initializer):
        raise InvalidNode("has sparse initializers in a branch")
    return nodes, constants, [names.get(o.name, o.name) for o in graph.output]


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    for field in (node.input, node.output):
        for index, name in enumerate(field):
            field[index] = names.get(name, name)
    for attribute in node.attribute:
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            shadowed = (
                {v.name for v in graph.input}
                | {t.name for t in graph.initializer}
                | {o for n in graph.node for o in n.output}
            )
            inner = {old: new for old, new in names.items() if old not in shadowed}
            for child in graph.node:
                _rename(child, inner)
            for output in graph.output:
                output.name = inner.get(output.name, output.name)
