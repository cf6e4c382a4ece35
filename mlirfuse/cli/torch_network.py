"""An ONNX convolutional network as a torch module, so that torch can be raced on the very same weights.

Only the operators of common image networks are here; a graph with others is refused by name. The description is plain
data (JSON), so that it can travel to a machine without the onnx package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlirfuse.errors import MlirfuseError

__all__ = ["Graph", "Step", "describe", "network_of"]


@dataclass(frozen=True)
class Step:
    """One ONNX node."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """The nodes of a network in order, and what it takes and gives."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    opset: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Graph:
        """The inverse of `to_dict`."""
        steps = tuple(Step(s["op"], tuple(s["inputs"]), tuple(s["outputs"]), s["attrs"]) for s in data["steps"])
        return cls(tuple(data["inputs"]), tuple(data["outputs"]), steps, data["opset"])


def describe(model: Any) -> tuple[Graph, dict[str, Any]]:
    """The graph and the weights of an ONNX model (a path or ModelProto).

    Raises MlirfuseError with every operator that is not here.
    """
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.load(model) if isinstance(model, str) else model
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    steps = []
    for node in proto.graph.node:
        attrs = {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute if a.name != "value"}
        if node.op_type == "Constant":
            weights[node.output[0]] = numpy_helper.to_array(next(a.t for a in node.attribute if a.name == "value"))
        else:
            steps.append(Step(node.op_type, tuple(node.input), tuple(node.output), attrs))
    unknown = sorted({s.op for s in steps} - set(_OPERATORS))
    if unknown:
        raise MlirfuseError(f"torch can be raced on image networks only; this one has {', '.join(unknown)}.")
    inputs = tuple(value.name for value in proto.graph.input if value.name not in weights)
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 1)
    return Graph(inputs, tuple(o.name for o in proto.graph.output), tuple(steps), opset), weights


def network_of(graph: Graph, weights: Mapping[str, Any]) -> Any:
    """A torch.nn.Module that takes the inputs and gives the outputs as a tuple, both in order."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.names = {name: f"w{i}" for i, name in enumerate(weights)}
            for name, array in weights.items():
                self.register_buffer(self.names[name], torch.from_numpy(np.array(array)))
            self.host = {name: np.asarray(array) for name, array in weights.items() if array.dtype.kind == "i"}

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            values: dict[str, Any] = dict(zip(graph.inputs, inputs, strict=True))
            for step in graph.steps:
                given = [self._value(values, name) for name in step.inputs]
                values[step.outputs[0]] = _OPERATORS[step.op](
                    _Call(step.attrs, graph.opset, self.host.get(step.inputs[-1])), *given
                )
            return tuple(values[name] for name in graph.outputs)

        def _value(self, values: Mapping[str, Any], name: str) -> Any:
            return values[name] if name in values else getattr(self, self.names[name]) if name else None

    return Network()


@dataclass(frozen=True)
class _Call:
    """Attributes of a node, and its last input where that is a known integer array (shapes, axes)."""

    attrs: Mapping[str, Any]
    opset: int
    known: Any

    def ints(self, name: str) -> list[int] | None:
        if name in self.attrs:
            return list(self.attrs[name])
        return None if self.known is None else [int(n) for n in self.known]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


# --- operators ------------------------------------------------------------------------------------


def _conv(call: _Call, x: Any, weight: Any, bias: Any = None) -> Any:
    from torch.nn.functional import conv2d

    x, padding = _padded(x, call.attrs.get("pads", [0, 0, 0, 0]), 0.0)
    return conv2d(
        x,
        weight,
        bias,
        call.attrs.get("strides", [1, 1]),
        padding,
        call.attrs.get("dilations", [1, 1]),
        call.attrs.get("group", 1),
    )


def _padded(x: Any, pads: Sequence[int], value: float) -> tuple[Any, list[int]]:
    """Symmetric padding is torch's own; other padding is done first."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return x, [top, left]
    from torch.nn.functional import pad

    return pad(x, [left, right, top, bottom], value=value), [0, 0]


def _max_pool(call: _Call, x: Any) -> Any:
    from torch.nn.functional import max_pool2d

    x, padding = _padded(x, call.attrs.get("pads", [0, 0, 0, 0]), float("-inf"))
    return max_pool2d(
        x,
        call.attrs["kernel_shape"],
        call.attrs.get("strides", [1, 1]),
        padding,
        ceil_mode=bool(call.attrs.get("ceil_mode", 0)),
    )


def _average_pool(call: _Call, x: Any) -> Any:
    from torch.nn.functional import avg_pool2d, pad

    kernel, strides = call.attrs["kernel_shape"], call.attrs.get("strides", [1, 1])
    top, left, bottom, right = call.attrs.get("pads", [0, 0, 0, 0])
    include = bool(call.attrs.get("count_include_pad", 0))
    if (top, left) == (bottom, right):
        return avg_pool2d(x, kernel, strides, [top, left], bool(call.attrs.get("ceil_mode", 0)), include)
    total = avg_pool2d(pad(x, [left, right, top, bottom]), kernel, strides)
    if include:
        return total
    ones = x.new_ones((1, 1, *x.shape[2:]))
    return total / avg_pool2d(pad(ones, [left, right, top, bottom]), kernel, strides)


def _batch_normalization(call: _Call, x: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> Any:
    from torch.nn.functional import batch_norm

    return batch_norm(x, mean, variance, scale, shift, eps=call.attrs.get("epsilon", 1e-5))


def _lrn(call: _Call, x: Any) -> Any:
    from torch.nn.functional import local_response_norm

    attrs = call.attrs
    return local_response_norm(
        x, attrs["size"], attrs.get("alpha", 1e-4), attrs.get("beta", 0.75), attrs.get("bias", 1.0)
    )


def _gemm(call: _Call, a: Any, b: Any, c: Any = None) -> Any:
    attrs = call.attrs
    a = a.T if attrs.get("transA") else a
    b = b.T if attrs.get("transB") else b
    product = a @ b * attrs.get("alpha", 1.0) if c is None or attrs.get("alpha", 1.0) != 1.0 else None
    if product is None and attrs.get("beta", 1.0) == 1.0:
        import torch

        return torch.addmm(c, a, b)
    product = a @ b * attrs.get("alpha", 1.0) if product is None else product
    return product if c is None else product + c * attrs.get("beta", 1.0)


def _softmax(call: _Call, x: Any) -> Any:
    if call.opset >= 13:
        return x.softmax(call.attrs.get("axis", -1))
    axis = call.attrs.get("axis", 1)
    return x.flatten(axis).softmax(-1).reshape(x.shape)


def _reshape(call: _Call, x: Any, shape: Any = None) -> Any:
    sizes = call.ints("shape") or []
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(sizes)])


def _unsqueeze(call: _Call, x: Any, axes: Any = None) -> Any:
    for axis in sorted(call.ints("axes") or []):
        x = x.unsqueeze(axis)
    return x


def _concat(call: _Call, *parts: Any) -> Any:
    import torch

    return torch.cat(parts, call.attrs["axis"])


def _sum(call: _Call, first: Any, *others: Any) -> Any:
    for other in others:
        first = first + other
    return first


def _flatten(call: _Call, x: Any) -> Any:
    axis = call.attrs.get("axis", 1)
    return x.flatten(axis).reshape(int(np.prod(x.shape[:axis])), -1)


def _clip(call: _Call, x: Any, low: Any = None, high: Any = None) -> Any:
    return x.clamp(call.attrs.get("min", low), call.attrs.get("max", high))


_OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": lambda call, a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Dropout": lambda call, x, *rest: x,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda call, x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": lambda call, x: (x * call.attrs.get("alpha", 0.2) + call.attrs.get("beta", 0.5)).clamp(0, 1),
    "Identity": lambda call, x: x,
    "LRN": _lrn,
    "MaxPool": _max_pool,
    "Mul": lambda call, a, b: a * b,
    "Relu": lambda call, x: x.relu(),
    "Reshape": _reshape,
    "Sigmoid": lambda call, x: x.sigmoid(),
    "Softmax": _softmax,
    "Sub": lambda call, a, b: a - b,
    "Sum": _sum,
    "Transpose": lambda call, x: x.permute(call.attrs["perm"]),
    "Unsqueeze": _unsqueeze,
}
