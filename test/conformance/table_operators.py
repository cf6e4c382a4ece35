"""ONNX operators by the row of DNNFusion's table that they belong to, and models of pairs of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mlirfuse.dialect import MappingType

__all__ = ["OPERATORS", "SHAPES", "Operator", "Pair", "Sketch", "make_pair"]

OPSET = 17
IMAGE = (2, 4, 6, 8)


@dataclass
class Sketch:
    """A graph as it is drawn: nodes, weights, and the shape of every value, as ONNX infers it."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    def input(self, *dims: int) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(name)
        self.shapes[name] = dims
        return name

    def constant(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def random(self, *dims: int, scale: float = 1.0, low: float | None = None) -> str:
        """Normal numbers; with `low` their absolute values, at least that."""
        array = np.random.default_rng([len(self.weights), *dims]).standard_normal(dims) * scale
        array = array if low is None else np.abs(array) + low
        return self.constant(np.asarray(array).astype(np.float32))

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node named after its operator and place; the name of its (first) result."""
        names = [f"v{len(self.nodes)}{'' if i == 0 else f'_{i}'}" for i in range(outputs)]
        made = helper.make_node(op, inputs, names, name=f"{op}_{len(self.nodes)}", **attributes)
        self.nodes.append(made)
        known = [helper.make_tensor_value_info(v, TensorProto.FLOAT, s) for v, s in self.shapes.items() if v in inputs]
        graph = helper.make_graph([made], "one", known, [onnx.ValueInfoProto(name=v) for v in names], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        for value in inferred.graph.output:
            self.shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        return names[0]

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "sketch",
            [helper.make_tensor_value_info(v, TensorProto.FLOAT, self.shapes[v]) for v in self.inputs],
            [helper.make_tensor_value_info(v, TensorProto.FLOAT, self.shapes[v]) for v in outputs],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def arrays(self) -> dict[str, Any]:
        """A value for every input."""
        return {
            v: np.random.default_rng([i, *self.shapes[v]]).standard_normal(self.shapes[v]).astype(np.float32)
            for i, v in enumerate(self.inputs)
        }


Make = Callable[[Sketch, str], str | None]


@dataclass(frozen=True)
class Operator:
    """One way to use an ONNX operator: `make(sketch, x)` applies it to x, whose rank is `rank` (None: any).

    It gives None where x is not of a size that the operator takes, or where it would do nothing.
    """

    name: str
    mapping: str
    make: Make
    rank: int | None = 4


OPERATORS: dict[str, list[Operator]] = {mapping: [] for mapping in MappingType.ORDER}


def _operator(mapping: str, name: str, rank: int | None = 4) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        OPERATORS[mapping].append(Operator(name, mapping, make, rank))
        return make

    return add


def _plain(mapping: str, name: str, op: str, rank: int | None = 4, **attributes: Any) -> None:
    _operator(mapping, name, rank)(lambda d, x: d.node(op, x, **attributes))


ONE, MANY_FROM_ONE, MANY = MappingType.ONE_TO_ONE, MappingType.ONE_TO_MANY, MappingType.MANY_TO_MANY
REORGANIZE, SHUFFLE = MappingType.REORGANIZE, MappingType.SHUFFLE

# --- One-to-One

_plain(ONE, "relu", "Relu", None)
_plain(ONE, "sigmoid", "Sigmoid", None)
_plain(ONE, "leaky relu", "LeakyRelu", None, alpha=0.2)


@_operator(ONE, "addition", None)
def _add(d: Sketch, x: str) -> str:
    return d.node("Add", x, d.input(*d.shapes[x]))


@_operator(ONE, "product with a constant for each channel")
def _scale(d: Sketch, x: str) -> str:
    return d.node("Mul", x, d.random(1, d.shapes[x][1], 1, 1))


@_operator(ONE, "batch normalisation")
def _normalize(d: Sketch, x: str) -> str:
    c = d.shapes[x][1]
    return d.node("BatchNormalization", x, d.random(c), d.random(c), d.random(c), d.random(c, low=0.5))


@_operator(ONE, "where")
def _where(d: Sketch, x: str) -> str:
    return d.node("Where", d.constant(np.arange(d.shapes[x][-1]) % 3 != 1), x, d.input(*d.shapes[x]))


@_operator(ONE, "concatenation")
def _concat(d: Sketch, x: str) -> str:
    return d.node("Concat", x, d.input(d.shapes[x][0], 3, *d.shapes[x][2:]), axis=1)


@_operator(ONE, "slice")
def _slice(d: Sketch, x: str) -> str:
    h, w = d.shapes[x][2:]
    starts, ends, axes, steps = [min(1, h - 1), 0], [h, w], [2, 3], [1, 2]
    return d.node("Slice", x, *map(d.constant, (starts, ends, axes, steps)))


@_operator(ONE, "split", None)
def _split(d: Sketch, x: str) -> str | None:
    if d.shapes[x][1] < 2:
        return None
    return d.node("Split", x, d.constant([1, d.shapes[x][1] - 1]), axis=1, outputs=2) + "_1"


@_operator(ONE, "padding")
def _pad(d: Sketch, x: str) -> str:
    return d.node("Pad", x, d.constant([0, 1, 2, 1, 0, 0, 1, 2]))


@_operator(ONE, "reflected padding")
def _reflect(d: Sketch, x: str) -> str:
    return d.node("Pad", x, d.constant([0, 0, 0, 1, 0, 0, 0, 2 if d.shapes[x][3] > 2 else 1]), mode="edge")


# --- One-to-Many


@_operator(MANY_FROM_ONE, "expansion", None)
def _expand(d: Sketch, x: str) -> str:
    return d.node("Expand", x, d.constant([3, *d.shapes[x]]))


@_operator(MANY_FROM_ONE, "expansion of a batch of one", None)
def _expand_reduced(d: Sketch, x: str) -> str:
    first = d.node("Unsqueeze", x, d.constant([2]))
    return d.node("Expand", first, d.constant([*d.shapes[x][:2], 2, *d.shapes[x][2:]]))


@_operator(MANY_FROM_ONE, "gather", None)
def _gather(d: Sketch, x: str) -> str:
    last = d.shapes[x][1] - 1
    return d.node("Gather", x, d.constant([0, last, last, 0, last // 2]), axis=1)


@_operator(MANY_FROM_ONE, "gather of the innermost", None)
def _gather_last(d: Sketch, x: str) -> str:
    size = d.shapes[x][-1]
    return d.node("Gather", x, d.constant([*reversed(range(size)), 0, size // 2, 0]), axis=-1)


@_operator(MANY_FROM_ONE, "resize by two")
def _resize(d: Sketch, x: str) -> str:
    scales = d.constant(np.float32([1, 1, 2, 2]))
    return d.node("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                  nearest_mode="floor")  # fmt: skip


@_operator(MANY_FROM_ONE, "resize by a fraction")
def _resize_unevenly(d: Sketch, x: str) -> str:
    n, c, h, w = d.shapes[x]
    return d.node("Resize", x, "", "", d.constant([n, c, h + 1, 2 * w - 1]), mode="nearest")


@_operator(MANY_FROM_ONE, "addition to something larger", None)
def _broadcast(d: Sketch, x: str) -> str:
    return d.node("Add", x, d.input(3, *d.shapes[x]))


@_operator(MANY_FROM_ONE, "addition of something smaller", None)
def _broadcast_other(d: Sketch, x: str) -> str:
    return d.node("Mul", x, d.input(*d.shapes[x][:-1], 1) if d.shapes[x][-1] > 1 else d.input(*d.shapes[x][:-1], 5))


@_operator(MANY_FROM_ONE, "tile")
def _tile(d: Sketch, x: str) -> str:
    return d.node("Tile", x, d.constant([1, 2, 1, 3]))


# --- Reorganize


@_operator(REORGANIZE, "flatten", None)
def _flatten(d: Sketch, x: str) -> str:
    return d.node("Flatten", x, axis=1 if len(d.shapes[x]) > 2 else 0)


@_operator(REORGANIZE, "reshape that merges", None)
def _merge(d: Sketch, x: str) -> str | None:
    if len(d.shapes[x]) < 4:
        return None
    return d.node("Reshape", x, d.constant([d.shapes[x][0], -1, d.shapes[x][-1]]))


@_operator(REORGANIZE, "reshape that splits", None)
def _divide(d: Sketch, x: str) -> str:
    *outer, last = d.shapes[x]
    even = 2 if last % 2 == 0 else 1
    return d.node("Reshape", x, d.constant([*outer, last // even, even]))


@_operator(REORGANIZE, "reshape across dimensions")
def _regroup(d: Sketch, x: str) -> str:
    n, c, h, w = d.shapes[x]
    return d.node("Reshape", x, d.constant([n, h, w, c]))


@_operator(REORGANIZE, "unsqueeze", None)
def _unsqueeze(d: Sketch, x: str) -> str:
    return d.node("Unsqueeze", x, d.constant([1]))


# --- Shuffle


@_operator(SHUFFLE, "transpose", None)
def _transpose(d: Sketch, x: str) -> str:
    rank = len(d.shapes[x])
    return d.node("Transpose", x, perm=[0, *range(2, rank), 1] if rank > 2 else [1, 0])


@_operator(SHUFFLE, "transpose of the innermost", None)
def _transpose_last(d: Sketch, x: str) -> str | None:
    *outer, a, b = range(len(d.shapes[x]))
    perm = [*outer, b, a]
    undone = d.nodes and d.nodes[-1].op_type == "Transpose" and list(d.nodes[-1].attribute[0].ints) == perm
    return None if undone else d.node("Transpose", x, perm=perm)


@_operator(SHUFFLE, "depth to space")
def _depth_to_space(d: Sketch, x: str) -> str | None:
    return None if d.shapes[x][1] % 4 else d.node("DepthToSpace", x, blocksize=2, mode="CRD")


@_operator(SHUFFLE, "space to depth")
def _space_to_depth(d: Sketch, x: str) -> str | None:
    return None if d.shapes[x][2] % 2 or d.shapes[x][3] % 2 else d.node("SpaceToDepth", x, blocksize=2)


# --- Many-to-Many


def _convolution(
    d: Sketch, x: str, filters: int, groups: int = 1, kernel: int = 3, op: str = "Conv", **more: Any
) -> str:
    c, rank = d.shapes[x][1], len(d.shapes[x]) - 2
    first = (filters, c // groups) if op == "Conv" else (c, filters // groups)
    weight = d.random(*first, *[kernel] * rank, scale=(c // groups * kernel**rank) ** -0.5)
    return d.node(op, x, weight, d.random(filters), pads=[kernel // 2] * (2 * rank), group=groups, **more)


@_operator(MANY, "convolution")
def _conv(d: Sketch, x: str) -> str:
    return _convolution(d, x, 8)


@_operator(MANY, "strided pointwise convolution")
def _pointwise(d: Sketch, x: str) -> str:
    return _convolution(d, x, 12, kernel=1, strides=[2, 1])


@_operator(MANY, "grouped convolution")
def _grouped(d: Sketch, x: str) -> str:
    c = d.shapes[x][1]
    return _convolution(d, x, 2 * c, groups=2 if c % 2 == 0 else c)


@_operator(MANY, "depthwise convolution")
def _depthwise(d: Sketch, x: str) -> str:
    return _convolution(d, x, d.shapes[x][1], groups=d.shapes[x][1])


@_operator(MANY, "convolution of one dimension", 3)
def _conv_1d(d: Sketch, x: str) -> str:
    return _convolution(d, x, 8)


@_operator(MANY, "convolution of three dimensions", 5)
def _conv_3d(d: Sketch, x: str) -> str:
    return _convolution(d, x, 4)


@_operator(MANY, "transposed convolution")
def _conv_transpose(d: Sketch, x: str) -> str:
    return _convolution(d, x, 6, op="ConvTranspose", strides=[2, 2])


@_operator(MANY, "matrix product with a constant", None)
def _matmul(d: Sketch, x: str) -> str:
    k = d.shapes[x][-1]
    return d.node("MatMul", x, d.random(k, 12, scale=k**-0.5))


@_operator(MANY, "batched matrix product", None)
def _batched(d: Sketch, x: str) -> str:
    *batches, _, k = d.shapes[x]
    return d.node("MatMul", x, d.input(*batches, k, 5))


@_operator(MANY, "general matrix product", 2)
def _gemm(d: Sketch, x: str) -> str:
    k = d.shapes[x][1]
    return d.node("Gemm", x, d.random(10, k, scale=k**-0.5), d.random(10), transB=1)


@_operator(MANY, "maximum pooling")
def _max_pool(d: Sketch, x: str) -> str:
    return d.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])


@_operator(MANY, "average pooling")
def _average_pool(d: Sketch, x: str) -> str:
    return d.node("AveragePool", x, kernel_shape=[3, 2], pads=[1, 0, 1, 1])


_plain(MANY, "global average", "GlobalAveragePool")
_plain(MANY, "maximum of the innermost", "ReduceMax", None, axes=[-1], keepdims=0)
_plain(MANY, "mean of channels", "ReduceMean", None, axes=[1], keepdims=1)
_plain(MANY, "softmax", "Softmax", None, axis=-1)
_plain(MANY, "softmax of channels", "Softmax", None, axis=1)
_plain(MANY, "local response normalisation", "LRN", size=3, alpha=0.1)


@_operator(MANY, "instance normalisation")
def _instance(d: Sketch, x: str) -> str:
    c = d.shapes[x][1]
    return d.node("InstanceNormalization", x, d.random(c), d.random(c))


@_operator(MANY, "layer normalisation", None)
def _layer(d: Sketch, x: str) -> str:
    c = d.shapes[x][-1]
    return d.node("LayerNormalization", x, d.random(c), d.random(c), axis=-1)


@_operator(MANY, "cumulative sum", None)
def _cumulate(d: Sketch, x: str) -> str:
    return d.node("CumSum", x, d.constant(np.int64(1)))


# --- pairs

SHAPES: Mapping[int, tuple[int, ...]] = {2: (6, 8), 3: (2, 4, 8), 4: IMAGE, 5: (1, 3, 4, 4, 5)}


@dataclass(frozen=True)
class Pair:
    """Two operators in a row as a model; `first` and `second` are the names of the nodes that each is."""

    model: onnx.ModelProto
    arrays: dict[str, Any]
    first: tuple[str, ...]
    second: tuple[str, ...]


def make_pair(first: Operator, second: Operator) -> Pair | None:
    """`second` of `first`, with one rank that suits both; None where there is none."""
    for rank in [first.rank] if first.rank else (4, 2, 3, 5):
        d = Sketch()
        middle = first.make(d, d.input(*SHAPES[rank]))
        if middle is None or second.rank not in (None, len(d.shapes[middle])):
            continue
        count = len(d.nodes)
        last = second.make(d, middle)
        if last is None:
            continue
        names = [n.name for n in d.nodes]
        return Pair(d.model(last), d.arrays(), tuple(names[:count]), tuple(names[count:]))
    return None
