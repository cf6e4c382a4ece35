"""Resize and Upsample: every axis on its own, as repetition, as a choice of indices, or as a matrix of weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []


@dataclass(frozen=True)
class Axis:
    """How one axis is resized; `start` and `end` are the normalised region of tf_crop_and_resize."""

    size: int
    target: int
    scale: float
    start: float = 0.0
    end: float = 1.0

    @property
    def length(self) -> float:
        """The result's extent before rounding, by which ONNX's reference aligns corners."""
        return self.scale * self.size

    def positions(self, mode: str) -> np.ndarray:
        """Where each result element lies in the input, in input elements."""
        i = np.arange(self.target, dtype=np.float64)
        match mode:
            case "half_pixel":
                return (i + 0.5) / self.scale - 0.5
            case "half_pixel_symmetric":
                adjustment = self.target / (self.scale * self.size)
                centre = self.size / 2
                return centre * (1 - adjustment) + (i + 0.5) / self.scale - 0.5
            case "pytorch_half_pixel":
                return (i + 0.5) / self.scale - 0.5 if self.target > 1 else np.zeros(1)
            case "asymmetric":
                return i / self.scale
            case "align_corners":
                return i * (self.size - 1) / (self.length - 1) if self.length > 1 else np.zeros(self.target)
            case "tf_half_pixel_for_nn":
                return (i + 0.5) / self.scale
            case "tf_crop_and_resize":
                if self.target > 1:
                    step = (self.end - self.start) * (self.size - 1) / (self.target - 1)
                    return self.start * (self.size - 1) + i * step
                return np.full(1, 0.5 * (self.start + self.end) * (self.size - 1))
        raise InvalidNode(f"has the unknown coordinate_transformation_mode '{mode}'")


@importer("Upsample")
def upsample(b: OpBuilder, node: NodeCall) -> Tensor:
    """The ancestor of Resize: asymmetric coordinates, and nearest means floor."""
    x = node.input()
    scales = node.attr("scales") if node.has("scales") else node.array(1, "scales")
    if scales is None or len(scales) != x.rank:
        raise InvalidNode(f"needs a scale for each axis of {x.type}")
    axes = {i: Axis(d, int(np.floor(d * s)), float(s)) for i, (d, s) in enumerate(zip(x.dims, scales, strict=True))}
    mode = node.attr("mode", "nearest")
    return _resized(
        b,
        x,
        axes,
        node,
        mode="linear" if mode in ("linear", "bilinear") else mode,
        coordinates="asymmetric",
        nearest="floor",
    )


@importer("Resize")
def resize(b: OpBuilder, node: NodeCall) -> Tensor:
    """Every mode but those that leave the host no choice."""
    x = node.input()
    old = node.opset < 11
    coordinates = "asymmetric" if old else node.attr("coordinate_transformation_mode", "half_pixel")
    nearest = "floor" if old else node.attr("nearest_mode", "round_prefer_floor")
    axes = _axes(node, x, old, coordinates)
    y = _resized(b, x, axes, node, mode=node.attr("mode", "nearest"), coordinates=coordinates, nearest=nearest)
    if coordinates != "tf_crop_and_resize":
        return y
    return _extrapolated(b, y, axes, float(node.attr("extrapolation_value", 0.0)))


def _axes(node: NodeCall, x: Tensor, old: bool, coordinates: str) -> dict[int, Axis]:
    """The axes that a Resize names, with target sizes and scales."""
    scales = node.array(1 if old else 2, "scales")
    sizes = None if old else node.array(3, "sizes")
    named = node.axes(node.attr("axes", range(x.rank)), x.rank) if node.opset >= 18 else tuple(range(x.rank))
    region = node.array(1, "roi") if coordinates == "tf_crop_and_resize" else None
    starts, ends = (0.0,) * len(named), (1.0,) * len(named)
    if region is not None and region.size:
        starts, ends = region[: len(named)], region[len(named) :]
    if sizes is not None and sizes.size:
        return _by_sizes(node, x, named, [int(s) for s in sizes], starts, ends)
    if scales is None or scales.size != len(named):
        raise InvalidNode(f"needs a scale or a size for each of its {len(named)} axes")
    axes = {}
    for i, scale, start, end in zip(named, scales, starts, ends, strict=True):
        span = float(end) - float(start) if coordinates == "tf_crop_and_resize" else 1.0
        target = int(np.floor(np.float32(x.dims[i] * span) * np.float32(scale)))
        axes[i] = Axis(x.dims[i], target, float(scale), float(start), float(end))
    return axes


def _by_sizes(
    node: NodeCall,
    x: Tensor,
    named: Sequence[int],
    sizes: Sequence[int],
    starts: Sequence[float],
    ends: Sequence[float],
) -> dict[int, Axis]:
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    if len(sizes) != len(named):
        raise InvalidNode(f"has {len(sizes)} sizes for {len(named)} axes")
    scales = [size / x.dims[i] for i, size in zip(named, sizes, strict=True)]
    if policy != "stretch":
        scale = min(scales) if policy == "not_larger" else max(scales)
        sizes = [int(np.floor(scale * x.dims[i] + 0.5)) for i in named]
        scales = [scale] * len(named)
    return {
        i: Axis(x.dims[i], size, scale, float(start), float(end))
        for i, size, scale, start, end in zip(named, sizes, scales, starts, ends, strict=True)
    }


def _resized(
    b: OpBuilder, x: Tensor, axes: dict[int, Axis], node: NodeCall, *, mode: str, coordinates: str, nearest: str
) -> Tensor:
    for i, axis in axes.items():
        where = axis.positions(coordinates)
        if axis.target == axis.size and np.array_equal(where, np.arange(axis.size)):
            continue
        if mode == "nearest":
            x = _chosen(b, x, i, _rounded(where, nearest).clip(0, axis.size - 1).astype(np.int64))
        elif mode in ("linear", "cubic"):
            x = _weighted(b, x, i, _matrix(node, axis, where, mode))
        else:
            raise InvalidNode(f"has the unknown mode '{mode}'")
    return x


def _rounded(where: np.ndarray, mode: str) -> np.ndarray:
    match mode:
        case "floor":
            return np.floor(where)
        case "ceil":
            return np.ceil(where)
        case "round_prefer_floor":
            return np.ceil(where - 0.5)
        case "round_prefer_ceil":
            return np.floor(where + 0.5)
    raise InvalidNode(f"has the unknown nearest_mode '{mode}'")


def _chosen(b: OpBuilder, x: Tensor, axis: int, indices: np.ndarray) -> Tensor:
    """Elements of an axis by constant indices: repetition where each is taken equally often, else a gather."""
    size, count = x.dims[axis], len(indices)
    if count % size == 0 and np.array_equal(indices, np.arange(count) // (count // size)):
        before, after = x.dims[:axis], x.dims[axis + 1 :]
        repeated = b.expand(b.reshape(x, (*before, size, 1, *after)), (*before, size, count // size, *after))
        return b.reshape(repeated, (*before, count, *after))
    return b.gather(x, b.constant(indices), axis)


def _weighted(b: OpBuilder, x: Tensor, axis: int, matrix: np.ndarray) -> Tensor:
    if not x.floating:
        raise NoRule(f"interpolates {x.dtype}")
    letters = "abcdefgh"[: x.rank]
    old = letters[axis]
    return b.contract(f"{letters},z{old}->{letters.replace(old, 'z')}", x, b.constant(matrix, x.dtype))


def _linear(distance: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(distance))


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    def weight(distance: np.ndarray) -> np.ndarray:
        d = np.abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    return weight


def _matrix(node: NodeCall, axis: Axis, where: np.ndarray, mode: str) -> np.ndarray:
    """[target, size]: how much of each input element goes into each result element (Keys 1981 for cubic).

    With antialias and a scale below one, the weight function is as much wider as the result is smaller.
    """
    weight, support = (_linear, 1) if mode == "linear" else (_cubic(float(node.attr("cubic_coeff_a", -0.75))), 2)
    shrink = min(axis.scale, 1.0) if node.attr("antialias", 0) else 1.0
    reach = int(np.ceil(support / shrink))
    base = np.floor(where).astype(np.int64)
    matrix = np.zeros((len(where), axis.size))
    rows = np.arange(len(where))
    for tap in range(1 - reach, reach + 1):
        index = base + tap
        value = weight((index - where) * shrink)
        inside = (index >= 0) & (index < axis.size)
        if node.attr("exclude_outside", 0):
            value = np.where(inside, value, 0)
        np.add.at(matrix, (rows, index.clip(0, axis.size - 1)), value)
    if node.attr("exclude_outside", 0) or node.attr("antialias", 0):
        matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix


def _extrapolated(b: OpBuilder, y: Tensor, axes: dict[int, Axis], value: float) -> Tensor:
    """A fixed value wherever the region reaches outside the input."""
    outside = np.zeros((1,) * y.rank, bool)
    for i, axis in axes.items():
        where = axis.positions("tf_crop_and_resize")
        beyond = (where < 0) | (where > axis.size - 1)
        outside = outside | beyond.reshape([-1 if j == i else 1 for j in range(y.rank)])
    return b.select(b.constant(outside), b.constant(value, y.dtype), y) if outside.any() else y
