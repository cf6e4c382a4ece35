"""Fall-back nodes: how one travels in the IR, and how to run it on the host. Needs onnx and numpy, not MLIR.

A fall-back is a NodeProto. One that reads outer values in a sub-graph, produces values that tensors cannot
hold (sequences, strings) on the way, or comes from another domain travels as a whole graph inside a node
(`mlirfuse.Graph`): its inputs and outputs are those of the graph, its opset imports lie in `domains` and `versions`.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

__all__ = ["GRAPH_DOMAIN", "decode_node", "encode_node", "graph_node", "model_of_node", "run_host_node"]

GRAPH_DOMAIN = "mlirfuse"


def encode_node(node: onnx.NodeProto) -> str:
    """The text of a node for the `node` attribute of fusion.fallback."""
    return base64.b64encode(node.SerializeToString(deterministic=True)).decode("ascii")


def decode_node(text: str) -> onnx.NodeProto:
    """The node that `encode_node` made this text of."""
    return onnx.NodeProto.FromString(base64.b64decode(text))


def graph_node(graph: onnx.GraphProto, name: str, opsets: Mapping[str, int]) -> onnx.NodeProto:
    """A node that stands for a whole graph."""
    node = helper.make_node(
        "Graph", [v.name for v in graph.input], [v.name for v in graph.output], name, domain=GRAPH_DOMAIN, body=graph
    )
    others = {domain: version for domain, version in opsets.items() if domain}
    if others:
        node.attribute.append(helper.make_attribute("domains", list(others)))
        node.attribute.append(helper.make_attribute("versions", list(others.values())))
    return node


def model_of_node(node: onnx.NodeProto, opset: int, inputs: Mapping[str, onnx.TypeProto]) -> onnx.ModelProto:
    """A model of one fall-back node; `inputs` are the types of its non-empty inputs.

    It is stamped with the oldest opset in which its operators mean the same: runtimes refuse newer stamps than theirs.
    """
    imports = {"": opset}
    if node.domain == GRAPH_DOMAIN:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        graph = attributes["body"]
        names = [d.decode() if isinstance(d, bytes) else d for d in attributes.get("domains", [])]
        imports |= dict(zip(names, attributes.get("versions", []), strict=True))
    else:
        values = [helper.make_value_info(name, kind) for name, kind in inputs.items()]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "fallback", values, outputs)
        if node.domain not in ("", "ai.onnx"):
            imports[node.domain] = 1
    imports[""] = _oldest_opset(graph.node, opset)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in imports.items()])
    model.ir_version = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    return model


def _oldest_opset(nodes: Sequence[onnx.NodeProto], opset: int) -> int:
    """The newest version of any operator in `nodes` and their sub-graphs that `opset` includes."""
    oldest = 7
    for node in nodes:
        if node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type, max_inclusive_version=opset):
            oldest = max(oldest, onnx.defs.get_schema(node.op_type, opset).since_version)
        for attribute in node.attribute:
            for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                oldest = max(oldest, _oldest_opset(graph.node, opset))
    return min(oldest, opset)


def run_host_node(node: onnx.NodeProto, opset: int, arrays: Sequence[Any]) -> list[Any]:
    """Run a fall-back node on the arrays of its non-empty inputs; its non-empty outputs, in order.

    Through ONNX Runtime where it is installed and knows the node, else through onnx's reference evaluator.
    """
    names = list(dict.fromkeys(name for name in node.input if name))
    given = dict(zip([name for name in node.input if name], arrays, strict=True))
    types = {
        name: helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(given[name].dtype), given[name].shape)
        for name in names
    }
    model = model_of_node(node, opset, types)
    session = _runtime_session(model.SerializeToString(deterministic=True))
    if session is not None:
        try:
            return session.run(None, given)
        except Exception:  # noqa: BLE001 -- the reference evaluator gets its turn, and its error is shown
            pass
    from onnx.reference import ReferenceEvaluator

    operators = _old_softmaxes() if model.opset_import[0].version < 13 else []
    with np.errstate(all="ignore"):
        return [np.asarray(value) for value in ReferenceEvaluator(model, new_ops=operators).run(None, given)]


@functools.cache
def _old_softmaxes() -> list[Any]:
    """Softmax and LogSoftmax as they were before opset 13, over all axes from `axis` on: the evaluator has the new ones only."""
    from onnx.reference.op_run import OpRun

    def exponentials(x: Any, axis: int | None) -> tuple[Any, Any]:
        axes = tuple(range(1 if axis is None else axis % x.ndim, x.ndim))
        shifted = x - x.max(axis=axes, keepdims=True)
        return shifted, np.exp(shifted).sum(axis=axes, keepdims=True)

    class Softmax(OpRun):
        op_domain = ""

        def _run(self, x: Any, axis: int | None = None) -> tuple[Any]:
            shifted, total = exponentials(x, axis)
            return (np.exp(shifted) / total,)

    class LogSoftmax(OpRun):
        op_domain = ""

        def _run(self, x: Any, axis: int | None = None) -> tuple[Any]:
            shifted, total = exponentials(x, axis)
            return (shifted - np.log(total),)

    return [Softmax, LogSoftmax]


@functools.lru_cache(maxsize=64)
def _runtime_session(model: bytes) -> Any | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 -- an opset or operator that this version of ONNX Runtime does not know
        return None
