"""Which nodes can reach which, with blocks contracted to points: bit sets in Python integers."""

from __future__ import annotations

from collections.abc import Iterable

from mlirfuse.lowering.plan.graph import Graph

__all__ = ["Reachability", "bits"]


def bits(mask: int) -> list[int]:
    """The positions of the ones, ascending."""
    return [position for position, digit in enumerate(bin(mask)[:1:-1]) if digit == "1"]


class Reachability:
    """`before[n]` and `after[n]` are the nodes on paths to and from n, n excluded unless it is on a cycle.

    `contract` makes a block one point: what reaches one of its nodes then reaches all that any of them reaches.
    So a set that is convex here leaves the graph of blocks without cycles.
    """

    def __init__(self, graph: Graph) -> None:
        self.before = [0] * len(graph)
        self.after = [0] * len(graph)
        for n in graph:
            for p in n.inputs:
                self.before[n.index] |= self.before[p] | 1 << p
        for n in reversed(graph.nodes):
            for u in n.users:
                self.after[n.index] |= self.after[u] | 1 << u

    def between(self, members: Iterable[int]) -> int:
        """The nodes outside of `members` on paths that leave them and come back; 0 if they are convex."""
        inside = before = after = 0
        for m in members:
            inside |= 1 << m
            before |= self.before[m]
            after |= self.after[m]
        return before & after & ~inside

    def contract(self, members: Iterable[int]) -> None:
        """Make a convex set of nodes one point."""
        block = list(members)
        if len(block) == 1:
            return  # it is a point
        inside = before = after = 0
        for m in block:
            inside |= 1 << m
            before |= self.before[m]
            after |= self.after[m]
        before &= ~inside
        after &= ~inside
        for n in bits(before):
            self.after[n] |= after | inside
        for n in bits(after):
            self.before[n] |= before | inside
        for m in block:
            self.before[m], self.after[m] = before, after
