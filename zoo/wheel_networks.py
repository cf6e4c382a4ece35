"""The nine networks of the onnx package, with weights that make their outputs mean something.

The package's files fill every weight with one constant, so that every class gets the same score. Here each
ConstantOfShape becomes a random initializer by its role. Filters lose half of their mean: with all of it the common
offset of ReLU activations drowns the signal in depth, with none of it rounding errors grow a hundredfold on the way
through a deep network. They have He's scale times a gain from `gains.json`, measured
once by `calibrate.py` so that every layer's output has about unit variance (layer-sequential
unit-variance initialisation, Mishkin and Matas 2016).
"""

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from mlirfuse.errors import MlirfuseError
from mlirfuse.zoo.random_tensors import generator

__all__ = ["build_wheel_network", "role_of"]

_FILES = {"alexnet": "light_bvlc_alexnet.onnx"}
_GAINS = Path(__file__).parent / "gains.json"

CENTRE = 0.5  # how much of their mean filters lose

# What the tensors of a role look like: mean and half-width of a uniform distribution.
_UNIFORM = {"bias": (0.0, 0.05), "scale": (1.0, 0.1), "shift": (0.0, 0.1), "mean": (0.0, 0.1), "variance": (1.0, 0.1)}


def build_wheel_network(name: str, seed: int) -> onnx.ModelProto:
    """The network `name` of the onnx package with random weights; the graph is otherwise untouched."""
    return filled(bare_network(name), name, seed, gains().get(name, {}))


def bare_network(name: str) -> onnx.ModelProto:
    """The network as the onnx package has it."""
    import onnx.backend.test

    path = Path(onnx.backend.test.__file__).parent / "data" / "light" / _FILES.get(name, f"light_{name}.onnx")
    if not path.is_file():
        raise MlirfuseError(
            f"The installed onnx package {onnx.__version__} lacks {path.name}; install a release that has it."
        )
    return onnx.load(path)


@functools.cache
def gains() -> Mapping[str, Mapping[str, float]]:
    """Network to weight to the factor that gives the layer's output unit variance."""
    return json.loads(_GAINS.read_text())


def filled(model: onnx.ModelProto, network: str, seed: int, factors: Mapping[str, float]) -> onnx.ModelProto:
    """The model with random weights in place of its ConstantOfShape nodes and constant initializers."""
    graph = model.graph
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for slot, value in enumerate(node.input):
            readers.setdefault(value, []).append((node, slot))
    shapes = {name: array.shape for name, array in given.items() if array.dtype == np.float32}
    shapes |= {n.output[0]: tuple(map(int, given[n.input[0]])) for n in graph.node if n.op_type == "ConstantOfShape"}
    kept = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    used = {value for node in kept for value in node.input}
    del graph.initializer[:]
    graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in given.items() if n in used and n not in shapes)
    for name, shape in shapes.items():
        if name in used:
            weight = random_weight(f"{network}/{name}", role_of(name, readers), shape, seed)
            weight *= np.float32(factors.get(name, 1.0))
            tensor = graph.initializer.add(name=name, data_type=onnx.TensorProto.FLOAT, dims=shape)
            tensor.raw_data = weight.tobytes()  # in place: a copy of these takes seconds
    inputs = [value for value in graph.input if value.name in used and value.name not in given]
    del graph.node[:], graph.input[:]
    graph.node.extend(kept)
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)  # from here on, initializers are not inputs as well
    return model


def role_of(value: str, readers: Mapping[str, list[tuple[onnx.NodeProto, int]]]) -> str:
    """What a constant is for its (first) reader: filters, matrix, bias, scale, shift, mean or variance."""
    for node, slot in readers.get(value, ()):
        match node.op_type, slot:
            case "Conv", 1:
                return "filters"
            case "Gemm", 1:
                return "matrix"
            case (("Conv" | "Gemm"), 2):
                return "bias"
            case "BatchNormalization", _:
                return ("", "scale", "shift", "mean", "variance")[slot]
            case "Mul", _:
                return "scale"
            case "Add", _:
                return "shift"
            case (("Unsqueeze" | "Reshape"), 0):
                return role_of(node.output[0], readers)
    return "bias"


def random_weight(name: str, role: str, shape: tuple[int, ...], seed: int) -> Any:
    """A float32 tensor of a role; filters and the rows of a matrix about He's variance."""
    rng = generator(name, seed)
    if role in _UNIFORM:
        middle, half = _UNIFORM[role]
        return (middle + half * rng.uniform(-1, 1, shape)).astype(np.float32)
    weight = rng.standard_normal(shape, dtype=np.float32)
    rows = weight.reshape(-1, shape[-1] if role == "matrix" else math.prod(shape[1:]))
    fan_in = rows.shape[1]
    if fan_in > 8:
        rows -= np.float32(CENTRE) * rows.mean(axis=1, keepdims=True)
    weight *= np.float32(math.sqrt(2 / fan_in))
    return weight
