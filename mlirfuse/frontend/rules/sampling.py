"""RoiAlign and GridSample: elements read between their places."""

import numpy as np

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
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
