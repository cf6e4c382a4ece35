"""Small ONNX models for tests, and ways to run them."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mlirfuse.dialect import WeightStore
from mlirfuse.frontend import NodeStatus, interpret, load_model
from mlirfuse.frontend.graph_importer import GraphImporter

FLOAT = TensorProto.FLOAT


def value(name: str, shape: Any, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Any],
    outputs: list[str],
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    functions: Any = (),
    domains: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """A model; `inputs` maps names to shapes (float32) or (shape, element type)."""
    typed = [
        value(n, *s) if isinstance(s, tuple) and s and isinstance(s[0], list | tuple) else value(n, s)
        for n, s in inputs.items()
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        typed,
        [onnx.ValueInfoProto(name=name) if not isinstance(name, onnx.ValueInfoProto) else name for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    for output in graph.output:
        if not output.type.WhichOneof("value"):
            output.type.tensor_type.elem_type = FLOAT
    imports = {"": opset, **(domains or {})}
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(d, v) for d, v in imports.items()],
        functions=functions,
        ir_version=10,
    )


def run(proto: Any, inputs: dict[str, Any], shapes: Any = None) -> tuple[dict[str, Any], list[NodeStatus], str]:
    """Outputs of the reference interpreter, statuses, and the module's text. Needs an entered context."""
    store = WeightStore()
    importer = GraphImporter(load_model(proto, shapes), store)
    module = importer.run()
    return interpret(module, store, inputs), importer.statuses, str(module)


def floats(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
