"""Operators that the reference evaluator gets wrong or lacks: mostly those of old opsets, run as if they were new.

Each is found by name and by the first opset version to which it no longer applies.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["legacy_op"]

Array = np.ndarray[Any, Any]
Attributes = Mapping[str, Any]
EVERY = 1 << 30  # no version is right yet
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


@_until(14, "BatchNormalization")
def _batch_normalization(
    attributes: Attributes, x: Array, scale: Array, bias: Array, mean: Array, variance: Array
) -> Array:
    """Inference; the evaluator normalizes with the statistics of the batch."""
    along = (-1,) + (1,) * (x.ndim - 2)
    slope = scale / np.sqrt(variance + np.asarray(attributes.get("epsilon", 1e-5), variance.dtype))
    return ((x - mean.reshape(along)) * slope.reshape(along) + bias.reshape(along)).astype(x.dtype)


@_until(EVERY, "LRN")
def _lrn(attributes: Attributes, x: Array) -> Array:
    """Of any rank; the evaluator takes the number of images for that of channels."""
    size = attributes["size"]
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = np.pad(x * x, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
    sums = sum(squares[:, shift : shift + x.shape[1]] for shift in range(size))
    scale = attributes.get("bias", 1.0) + attributes.get("alpha", 1e-4) / size * sums
    return (x / scale ** attributes.get("beta", 0.75)).astype(x.dtype)


@_until(EVERY, "OneHot")
def _one_hot(attributes: Attributes, indices: Array, depth: Array, values: Array) -> Array:
    """The depth may be a vector of one element."""
    size = int(np.asarray(depth).reshape(-1)[0])
    axis = attributes.get("axis", -1)
    axis += indices.ndim + 1 if axis < 0 else 0
    wrapped = np.where(indices < 0, indices + size, indices)
    classes = np.arange(size).reshape([-1] + [1] * (indices.ndim - axis))
    return np.where(np.expand_dims(wrapped, axis) == classes, values[1], values[0])


@_until(19, "DequantizeLinear")
def _dequantize(attributes: Attributes, x: Array, scale: Array, zero: Array | None = None) -> Array:
    """One scale, or one for each index of `axis`."""
    along = [1] * x.ndim
    if scale.ndim == 1 and scale.size > 1:
        along[attributes.get("axis", 1)] = -1
    offset = np.zeros((), np.int32) if zero is None else zero.astype(np.int32).reshape(along if zero.ndim else ())
    return ((x.astype(np.int32) - offset) * scale.reshape(along if scale.ndim else ())).astype(np.float32)


@_until(11, "Scatter")
def _scatter(attributes: Attributes, x: Array, indices: Array, updates: Array) -> Array:
    made = x.copy()
    np.put_along_axis(made, indices, updates, attributes.get("axis", 0))
    return made


@_until(EVERY, "GlobalLpPool")
def _global_lp_pool(attributes: Attributes, x: Array) -> Array:
    p, axes = attributes.get("p", 2), tuple(range(2, x.ndim))
    return (np.abs(x) ** p).sum(axes, keepdims=True) ** np.asarray(1 / p, x.dtype)


@_until(16, "RoiAlign")
def _roi_align(attributes: Attributes, x: Array, rois: Array, batch: Array) -> Array:
    """Before opset 16 pixels are not shifted by a half."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    node = helper.make_node(
        "RoiAlign", ["x", "r", "b"], ["y"], **{**attributes, "coordinate_transformation_mode": "output_half_pixel"}
    )
    inputs = [helper.make_tensor_value_info(name, 1, None) for name in ("x", "r", "b")]
    graph = helper.make_graph([node], "roi_align", inputs, [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)])
    made: Any = ReferenceEvaluator(model).run(None, {"x": x, "r": rois, "b": batch})
    return made[0]


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
