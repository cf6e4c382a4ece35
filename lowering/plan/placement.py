"""Where an operation that could join either side costs least: after its producer's anchor or before its consumer's.

An op after an anchor (its *epilogue*) works on values that are in registers, once for each element; before
an anchor (its *prologue*) it may be computed for every use. So the epilogue is its home, unless the kernel would then
store one more tensor because others read the op's operand too, and its only reader can take it.
"""

from __future__ import annotations

from mlirfuse.lowering.plan.graph import Graph, GraphNode
from mlirfuse.lowering.plan.legality import CONTRACTIONS, is_epilogue_op, is_expensive
from mlirfuse.lowering.plan.reachability import Reachability
from mlirfuse.lowering.plan.verdict import Finding

__all__ = ["Placement"]


class Placement:
    """`follows[n]`: the anchor whose epilogue n could be in; `home[n]`: the one it should be in. None: no anchor."""

    def __init__(self, graph: Graph, reachability: Reachability) -> None:
        self._graph = graph
        self.follows: list[int | None] = [None] * len(graph)
        self.home: list[int | None] = [None] * len(graph)
        for entry in graph:
            self.follows[entry.index] = self._followed(entry, reachability)
        forward = self._forward()
        for entry in graph:
            self.home[entry.index] = self._home(entry, forward)
        self._last = self._at_the_end()

    def why_not(self, members: set[int]) -> Finding | None:
        """Why these nodes had better not share a block, or None."""
        anchors = {m for m in members if self._graph[m].is_anchor}
        homes = {home for m in members if (home := self.home[m]) is not None} | anchors
        if len(homes) > 1:
            stray = next(m for m in sorted(members) if self.home[m] not in (None, *anchors) or not anchors)
            target = self.home[stray]
            where = self._graph[target].label if target is not None else "its own block"
            reason = f"{self._graph[stray].label} is computed once in the epilogue of {where}"
            return Finding(reason, {"elements": self._graph[stray].elements, "anchors": len(homes)})
        for m in sorted(members):
            anchor = self.follows[m]
            if anchor is not None and anchor != m and anchor in anchors and self.home[m] is None:
                label, after = self._graph[m].label, self._graph[anchor].label
                reason = f"after {after}, {label} would be one more tensor to store; its reader computes it"
                return Finding(reason, {"bytes_stored": self._graph[m].bytes})
        return self._resized(members, anchors)

    def _resized(self, members: set[int], anchors: set[int]) -> Finding | None:
        """Why what changes the number of elements had better not follow an anchor: its reader can find them."""
        after = set(anchors)
        for m in sorted(members - anchors):
            entry = self._graph[m]
            if after.isdisjoint(entry.inputs):
                continue
            after.add(m)
            resizing = not is_epilogue_op(entry) or any(self._graph[p].elements != entry.elements for p in entry.inputs)
            if self.follows[m] is None and resizing and not self._last[m]:
                reason = f"{entry.label} has other elements than what it reads; its reader finds them in what is there"
                return Finding(reason, {"elements": entry.elements, "bytes_stored": entry.bytes})
        return None

    def _at_the_end(self) -> list[bool]:
        """Whether nothing that could find a result by itself reads it, also through what only changes its shape."""
        last = [False] * len(self._graph)
        for entry in reversed(self._graph.nodes):
            readers = [self._graph[u] for u in entry.users if not self._graph[u].boundary]
            alike = all(is_epilogue_op(r) and r.elements == entry.elements and last[r.index] for r in readers)
            last[entry.index] = entry.returned or not readers or (len(readers) == 1 and alike)
        return last

    def _followed(self, entry: GraphNode, reachability: Reachability) -> int | None:
        if entry.is_anchor:
            return entry.index
        if not is_epilogue_op(entry):
            return None
        for producer in entry.inputs:  # the latest first: the other side is then there already
            anchor = self.follows[producer]
            if anchor is None or self._graph[anchor].elements != entry.elements or self._graph[anchor].boundary:
                continue
            others = [p for p in entry.inputs if self.follows[p] != anchor]
            if not any(reachability.before[p] >> anchor & 1 for p in others):
                return anchor
        return None

    def _forward(self) -> list[bool]:
        """Whether the only reader of each node can take it into its own kernel."""
        forward = [False] * len(self._graph)
        for entry in reversed(self._graph.nodes):
            if entry.is_anchor or entry.boundary or entry.returned or len(entry.users) != 1:
                continue
            user = self._graph[entry.users[0]]
            if user.boundary:
                continue
            if user.is_anchor:
                forward[entry.index] = not (user.node.op in CONTRACTIONS and is_expensive(entry))
            else:
                elsewhere = self.follows[user.index] not in (None, self.follows[entry.index])
                forward[entry.index] = elsewhere or forward[user.index]
        return forward

    def _home(self, entry: GraphNode, forward: list[bool]) -> int | None:
        anchor = self.follows[entry.index]
        if entry.is_anchor or anchor is None:
            return anchor
        path = [p for p in entry.inputs if self.follows[p] == anchor]
        if not all(self.home[p] == anchor for p in path):
            return None
        shared = any(self.follows[u] != anchor for p in path for u in self._graph[p].users)
        stored = any(self._graph[p].returned for p in path) or shared
        return None if stored and forward[entry.index] else anchor
