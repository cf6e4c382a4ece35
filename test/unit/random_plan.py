"""Plans drawn at random among the legal ones: what kernels compute may not depend on which plan was chosen."""

from __future__ import annotations

import random

from mlirfuse.lowering.plan.deep import graph_chain, neighbouring_anchors
from mlirfuse.lowering.plan.graph import Graph
from mlirfuse.lowering.plan.legality import Legality, Limits
from mlirfuse.lowering.plan.planner import Plan
from mlirfuse.lowering.plan.reachability import Reachability
from mlirfuse.lowering.plan.running_order import in_running_order

__all__ = ["random_plan"]

KEPT_APART = 0.15  # of the pairs that could be joined


def random_plan(graph: Graph, seed: int, limits: Limits | None = None) -> Plan:
    """Blocks joined in a random order as far as legality and convexity allow, but for some pairs; no verdicts.

    Neither cost nor the table is asked. The same seed gives the same plan.
    """
    drawn = _Drawn(graph, random.Random(seed), limits or Limits())
    drawn.join_chains()
    drawn.join_pairs()
    blocks = {min(b): tuple(sorted(b)) for b in drawn.block_of.values()}
    return Plan(in_running_order(graph, list(blocks.values())), ())


class _Drawn:
    def __init__(self, graph: Graph, draw: random.Random, limits: Limits) -> None:
        self.graph, self.draw = graph, draw
        self.legality = Legality(graph, limits)
        self.reachability = Reachability(graph)
        self.block_of = {n.index: frozenset({n.index}) for n in graph if not n.boundary}

    def join_chains(self) -> None:
        """Some of the chains of anchors, whose blocks are what stands between them."""
        for anchors in list(neighbouring_anchors(self.graph, self.block_of)):
            members = frozenset().union(*(self.block_of[a] for a in anchors))
            chain = graph_chain(self.graph, members)
            if isinstance(chain, str) or self.legality.after_chain(chain.last.anchor.result, members) is not None:
                continue
            if not self.reachability.between(members) and self.draw.random() < 0.5:
                self._close(members)

    def join_pairs(self) -> None:
        """Blocks with an edge between them; of those without anchors also readers of the same value."""
        apart: set[frozenset[int]] = set()
        pairs = self._pairs()
        while pairs:
            first, second = pairs.pop(self.draw.randrange(len(pairs)))
            members = first | second
            if members in apart:
                continue
            apart.add(members)
            if self.draw.random() < KEPT_APART or self.reachability.between(members):
                continue
            if self.legality.complaint(members) is None:
                self._close(members)
                pairs = self._pairs()

    def _pairs(self) -> list[tuple[frozenset[int], frozenset[int]]]:
        found = {}
        for n in self.graph:
            near = [self.block_of[m] for m in (n.index, *n.users) if m in self.block_of]
            for i, first in enumerate(near):
                for second in near[i + 1 :]:
                    joined = n.index in first or not (self._has_anchor(first) or self._has_anchor(second))
                    if first != second and joined:
                        found[first | second] = (first, second)
        return list(found.values())

    def _has_anchor(self, block: frozenset[int]) -> bool:
        return any(self.graph[m].is_anchor for m in block)

    def _close(self, members: frozenset[int]) -> None:
        for m in members:
            self.block_of[m] = members
        self.reachability.contract(members)
