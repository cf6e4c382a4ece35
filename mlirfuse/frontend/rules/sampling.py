"""RoiAlign, GridSample and DeformConv: elements read between their places."""

import numpy as np

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.rules.spatial import Windows, windows_of
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []

MODES = {"bilinear": "linear", "bicubic": "cubic"}  # their names before opset 20


@importer("RoiAlign")
def roi_align(b: OpBuilder, node: NodeCall) -> Tensor:
    """Before opset 16 without half pixels."""
    x, rois, images = (node.input(i) for i in range(3))
    coordinates = node.attr("coordinate_transformation_mode", "half_pixel" if node.opset >= 16 else "output_half_pixel")
    if coordinates not in ("half_pixel", "output_half_pixel"):
        raise InvalidNode(f"has the unknown coordinate_transformation_mode '{coordinates}'")
    mode = node.attr("mode", "avg")
    if mode not in ("avg", "max"):
        raise InvalidNode(f"has mode '{mode}', which is neither avg nor max")
    if not x.floating:
        raise NoRule(f"is over {x.dtype}")
    return b.op(
        "roi_align",
        [x, rois, images],
        kind="mean" if mode == "avg" else "max",
        sizes=(int(node.attr("output_height", 1)), int(node.attr("output_width", 1))),
        samples=int(node.attr("sampling_ratio", 0)),
        scale=float(np.float32(node.attr("spatial_scale", 1.0))),
        half_pixel=coordinates == "half_pixel",
    )


@importer("GridSample")
def grid_sample(b: OpBuilder, node: NodeCall) -> Tensor:
    """Every mode and padding, for any rank."""
    x, grid = node.input(0), node.input(1)
    if not x.floating:
        raise NoRule(f"is over {x.dtype}")
    mode = node.attr("mode", "linear")
    return b.op(
        "grid_sample",
        [x, grid],
        mode=MODES.get(mode, mode),
        padding=node.attr("padding_mode", "zeros"),
        align_corners=bool(node.attr("align_corners", 0)),
    )


@importer("DeformConv")
def deformable_convolution(b: OpBuilder, node: NodeCall) -> Tensor:
    """Planes sampled where each tap of each window has been moved to, and a product with the weights."""
    x, weight, offset = (node.input(i) for i in range(3))
    bias, mask = node.optional(3), node.optional(4)
    if x.rank != 4 or weight.rank != 4 or offset.rank != 4:
        raise NoRule(f"is over {x.type}: only images have a rule")
    n, channels, height, width = x.dims
    kernel, groups, shared = weight.dims[2:], int(node.attr("group", 1)), int(node.attr("offset_group", 1))
    w = windows_of(node, (height, width), kernel)
    rows, columns = w.sizes
    taps = kernel[0] * kernel[1]
    if offset.dims != (n, shared * taps * 2, rows, columns) or channels % shared or channels % groups:
        raise InvalidNode(f"has offsets {offset.type} for windows {kernel} of {x.type}")
    moved = b.reshape(offset, (n * shared, taps, 2, rows, columns))
    places = [_axis_places(w, axis) for axis in range(2)]
    coordinates = []
    for axis, size in ((1, width), (0, height)):  # a grid has the last axis first
        starts, sizes = [0] * 5, list(moved.dims)
        starts[2], sizes[2] = axis, 1
        at = b.binary("add", b.slice(moved, starts, sizes), b.constant(places[axis][:, None], x.dtype))
        scaled = b.binary("mul", at, 2.0 / size)
        coordinates.append(b.binary("add", scaled, 1.0 / size - 1.0))  # of element centres, without align_corners
    grid = b.transpose(b.concat(coordinates, 2), (0, 1, 3, 4, 2))
    sampled = b.op(
        "grid_sample",
        [b.reshape(x, (n * shared, channels // shared, height, width)),
         b.reshape(grid, (n * shared, taps * rows, columns, 2))],
        mode="linear", padding="zeros", align_corners=False,
    )  # fmt: skip
    sampled = b.reshape(sampled, (n, shared, channels // shared, taps, rows * columns))
    if mask is not None:
        sampled = b.binary("mul", sampled, b.reshape(mask, (n, shared, 1, taps, rows * columns)))
    filters = weight.dims[0]
    y = b.contract(
        "ngctp,gmct->ngmp",
        b.reshape(sampled, (n, groups, channels // groups, taps, rows * columns)),
        b.reshape(weight, (groups, filters // groups, channels // groups, taps)),
    )
    y = b.reshape(y, (n, filters, rows, columns))
    return y if bias is None else b.binary("add", y, b.reshape(bias, (1, filters, 1, 1)))


def _axis_places(w: Windows, axis: int) -> np.ndarray:
    """[taps, rows, columns]: where the taps of every window lie along one axis, before they are moved."""
    taps = np.indices(w.kernel).reshape(2, -1)[axis] * w.dilations[axis]
    windows = np.indices(w.sizes)[axis] * w.strides[axis] - w.pads[axis]
    return taps[:, None, None] + windows
