"""A group of stages whose tiles are priced."""

from __future__ import annotations

import math

from mlirfuse.lowering.groups.box import share_of
from mlirfuse.lowering.groups.extents import Extents, TileExtents
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.stages import Stages
from mlirfuse.lowering.groups.work import Work

__all__ = ["Question"]


class Question:
    """What is the same for all tiles of a group."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages
        self.extents = Extents(stages)
        self.works = [Work.of_stage(s) for s in stages]
        kept = set(stages.kept)
        self.first = [
            s.root.operands[0] if s.root.operands[0] in kept else -1 for s in stages
        ]  # operands that are kept
        self.flops = stages.group.flops
        self.outputs = [tuple(v for v in s.group.outputs if v in kept) for s in stages]  # that are kept
        self.constants = _constants(stages.group)
        self.dram_bytes = sum(stages.group.types[v].bytes for v in (*stages.group.inputs, *stages.group.outputs))

    def recomputed(self, extents: TileExtents, cluster: int = 1) -> float:
        """Operations that more than one block does: of boxes that overlap, or that a cluster does not share."""
        shares = [share_of(sizes, cluster) for sizes in extents.roots]
        runs = zip(self.works, shares, extents.runs, strict=True)
        each = sum(work.flops * math.prod(sizes) * times for work, sizes, times in runs)
        return max(0.0, extents.walks * cluster * each - self.flops)


def _constants(group: Group) -> frozenset[int]:
    """Operands that are known when compiling."""
    return frozenset(
        v
        for m in group.members
        for v, constant in zip(m.operands, m.node.constant, strict=False)
        if constant and v in group.inputs
    )
