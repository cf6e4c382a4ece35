"""What the cost of a stage follows from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlirfuse.dialect import Node, indexing_of, semantics
from mlirfuse.element_types import SINGLE
from mlirfuse.lowering.groups.register_tile import QUAD
from mlirfuse.lowering.groups.stages import Stage

__all__ = ["Work", "is_depthwise"]

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """What the cost of a stage follows from: elements that one element of the root combines, operations for each.

    `width` has the channels of a group, 0 unless the root is a convolution; `grouped`: of several; `tiled`: a product
    that register tiles may compute; `in_teams`: a long reduction that a warp shares; `windowed`: a product that reads
    its first operand through a window; `joined`: what follows the root reads another tensor as large as its result.
    """

    length: int
    flops: float
    width: int
    grouped: bool
    tiled: bool
    in_teams: bool
    windowed: bool
    joined: bool = False

    @classmethod
    def of_stage(cls, stage: Stage) -> Work:
        work, group, result = cls._of(stage.root.node, stage.length, stage.flops_per_element), stage.group, stage.root
        before = group.upstream(result.result)
        beside = {v for m in group.members if m.result not in before for v in m.operands if v in group.inputs}
        return replace(work, joined=any(group.types[v].size >= result.node.out.size for v in beside))

    @classmethod
    def of(cls, node: Node) -> Work:
        if not all(tensor.size for tensor in (*node.inputs, node.out)):
            return cls._of(node, 1, 0.0)  # no elements, and no index that would find them
        length = math.prod(indexing_of(node).reduction_sizes)
        return cls._of(node, length, semantics(node.op).flops(node) / node.out.size)

    @classmethod
    def _of(cls, node: Node, length: int, flops: float) -> Work:
        tiled = node.op in ("conv", "contract") and node.out.dtype in SINGLE
        pooled = node.op == "window" or is_depthwise(node)
        width = node.out.dims[1] // node.attrs["groups"] if node.op == "conv" else 0
        return cls(
            length, flops, width, 0 < width < node.out.dims[1], tiled, length >= 64 and not pooled, _has_window(node)
        )

    def product(self, sizes: Sizes) -> tuple[int, int, int, int] | None:
        """Batch, m, n and k of a box of a convolution's or contraction's result, where a register tile suits it."""
        return self.factors(sizes) if self.suits(sizes) else None

    def suits(self, sizes: Any) -> Any:
        """Whether a register tile suits a box of the root; of many boxes, given by columns: each of them."""
        if not self.tiled or not len(sizes):
            return np.zeros(sizes.shape[1:], np.bool_) if isinstance(sizes, np.ndarray) else False
        _, m, n, k = self.factors(sizes)
        whole = sizes[1] % self.width == 0 if self.grouped else True
        return whole & (n * k > 64) & (n >= QUAD) & (m >= QUAD)

    def factors(self, sizes: Any) -> tuple[Any, Any, Any, int]:
        """Batch, m, n and k of a box, or of boxes by columns, whether a register tile suits it or not."""
        if self.width:
            n = self.width if self.grouped else sizes[1]
            return -(-sizes[1] // n), math.prod(sizes) // sizes[1], n, self.length
        return 1, math.prod(sizes[:-1]), sizes[-1], self.length


def is_depthwise(node: Node) -> bool:
    return node.op == "conv" and node.attrs["groups"] == node.inputs[0].dims[1] > 1


def _has_window(node: Node) -> bool:
    """Whether a convolution reads neighbours, or not all positions."""
    if node.op != "conv":
        return False
    attrs = node.attrs
    taps = math.prod(node.inputs[1].dims[2:])
    return taps > 1 or any(s != 1 for s in (*attrs["strides"], *attrs["input_dilation"])) or any(attrs["pads"])
