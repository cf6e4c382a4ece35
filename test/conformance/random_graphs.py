"""Random small ONNX graphs of what convolutional networks are made of, with every node's output shape known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from answers import RandomModel
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

__all__ = ["random_graphs"]

OPSET = 17


@dataclass
class _Drawing:
    draw: Any
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def one_of(self, choices: Any) -> Any:
        return self.draw(st.sampled_from(list(choices)))

    def constant(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def random(self, *dims: int, scale: float = 1.0, positive: bool = False) -> str:
        rng = np.random.default_rng([len(self.weights), *dims])
        array = rng.standard_normal(dims).astype(np.float32) * np.float32(scale)
        return self.constant(np.abs(array) + np.float32(0.5) if positive else array)

    def node(self, op: str, *inputs: str, shape: tuple[int, ...], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{len(self.nodes)}", **attributes))
        self.shapes[name] = tuple(shape)
        return name

    def images(self) -> list[str]:
        return [v for v, shape in self.shapes.items() if len(shape) == 4]


def _conv(d: _Drawing, v: str) -> str:
    n, c, h, w = d.shapes[v]
    groups = d.one_of([1, 1, 1, c] + [g for g in (2, 4) if c % g == 0])
    filters = c if groups == c else d.one_of([m for m in (4, 8, 12, 16, 24) if m % groups == 0])
    k, stride = d.one_of([1, 3, 3, 5]), d.one_of([1, 1, 2])
    inputs = [v, d.random(filters, c // groups, k, k, scale=1 / (k * (c // groups) ** 0.5))]
    if d.one_of([True, False]):
        inputs.append(d.random(filters))
    shape = (n, filters, (h - 1) // stride + 1, (w - 1) // stride + 1)
    return d.node("Conv", *inputs, shape=shape, pads=[k // 2] * 4, strides=[stride] * 2, group=groups)


def _normalize(d: _Drawing, v: str) -> str:
    c = d.shapes[v][1]
    parameters = (d.random(c), d.random(c), d.random(c), d.random(c, positive=True))
    return d.node("BatchNormalization", v, *parameters, shape=d.shapes[v])


def _activate(d: _Drawing, v: str) -> str:
    op = d.one_of(["Relu", "Sigmoid", "Tanh", "HardSigmoid", "Elu", "LeakyRelu", "HardSwish", "Softplus"])
    return d.node(op, v, shape=d.shapes[v])


def _scale(d: _Drawing, v: str) -> str:
    c = d.shapes[v][1]
    other = d.one_of([d.random(1, c, 1, 1), d.random(), d.random(c, 1, 1, positive=True)])
    return d.node(d.one_of(["Mul", "Add", "Sub"]), v, other, shape=d.shapes[v])


def _join(d: _Drawing, v: str) -> str:
    """An earlier value added, multiplied or put beside; itself, if there is no other of that size."""
    n, c, h, w = d.shapes[v]
    if d.one_of([True, False]):
        others = [u for u in d.images() if d.shapes[u] == d.shapes[v]]
        return d.node(d.one_of(["Add", "Mul", "Max"]), v, d.one_of(others), shape=d.shapes[v])
    others = [u for u in d.images() if d.shapes[u][2:] == (h, w) and d.shapes[u][1] + c <= 48]
    if not others:
        return _activate(d, v)
    u = d.one_of(others)
    return d.node("Concat", v, u, shape=(n, c + d.shapes[u][1], h, w), axis=1)


def _pool(d: _Drawing, v: str) -> str:
    n, c, h, w = d.shapes[v]
    op, stride = d.one_of(["MaxPool", "AveragePool"]), d.one_of([1, 2])
    extra = {} if op == "MaxPool" else {"count_include_pad": d.one_of([0, 1])}
    shape = (n, c, (h - 1) // stride + 1, (w - 1) // stride + 1)
    return d.node(op, v, shape=shape, kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2, **extra)


def _local_response(d: _Drawing, v: str) -> str:
    return d.node("LRN", v, shape=d.shapes[v], size=d.one_of([3, 5]), alpha=0.01)


def _shuffle(d: _Drawing, v: str) -> str:
    n, c, h, w = d.shapes[v]
    groups = d.one_of([g for g in (2, 3, 4, 1) if c % g == 0])
    v = d.node("Reshape", v, d.constant([n, groups, c // groups, h, w]), shape=(n, groups, c // groups, h, w))
    v = d.node("Transpose", v, shape=(n, c // groups, groups, h, w), perm=[0, 2, 1, 3, 4])
    return d.node("Reshape", v, d.constant([n, c, h, w]), shape=(n, c, h, w))


def _part(d: _Drawing, v: str) -> str:
    n, c, h, w = d.shapes[v]
    if c < 4:
        return _activate(d, v)
    given = (d.constant([0]), d.constant([c // 2]), d.constant([1]))
    return d.node("Slice", v, *given, shape=(n, c // 2, h, w))


def _pad(d: _Drawing, v: str) -> str:
    n, c, h, w = d.shapes[v]
    mode = d.one_of(["constant", "edge"] + (["reflect"] if min(h, w) > 1 else []))
    return d.node("Pad", v, d.constant([0, 0, 1, 0, 0, 0, 0, 1]), shape=(n, c, h + 1, w + 1), mode=mode)


def _squeeze_and_excite(d: _Drawing, v: str) -> str:
    n, c, _, _ = d.shapes[v]
    s = d.node("GlobalAveragePool", v, shape=(n, c, 1, 1))
    s = d.node("Conv", s, d.random(c, c, 1, 1, scale=c**-0.5), shape=(n, c, 1, 1))
    s = d.node("Sigmoid", s, shape=(n, c, 1, 1))
    return d.node("Mul", v, s, shape=d.shapes[v])


def _row(d: _Drawing, v: str) -> str:
    return d.node("Softmax", v, shape=d.shapes[v], axis=d.one_of([1, 3]))


STEPS = (
    *(_conv, _conv, _conv, _normalize, _normalize, _activate, _activate, _activate, _scale, _join, _join),
    *(_pool, _local_response, _shuffle, _part, _pad, _squeeze_and_excite, _row),
)


def _head(d: _Drawing, v: str) -> str:
    """A classifier."""
    n, c, _, _ = d.shapes[v]
    v = d.node("GlobalAveragePool", v, shape=(n, c, 1, 1))
    v = d.node("Flatten", v, shape=(n, c))
    v = d.node("Gemm", v, d.random(10, c, scale=c**-0.5), d.random(10), shape=(n, 10), transB=1)
    return d.node("Softmax", v, shape=(n, 10), axis=-1)


@st.composite
def random_graphs(draw: Any) -> RandomModel:
    """A network of up to nine steps, each from the last value or an earlier one; one or two outputs."""
    d = _Drawing(draw)
    shape = (d.one_of([1, 1, 2]), d.one_of([3, 4, 8, 12]), d.one_of([5, 8, 9]), d.one_of([6, 8, 11]))
    d.shapes["x"] = shape
    value = _conv(d, "x")
    for _ in range(draw(st.integers(2, 9))):
        earlier = d.one_of([False, False, False, True])
        value = d.one_of(STEPS)(d, d.one_of(d.images()) if earlier else value)
    outputs = [value]
    if d.one_of([True, False]):
        outputs.append(d.one_of(d.shapes.keys() - {"x", value}) if len(d.shapes) > 2 else value)
    if d.one_of([True, False]):
        outputs[0] = _head(d, value)
    outputs = list(dict.fromkeys(outputs))
    graph = helper.make_graph(
        d.nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(v, TensorProto.FLOAT, d.shapes[v]) for v in outputs],
        d.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return RandomModel(model, {"x": np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32)})
