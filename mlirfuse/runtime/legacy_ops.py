"""Operators of old opsets that the reference evaluator runs with the meaning of a later version.

Each is found by name and by the first opset version to which it no longer applies.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["legacy_op"]

Array = np.ndarray[Any, Any]
Attributes = Mapping[str, Any]
_TABLE: dict[str, tuple[int, Callable[..., Any]]] = {}


def legacy_op(node: Any, opset: int) -> Callable[..., list[Any]] | None:
    """A function from the node's inputs to its outputs, or None where the evaluators know the version."""
    before, function = _TABLE.get(node.op_type, (0, None))
    if node.domain not in ("", "ai.onnx") or not 0 < opset < before or function is None:
        return None
    import onnx

    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return lambda *values: [function(attributes, *values)]


def _until(opset: int, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register for `names` in opsets older than `opset`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _TABLE.update(dict.fromkeys(names, (opset, function)))
        return function

    return register


def _as_matrix(attributes: Attributes, x: Array) -> Array:
    """x flattened to two dimensions at `axis`, 1 by default (Softmax-1 and -11)."""
    axis = attributes.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


@_until(13, "Softmax")
def _softmax(attributes: Attributes, x: Array) -> Array:
    rows = _as_matrix(attributes, x)
    if rows.size == 0:
        return x.copy()
    exponential = np.exp(rows - rows.max(1, keepdims=True))
    return (exponential / exponential.sum(1, keepdims=True)).reshape(x.shape)


@_until(13, "LogSoftmax")
def _log_softmax(attributes: Attributes, x: Array) -> Array:
    rows = _as_matrix(attributes, x)
    if rows.size == 0:
        return x.copy()
    shifted = rows - rows.max(1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(1, keepdims=True))).reshape(x.shape)


@_until(13, "Hardmax")
def _hardmax(attributes: Attributes, x: Array) -> Array:
    rows = _as_matrix(attributes, x)
    if rows.size == 0:
        return x.copy()
    return (np.arange(rows.shape[1]) == rows.argmax(1)[:, None]).astype(x.dtype).reshape(x.shape)


_ARITHMETIC: Mapping[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": lambda a, b: np.floor_divide(a, b) if a.dtype.kind in "iu" else np.divide(a, b),
    "Pow": np.power,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
}


def _broadcast_at_axis(function: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """Before opset 7, b is laid along a's dimensions from `axis` on (its last ones by default) if `broadcast` is 1."""

    def apply(attributes: Attributes, a: Array, b: Array) -> Array:
        if attributes.get("broadcast", 0) and "axis" in attributes:
            axis = attributes["axis"] + (a.ndim if attributes["axis"] < 0 else 0)
            b = b.reshape(b.shape + (1,) * (a.ndim - axis - b.ndim))
        return function(a, b)

    return apply


for _name, _function in _ARITHMETIC.items():
    _until(7, _name)(_broadcast_at_axis(_function))


@_until(4, "Concat")
def _concat(attributes: Attributes, *values: Array) -> Array:
    return np.concatenate(values, attributes.get("axis", 1))


@_until(5, "Reshape")
def _reshape(attributes: Attributes, x: Array) -> Array:
    """Reshape-1 has the shape as an attribute; 0 copies a dimension."""
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(attributes["shape"])])


@_until(11, "Resize")
def _resize(attributes: Attributes, x: Array, scales: Array) -> Array:
    """Resize-10: inputs x, scales; coordinates are asymmetric, the nearest is the floor."""
    return _interpolate(x, [float(s) for s in scales], attributes.get("mode", b"nearest"))


@_until(10, "Upsample")
def _upsample(attributes: Attributes, x: Array, scales: Array | None = None) -> Array:
    """Upsample-1, -7 and -9: scales as attributes until 9, then as an input."""
    if scales is not None:
        factors = [float(s) for s in scales]
    elif "scales" in attributes:
        factors = list(attributes["scales"])
    else:
        factors = [1.0] * (x.ndim - 2) + [attributes["height_scale"], attributes["width_scale"]]
    return _interpolate(x, factors, attributes.get("mode", b"nearest"))


def _interpolate(x: Array, factors: list[float], mode: bytes) -> Array:
    """Axis by axis, output coordinate i at input coordinate i / factor."""
    for axis, factor in enumerate(factors):
        size = x.shape[axis]
        where = np.arange(int(np.floor(size * factor))) / factor
        low = np.clip(np.floor(where).astype(np.int64), 0, size - 1)
        if factor == 1.0:
            continue
        if mode == b"nearest":
            x = np.take(x, low, axis)
            continue
        high = np.minimum(low + 1, size - 1)
        share = np.clip(where - low, 0, 1).astype(x.dtype).reshape([-1] + [1] * (x.ndim - axis - 1))
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x
