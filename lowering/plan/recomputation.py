"""How often a kernel computes what it holds: elements that are read in several places are computed in each."""

from __future__ import annotations

import math
from collections.abc import Collection

from mlirfuse.lowering.plan.graph import Graph, GraphNode
from mlirfuse.lowering.plan.legality import CONTRACTIONS, outputs_of, reads_in_place, reads_of_each

__all__ = ["evaluations", "recomputed_flops"]

TILE = 64  # output channels for which a contraction reads its operand once


def recomputed_flops(graph: Graph, members: Collection[int], tile: int = TILE) -> int:
    """FLOPs that one kernel of `members` spends on elements that it has computed before."""
    times = evaluations(graph, members, tile)
    return round(sum((times[m] - 1.0) * graph[m].flops for m in members))


def evaluations(graph: Graph, members: Collection[int], tile: int = TILE) -> dict[int, float]:
    """How often each element of each member is computed, at least once.

    What readers use at their own place is computed once for all of them; any other reader computes it for each
    of its reads, a contraction once for every `tile` of output channels. An anchor is computed once, and so is what
    follows it.
    """
    outputs = set(outputs_of(graph, members))
    after = _following(graph, members)
    times: dict[int, float] = {}
    for m in sorted(members, reverse=True):
        readers = [graph[u] for u in graph[m].users if u in times]
        shared = max((times[u.index] for u in readers if reads_in_place(u, graph[m])), default=0.0)
        apart = sum(times[u.index] * _reads(u, graph[m], tile) for u in readers if not reads_in_place(u, graph[m]))
        times[m] = 1.0 if m in after else max(1.0, max(shared, float(m in outputs)) + apart)
    return times


def _following(graph: Graph, members: Collection[int]) -> set[int]:
    """The anchors among `members`, and what reads them."""
    found: set[int] = set()
    for m in sorted(members):
        if graph[m].is_anchor or found.intersection(graph[m].inputs):
            found.add(m)
    return found


def _reads(user: GraphNode, entry: GraphNode, tile: int) -> float:
    if user.node.op not in CONTRACTIONS:
        return reads_of_each(user, entry)
    weight = user.node.inputs[1]
    channels = weight.dims[0] if user.node.op == "conv" else user.elements // max(1, weight.size)
    return float(max(1, math.ceil(channels / tile)))
