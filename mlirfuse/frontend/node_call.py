"""One ONNX node as its rule sees it: typed inputs and plain attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from mlirfuse.frontend.registry import InvalidNode, NoRule
from mlirfuse.frontend.tensor import Tensor

__all__ = ["NodeCall", "attribute_array", "attribute_plain"]


class NodeCall:
    """A node, its name, the opset version of its domain, and its inputs (None: left out).

    `used[i]` says whether output i has a name, that is, whether anything may read it.
    """

    def __init__(self, proto: onnx.NodeProto, name: str, opset: int, inputs: Sequence[Tensor | None]) -> None:
        self.proto = proto
        self.name = name
        self.opset = opset
        self.inputs = tuple(inputs)
        self.used = tuple(bool(output) for output in proto.output)
        self._attributes = {a.name: a for a in proto.attribute}

    @property
    def op_type(self) -> str:
        return self.proto.op_type

    def has(self, name: str) -> bool:
        """Whether an attribute is given."""
        return name in self._attributes

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute as int, float, str, tuple, array, GraphProto, or `default`."""
        return attribute_plain(self._attributes[name]) if name in self._attributes else default

    def optional(self, index: int) -> Tensor | None:
        """Input `index`, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def input(self, index: int = 0) -> Tensor:
        """Input `index`, which the operator needs."""
        tensor = self.optional(index)
        if tensor is None:
            raise InvalidNode(f"lacks its input {index}")
        return tensor

    def given(self) -> list[Tensor]:
        """The inputs that are not left out."""
        return [t for t in self.inputs if t is not None]

    def array(self, index: int, what: str) -> Any | None:
        """The elements of input `index`, None where it is left out; NoRule if they are known only at run time."""
        tensor = self.optional(index)
        if tensor is None:
            return None
        if not tensor.known:
            raise NoRule(f"its {what} (input {index}) is known only at run time")
        return tensor.array

    def ints(self, name: str, index: int) -> tuple[int, ...] | None:
        """A list that is attribute `name` in older opsets and input `index` in newer ones; None if neither is given."""
        if name in self._attributes:
            value = self.attr(name)
            return tuple(value) if isinstance(value, tuple) else (int(value),)
        array = self.array(index, name)
        return None if array is None else tuple(int(i) for i in np.asarray(array).reshape(-1))

    def axis(self, default: int, rank: int, name: str = "axis", *, end: bool = False) -> int:
        """An axis attribute, counted from the front; with `end`, the rank itself is allowed."""
        return self.checked_axis(int(self.attr(name, default)), rank + (1 if end else 0), rank)

    def axes(self, values: Sequence[int], rank: int) -> tuple[int, ...]:
        """Axes counted from the front, in the given order, none twice."""
        axes = tuple(self.checked_axis(axis, rank, rank) for axis in values)
        if len(set(axes)) != len(axes):
            raise InvalidNode(f"names an axis twice in {tuple(values)}")
        return axes

    @staticmethod
    def checked_axis(axis: int, limit: int, rank: int) -> int:
        found = axis + rank if axis < 0 else axis
        if not 0 <= found < max(limit, 1):
            raise InvalidNode(f"has axis {axis}, but its input has rank {rank}")
        return found


def attribute_array(tensor: onnx.TensorProto) -> Any:
    """The elements of a tensor that lies inside the model."""
    return numpy_helper.to_array(tensor)


def attribute_plain(attribute: onnx.AttributeProto) -> Any:
    """An attribute as a plain value."""
    kinds = onnx.AttributeProto
    match attribute.type:
        case kinds.INT:
            return attribute.i
        case kinds.FLOAT:
            return attribute.f
        case kinds.STRING:
            return attribute.s.decode("utf-8", "replace")
        case kinds.INTS:
            return tuple(attribute.ints)
        case kinds.FLOATS:
            return tuple(attribute.floats)
        case kinds.STRINGS:
            return tuple(s.decode("utf-8", "replace") for s in attribute.strings)
        case kinds.TENSOR:
            return attribute_array(attribute.t)
        case kinds.GRAPH:
            return attribute.g
    raise NoRule(f"has an attribute '{attribute.name}' of a kind without meaning here")
