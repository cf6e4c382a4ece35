"""Blocks of a graph in an order in which they can run."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from mlirfuse.lowering.plan.graph import Graph

__all__ = ["in_running_order"]


def in_running_order(
    graph: Graph, blocks: Iterable[tuple[int, ...]], *, by_level: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Blocks so that each comes after those it reads from; ties by the place of their last op.

    With `by_level`, those come first that the fewest others stand before, one after the other: branches side by side.
    """
    units = list(blocks)
    unit_of = {m: i for i, unit in enumerate(units) for m in unit}
    for n in graph:
        if n.index not in unit_of:
            unit_of[n.index] = len(units)
            units.append((n.index,))
    waiting: list[set[int]] = [set() for _ in units]
    readers: list[set[int]] = [set() for _ in units]
    for producer, consumer in graph.edges:
        a, b = unit_of[producer], unit_of[consumer]
        if a != b:
            waiting[b].add(a)
            readers[a].add(b)
    level = [0] * len(units)
    ready = [(0, unit[-1], i) for i, unit in enumerate(units) if not waiting[i]]
    heapq.heapify(ready)
    order = []
    while ready:
        *_, i = heapq.heappop(ready)
        if not all(graph[m].boundary for m in units[i]):
            order.append(units[i])
        for b in sorted(readers[i]):
            waiting[b].discard(i)
            level[b] = max(level[b], level[i] + by_level)
            if not waiting[b]:
                heapq.heappush(ready, (level[b], units[b][-1], b))
    assert len(unit_of) == sum(len(u) for u in units) and all(not w for w in waiting), "the blocks depend on each other"
    return tuple(order)
