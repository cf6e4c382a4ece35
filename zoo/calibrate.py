"""Measure the gains of the onnx package's networks: `python -m mlirfuse.zoo.calibrate [NAME...]` rewrites gains.json.

Walks each network once, node by node, on two random images through ONNX Runtime. Where a layer's output
comes out, its weight is scaled so that the output's standard deviation is 1 (1.5 for the class scores), and
the walk goes on with the corrected output.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlirfuse.zoo.wheel_names import WHEEL_NETWORKS
from mlirfuse.zoo.wheel_networks import _GAINS, bare_network, filled, gains

__all__ = ["calibrate"]

SCORES_STD = 1.5


def calibrate(name: str, images: int = 2) -> dict[str, float]:
    """The gain of every filter and matrix of a network, in order."""
    model = filled(bare_network(name), name, 0, {})
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    [image] = [value for value in graph.input if value.name not in constants]
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    opset = next(o.version for o in model.opset_import if not o.domain)
    runs = [{image.name: np.random.default_rng(i).standard_normal(shape, dtype=np.float32)} for i in range(images)]
    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Reshape"}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    found: dict[str, float] = {}
    for node in graph.node:
        outputs = [_run(node, run | constants, opset) for run in runs]
        if node in layers:
            target = SCORES_STD if node is layers[-1] else 1.0
            bias = constants[node.input[2]] if len(node.input) > 2 else np.zeros((), np.float32)
            bias = bias.reshape(-1, *(1,) * (outputs[0].ndim - 2)) if bias.ndim else bias
            gain = float(f"{target / np.std([y - bias for y in outputs]):.4g}")
            found[source.get(node.input[1], node.input[1])] = gain
            outputs = [(y - bias) * np.float32(gain) + bias for y in outputs]
        for run, output in zip(runs, outputs, strict=True):
            run[node.output[0]] = output
    return found


def _run(node: onnx.NodeProto, values: Mapping[str, Any], opset: int) -> Any:
    """The first output of one node."""
    import onnxruntime

    given = {name: values[name] for name in node.input}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    graph = helper.make_graph([node], "node", inputs, [onnx.ValueInfoProto(name=node.output[0])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString()).run([node.output[0]], given)[0]


def main(names: list[str]) -> None:
    """Rewrite the table for some networks, or all."""
    table = {name: dict(gain) for name, gain in gains().items()} if _GAINS.is_file() else {}
    for name in names or WHEEL_NETWORKS:
        table[name] = calibrate(name)
        print(name, len(table[name]), f"{min(table[name].values()):.3f}..{max(table[name].values()):.3f}")
    _GAINS.write_text(json.dumps(table, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
