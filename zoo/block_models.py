"""Blocks of networks, each a small ONNX model of its own: `blocks/fire` and its like.

`blocks.json` describes them layer by layer: result, kind, operands, and what the kind is told (`filters`, `kernel`,
`stride`, `groups`, `pad`; `act` is an activation that follows). Padding keeps the extent unless `pad` says otherwise.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from mlirfuse.zoo.wheel_networks import random_weight

__all__ = ["block_names", "build_block"]

_FILE = Path(__file__).parent / "blocks.json"
_OPSET = 17


@functools.cache
def _described() -> Mapping[str, Any]:
    return json.loads(_FILE.read_text())


def block_names() -> tuple[str, ...]:
    """The blocks that are described."""
    return tuple(_described())


def build_block(name: str, seed: int) -> onnx.ModelProto:
    """One block with random weights; its last layer is its output."""
    described = _described()[name]
    block = _Block(name, seed)
    for value, dims in described["inputs"].items():
        block.dims[value] = tuple(dims)
    for result, kind, operands, *told in described["layers"]:
        _LAYERS[kind](block, result, operands.split(), **(told[0] if told else {}))
    return block.model(tuple(described["inputs"]), described["layers"][-1][0])


class _Block:
    """Nodes and weights of a block, and the dimensions of its values."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, seed
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.dims: dict[str, tuple[int, ...]] = {}

    def node(self, kind: str, operands: list[str], result: str, dims: tuple[int, ...], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, operands, [result], result, **attributes))
        self.dims[result] = dims
        return result

    def weight(self, of: str, role: str, shape: tuple[int, ...]) -> str:
        value = f"{of}.{role}"
        array = random_weight(f"blocks/{self.name}/{value}", role, shape, self.seed)
        self.weights.append(numpy_helper.from_array(array, value))
        return value

    def numbers(self, value: str, numbers: tuple[int, ...]) -> str:
        self.weights.append(helper.make_tensor(value, TensorProto.INT64, (len(numbers),), numbers))
        return value

    def before_activation(self, result: str, act: str | None) -> str:
        return result if act is None else f"{result}.linear"

    def activate(self, value: str, result: str, act: str | None) -> None:
        """A Clip is to [0, 6]."""
        if act == "Clip":
            for bound, number in (("low", 0.0), ("high", 6.0)):
                self.weights.append(helper.make_tensor(f"{result}.{bound}", TensorProto.FLOAT, (), (number,)))
            self.node(act, [value, f"{result}.low", f"{result}.high"], result, self.dims[value])
        elif act is not None:
            self.node(act, [value], result, self.dims[value])

    def model(self, inputs: tuple[str, ...], output: str) -> onnx.ModelProto:
        def tensor(value: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(value, TensorProto.FLOAT, self.dims[value])

        graph = helper.make_graph(
            self.nodes, f"blocks_{self.name}", [tensor(v) for v in inputs], [tensor(output)], self.weights
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)


def _conv(
    block: _Block, result: str, operands: list[str], *, filters: int, kernel: int = 1, stride: int = 1, groups: int = 1,
    act: str | None = None,
) -> None:  # fmt: skip
    (x,) = operands
    n, channels, *spatial = block.dims[x]
    pad = (kernel - 1) // 2
    extents = ((size + 2 * pad - kernel) // stride + 1 for size in spatial)
    given = [x, block.weight(result, "filters", (filters, channels // groups, kernel, kernel))]
    given.append(block.weight(result, "bias", (filters,)))
    where, told = block.before_activation(result, act), {"pads": [pad] * 4, "strides": [stride] * 2, "group": groups}
    block.node("Conv", given, where, (n, filters, *extents), kernel_shape=[kernel] * 2, **told)
    block.activate(where, result, act)


def _transposed_conv(
    block: _Block, result: str, operands: list[str], *, filters: int, kernel: int, stride: int
) -> None:
    (x,) = operands
    n, channels, *spatial = block.dims[x]
    given = [x, block.weight(result, "filters", (channels, filters, kernel, kernel))]
    given.append(block.weight(result, "bias", (filters,)))
    dims = (n, filters, *((size - 1) * stride + kernel for size in spatial))
    block.node("ConvTranspose", given, result, dims, kernel_shape=[kernel] * 2, strides=[stride] * 2)


def _max_pool(block: _Block, result: str, operands: list[str], *, kernel: int, stride: int, pad: int = 0) -> None:
    (x,) = operands
    *outer, height, width = block.dims[x]
    extents = ((size + 2 * pad - kernel) // stride + 1 for size in (height, width))
    told = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
    block.node("MaxPool", operands, result, (*outer, *extents), **told)


def _global_average(block: _Block, result: str, operands: list[str]) -> None:
    n, channels, *spatial = block.dims[operands[0]]
    block.node("GlobalAveragePool", operands, result, (n, channels, *(1 for _ in spatial)))


def _batch_norm(block: _Block, result: str, operands: list[str], *, act: str | None = None) -> None:
    (x,) = operands
    channels = block.dims[x][1]
    given = [x, *(block.weight(result, role, (channels,)) for role in ("scale", "shift", "mean", "variance"))]
    where = block.before_activation(result, act)
    block.node("BatchNormalization", given, where, block.dims[x])
    block.activate(where, result, act)


def _shuffle(block: _Block, result: str, operands: list[str], *, groups: int) -> None:
    """Channel i * k + j becomes j * groups + i."""
    (x,) = operands
    n, channels, *spatial = block.dims[x]
    apart, turned = (n, groups, channels // groups, *spatial), (n, channels // groups, groups, *spatial)
    split = block.node("Reshape", [x, block.numbers(f"{result}.apart", apart)], f"{result}.split", apart)
    axes = [0, 2, 1, *range(3, 3 + len(spatial))]
    swapped = block.node("Transpose", [split], f"{result}.swapped", turned, perm=axes)
    block.node("Reshape", [swapped, block.numbers(f"{result}.joined", block.dims[x])], result, block.dims[x])


def _concat(block: _Block, result: str, operands: list[str]) -> None:
    n, _, *spatial = block.dims[operands[0]]
    block.node("Concat", operands, result, (n, sum(block.dims[v][1] for v in operands), *spatial), axis=1)


def _elementwise(kind: str) -> Callable[[_Block, str, list[str]], None]:
    def layer(block: _Block, result: str, operands: list[str]) -> None:
        block.node(kind, operands, result, block.dims[operands[0]])

    return layer


_LAYERS: Mapping[str, Callable[..., None]] = {
    "conv": _conv,
    "transposed_conv": _transposed_conv,
    "max_pool": _max_pool,
    "global_average": _global_average,
    "batch_norm": _batch_norm,
    "shuffle": _shuffle,
    "concat": _concat,
    "add": _elementwise("Add"),
    "mul": _elementwise("Mul"),
    "relu": _elementwise("Relu"),
}
