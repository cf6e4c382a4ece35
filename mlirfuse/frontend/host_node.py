"""Fall-back nodes: how one travels in the IR, and how to run it on the host. Needs onnx and numpy, not MLIR.

A fall-back is a NodeProto; its operands are its non-empty inputs, then the outer values that its sub-graphs read.
Several nodes that only make sense together (a sequence, or strings, between them) travel as one `If` whose
condition is an operand that is true.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from mlirfuse.subgraphs import captured_names

__all__ = ["decode_node", "encode_node", "graph_node", "oldest_opset", "operand_names", "other_domains",
           "run_host_node"]  # fmt: skip


def encode_node(node: onnx.NodeProto) -> str:
    """The text of a node for the `node` attribute of fusion.fallback."""
    return base64.b64encode(node.SerializeToString(deterministic=True)).decode("ascii")


def decode_node(text: str) -> onnx.NodeProto:
    """The node that `encode_node` made this text of."""
    return onnx.NodeProto.FromString(base64.b64decode(text))


def operand_names(node: onnx.NodeProto) -> list[str]:
    """What the operands of a fall-back are called in its node, in order."""
    inputs = [name for name in node.input if name]
    return inputs + [name for name in captured_names(node) if name not in inputs]


def graph_node(graph: onnx.GraphProto, name: str, condition: str) -> onnx.NodeProto:
    """A node that stands for a graph without inputs: both branches of an If are that graph."""
    outputs = [value.name for value in graph.output]
    inner = onnx.GraphProto()
    inner.CopyFrom(graph)
    for value in inner.output:  # a value has one definition in a model, so the outer names are new ones
        inner.node.append(helper.make_node("Identity", [value.name], [f"{value.name}/inner"]))
        value.name = f"{value.name}/inner"
    return helper.make_node("If", [condition], outputs, name, then_branch=inner, else_branch=inner)


def model_of_node(
    node: onnx.NodeProto, opset: int, inputs: Mapping[str, onnx.TypeProto], domains: Sequence[str] = ()
) -> onnx.ModelProto:
    """A model of one fall-back node; `inputs` are the types of its operands, `domains` as in the attribute.

    It is stamped with the oldest opset in which its operators mean the same: runtimes refuse newer stamps than theirs.
    """
    values = [helper.make_value_info(name, kind) for name, kind in inputs.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "fallback", values, outputs)
    imports = {"": oldest_opset([node], opset)}
    imports |= dict.fromkeys(other_domains([node]), 1)
    imports |= {domain: int(version) for domain, _, version in (d.rpartition("=") for d in domains)}
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in imports.items()])
    model.ir_version = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    return model


def oldest_opset(nodes: Sequence[onnx.NodeProto], opset: int) -> int:
    """The newest version of any operator in `nodes` and their sub-graphs that `opset` includes."""
    oldest = 7
    for node in nodes:
        if node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type, max_inclusive_version=opset):
            oldest = max(oldest, onnx.defs.get_schema(node.op_type, opset).since_version)
        for attribute in node.attribute:
            for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                oldest = max(oldest, oldest_opset(graph.node, opset))
    return min(oldest, opset)


def other_domains(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """The domains besides ONNX's own of `nodes` and the nodes of their sub-graphs, each once."""
    found: dict[str, None] = {}
    for node in nodes:
        if node.domain not in ("", "ai.onnx"):
            found[node.domain] = None
        for attribute in node.attribute:
            for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                found.update(dict.fromkeys(other_domains(graph.node)))
    return list(found)


def run_host_node(node: onnx.NodeProto, opset: int, arrays: Sequence[Any], domains: Sequence[str] = ()) -> list[Any]:
    """Run a fall-back node on the arrays of its operands; its non-empty outputs, in order.

    Through ONNX Runtime where it is installed and knows the node, else through onnx's reference evaluator.
    """
    given = dict(zip(operand_names(node), arrays, strict=True))
    types = {
        name: helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    }
    model = model_of_node(node, opset, types, domains)
    session = _runtime_session(model.SerializeToString(deterministic=True))
    if session is not None:
        try:
            return session.run(None, given)
        except Exception:  # the reference evaluator gets its turn, and its error is shown
            pass
    from onnx.reference import ReferenceEvaluator

    operators = _old_softmaxes() if model.opset_import[0].version < 13 else []
    with np.errstate(all="ignore"):
        return [np.asarray(value) for value in ReferenceEvaluator(model, new_ops=operators).run(None, given)]


@functools.cache
def _old_softmaxes() -> list[Any]:
    """Softmax and LogSoftmax as before opset 13, over all axes from `axis` on: the evaluator has only the new ones."""
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
    except Exception:  # an opset or operator that this version of ONNX Runtime does not know
        return None
