"""Reading planes between their elements: regions of interest, and grids of coordinates."""

import itertools
import math
from typing import Any

import numpy as np

from mlirfuse.dialect.core import FusionOp, MappingType, elements
from mlirfuse.dialect.indexing import fetch, var
from mlirfuse.dialect.node import Access, Indexing, Node, TensorType, out_variables
from mlirfuse.mlir import ext, ir

__all__ = ["CUBIC", "GridSampleOp", "RoiAlignOp"]

Tensor = ext.Operand[Any]
CUBIC = -0.75  # Keys' parameter, as ONNX and the frameworks have it
MODES = {"nearest": 1, "linear": 2, "cubic": 4}  # taps along each axis
PADDINGS = ("zeros", "border", "reflection")


def _floating(*tensors: TensorType) -> bool:
    return all(t.dtype.startswith(("float", "bfloat")) for t in tensors)


class RoiAlignOp(FusionOp, name="roi_align"):
    """Regions of x [N, C, H, W], each cut into `sizes` = (rows, columns) bins that reduce bilinear samples by `kind`.

    `rois` [R, 4] are x1, y1, x2, y2 in units of 1 / `scale` elements, `images` [R] says which of the N each is of; the
    result is [R, C, rows, columns]. `samples` along each side of a bin, or with 0 as many as elements lie under it.
    `half_pixel` takes elements to lie at their centres. A mean is over the samples; max is over the four weighted
    neighbours of every sample, as ONNX defines it. Samples more than one element outside count as zero.
    """

    x: Tensor
    rois: Tensor
    images: Tensor
    kind: ir.StringAttr
    sizes: ir.DenseI64ArrayAttr
    samples: ir.IntegerAttr
    scale: ir.FloatAttr
    half_pixel: Any
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    @staticmethod
    def complaint(node: Node) -> str | None:
        (x, rois, images), a = node.inputs, node.attrs
        if x.rank != 4 or rois.rank != 2 or rois.dims[1] != 4 or images.dims != rois.dims[:1]:
            return f"needs x [N, C, H, W], rois [R, 4] and images [R], not {x}, {rois} and {images}"
        if not _floating(x, rois) or images.dtype not in ("int32", "int64"):
            return f"needs floats, and int32 or int64 images, not {x}, {rois} and {images}"
        if a["kind"] not in ("mean", "max"):
            return f"has no kind '{a['kind']}'; known: mean, max"
        if len(a["sizes"]) != 2 or min(a["sizes"]) < 1 or a["samples"] < 0 or not x.size:
            return f"cuts {x} into bins {tuple(a['sizes'])} of {a['samples']} samples"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        x, rois, _ = node.inputs
        return TensorType((rois.shape[0], x.shape[1], *node.attrs["sizes"]), x.dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        """Any element of the plane may lie under a region."""
        x, out = node.inputs[0], out_variables(node.out.dims)
        h, w, side = var("h", x.dims[2]), var("w", x.dims[3]), var("s", 4)
        image = fetch(2, (out[0],), x.dims[0])
        return Indexing(out, (h, w, side), (Access((image, out[1], h, w)), Access((out[0], side)), Access((out[0],))))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        (x, rois, images), a = arrays, node.attrs
        result = np.zeros(node.out.dims if node.outputs else RoiAlignOp.infer(node).dims, np.float64)
        for r, (roi, image) in enumerate(zip(rois.astype(np.float64), images, strict=True)):
            plane = x[min(max(int(image) + (x.shape[0] if image < 0 else 0), 0), x.shape[0] - 1)].astype(np.float64)
            x1, y1, x2, y2 = roi * a["scale"] - (0.5 if a["half_pixel"] else 0.0)
            down = _axis_samples(y1, y2, a["sizes"][0], a["samples"], x.shape[2], a["half_pixel"])
            across = _axis_samples(x1, x2, a["sizes"][1], a["samples"], x.shape[3], a["half_pixel"])
            count = down[0].shape[1] * across[0].shape[1]
            if not count:
                continue
            terms = np.stack([
                plane[:, down[0][..., i]][:, :, :, across[0][..., j]]
                * (down[1][..., i][:, :, None, None] * across[1][..., j])
                for i, j in itertools.product(range(2), repeat=2)
            ])  # fmt: skip
            if a["kind"] == "max":
                result[r] = terms.max(axis=(0, 3, 5))
            else:
                result[r] = terms.sum(axis=(0, 3, 5)) / count
        return result.astype(x.dtype)

    @staticmethod
    def flops(node: Node) -> int:
        """Four weighted neighbours for each sample (two along each side where their number is not known)."""
        return elements(node) * 8 * (node.attrs["samples"] or 2) ** 2


def _axis_samples(start: float, end: float, bins: int, samples: int, size: int, half_pixel: bool) -> tuple[Any, Any]:
    """[bins, samples, 2] positions of the neighbours along one axis, and their weights."""
    extent = end - start if half_pixel else max(end - start, 1.0)
    count = samples or max(0, math.ceil(extent / bins))
    step = extent / bins
    where = start + np.arange(bins)[:, None] * step + (np.arange(count) + 0.5) * step / max(count, 1)
    inside = (where >= -1) & (where <= size)
    where = np.where(inside, np.maximum(where, 0), 0)
    low = np.minimum(np.floor(where), size - 1)
    part = np.where(low >= size - 1, 0, where - low)
    places = np.stack([low, np.minimum(low + 1, size - 1)], -1).astype(np.int64)
    return places, np.stack([1 - part, part], -1) * inside[..., None]


class GridSampleOp(FusionOp, name="grid_sample"):
    """Elements of x [N, C, *spatial] at the coordinates `grid` [N, *places, rank of spatial], in [N, C, *places].

    Coordinates run from -1 to 1, the last axis of x first: over element centres with `align_corners`, else over whole
    elements. `mode` is nearest, linear or cubic; `padding` says what lies outside: zeros, the border's elements, or
    their reflection.
    """

    x: Tensor
    grid: Tensor
    mode: ir.StringAttr
    padding: ir.StringAttr
    align_corners: Any
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    @staticmethod
    def complaint(node: Node) -> str | None:
        (x, grid), a = node.inputs, node.attrs
        rank = x.rank - 2
        if rank < 1 or grid.rank != x.rank or grid.dims[-1] != rank or grid.dims[0] != x.dims[0] or not x.size:
            return f"needs x [N, C, *spatial] and a grid [N, *places, rank of spatial], not {x} and {grid}"
        if not _floating(x, grid):
            return f"needs floats, not {x} and {grid}"
        if a["mode"] not in MODES or a["padding"] not in PADDINGS:
            return f"has no mode '{a['mode']}' with padding '{a['padding']}'; known: {', '.join((*MODES, *PADDINGS))}"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        x, grid = node.inputs
        return TensorType((*x.shape[:2], *grid.shape[1:-1]), x.dtype)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        """Any element of the plane may be chosen."""
        x, out = node.inputs[0], out_variables(node.out.dims)
        plane = tuple(var(f"s{i}", d) for i, d in enumerate(x.dims[2:]))
        which = var("g", x.rank - 2)
        return Indexing(out, (*plane, which), (Access((*out[:2], *plane)), Access((out[0], *out[2:], which))))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        (x, grid), a = arrays, node.attrs
        rank = x.ndim - 2
        axes = []
        for axis, size in enumerate(x.shape[2:]):
            axes.append(_axis_taps(grid[..., rank - 1 - axis].astype(np.float64), size, a))
        total = np.zeros((x.shape[0], x.shape[1], *grid.shape[1:-1]), np.float64)
        image = np.arange(x.shape[0]).reshape(-1, *(1,) * (grid.ndim - 2))
        for taps in itertools.product(*axes):
            weight = math.prod((w for _, w in taps), start=np.ones(()))
            chosen = x[(image, slice(None), *(place for place, _ in taps))]  # [N, *places, C]
            total += np.moveaxis(chosen.astype(np.float64), -1, 1) * weight[:, None]
        return total.astype(x.dtype)

    @staticmethod
    def flops(node: Node) -> int:
        return 2 * elements(node) * MODES[node.attrs["mode"]] ** (node.inputs[0].rank - 2)


def _axis_taps(grid: Any, size: int, attrs: Any) -> list[tuple[Any, Any]]:
    """Places and weights of every tap along an axis; outside of it the weight is 0 where zeros are the padding."""
    padding, corners = attrs["padding"], attrs["align_corners"]
    where = (grid + 1) / 2 * (size - 1) if corners else ((grid + 1) * size - 1) / 2
    low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
    if attrs["mode"] == "nearest":
        where = np.rint(where)
    where = np.where((where < low) | (where > high), _into(where, size, low, high, padding), where)
    base = np.floor(where)
    weights = tap_weights(where - base, attrs["mode"])
    taps = []
    for i, weight in enumerate(weights):
        place = base + i - (len(weights) == 4)
        inside = (place >= 0) & (place < size)
        kept = np.clip(np.trunc(_into(place, size, low, high, padding)), 0, size - 1).astype(np.int64)
        taps.append((kept, weight * (inside if padding == "zeros" else 1.0)))
    return taps


def _into(where: Any, size: int, low: float, high: float, padding: str) -> Any:
    if padding == "border":
        return np.clip(where, 0, size - 1)
    span = high - low
    if padding != "reflection" or span == 0:
        return where if padding != "reflection" else np.zeros_like(where)
    within = np.mod(where - low, 2 * span)
    return low + np.where(within <= span, within, 2 * span - within)


def tap_weights(part: Any, mode: str) -> list[Any]:
    """The weights of the taps for a place `part` beyond the first (the second, of cubic)."""
    if mode == "nearest":
        return [part * 0 + 1]
    if mode == "linear":
        return [1 - part, part]
    a, far, near = CUBIC, part + 1, 1 - part
    return [
        ((a * far - 5 * a) * far + 8 * a) * far - 4 * a,
        ((a + 2) * part - (a + 3)) * part * part + 1,
        ((a + 2) * near - (a + 3)) * near * near + 1,
        ((a * (near + 1) - 5 * a) * (near + 1) + 8 * a) * (near + 1) - 4 * a,
    ]
