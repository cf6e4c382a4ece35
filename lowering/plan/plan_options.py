"""What the user decides about fusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mlirfuse.lowering.plan.legality import Limits

__all__ = ["PlanOptions"]

Fusion = Literal["full", "no-cross-layer", "epilogue", "none"]
Order = Literal["predecessors", "successors"]


@dataclass(frozen=True)
class PlanOptions:
    """Which blocks the planner may make.

    fusion      "full"; "no-cross-layer" (at most one anchor in a block); "epilogue": only what follows an anchor;
                "none".
    order       which neighbours a block grows over first; "successors" is the paper's.
    no_fuse     ONNX nodes that stay alone.
    force_fuse  sets of ONNX nodes that share a block; an error if no kernel can hold one.
    """

    fusion: Fusion = "full"
    order: Order = "predecessors"
    no_fuse: tuple[str, ...] = ()
    force_fuse: tuple[tuple[str, ...], ...] = ()
    limits: Limits = field(default_factory=Limits)
