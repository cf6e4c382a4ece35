"""A chooser that takes measured times where a database has them, and a model's where it has not.

DNNFusion (section 4.3): a yellow cell of the table is kept only if latency(block + op) <= latency(block) + latency(op).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from mlirfuse.lowering.plan.graph import Graph
from mlirfuse.lowering.plan.legality import outputs_of
from mlirfuse.lowering.plan.resources import Chooser
from mlirfuse.lowering.plan.verdict import Finding
from mlirfuse.lowering.profile import Operation, Profile, structure_key, structure_of

__all__ = ["MeasuredModel", "block_structure"]

Members = Collection[int]
# Sources of operands that are more than a value between groups or a weight.
_SPLAT, _ARGUMENT = "splat ", "argument "


@dataclass(frozen=True)
class MeasuredModel:
    """Decides by `profile` where it knows all three kernels of a question, else by `model`.

    `layout` is the memory order that kernels are measured and planned for (nchw, nhwc, chwn).
    """

    profile: Profile
    model: Chooser
    layout: str
    _keys: dict[frozenset[int], str] = field(default_factory=dict, compare=False, repr=False)

    def why_separate(self, graph: Graph, first: Members, second: Members) -> Finding | None:
        alone, after, both = (self._seconds(graph, m) for m in (first, second, {*first, *second}))
        if alone is None or after is None or both is None:
            return self.model.why_separate(graph, first, second)
        apart = alone + after
        if both <= apart:
            return None
        numbers: dict[str, float | int | str] = {"source": "measured", "seconds_together": both}
        numbers |= {"seconds_apart": apart, "seconds_first": alone, "seconds_second": after}
        return Finding(f"one kernel takes {both * 1e6:.1f} us, two take {apart * 1e6:.1f} us, as measured", numbers)

    def why_together(self, graph: Graph, first: Members, second: Members) -> Finding | None:
        """The table's refusals are not questions of time: the model's proof stands."""
        return self.model.why_together(graph, first, second)

    def _seconds(self, graph: Graph, members: Members) -> float | None:
        if not self.profile.seconds:
            return None
        block = frozenset(members)
        if block not in self._keys:
            self._keys[block] = structure_key(block_structure(graph, block, self.layout))
        return self.profile.seconds.get(self._keys[block])


def block_structure(graph: Graph, members: Members, layout: str) -> str:
    """The canonical text of a block as a group of its own."""
    inside = frozenset(members)
    operations = []
    kinds: dict[object, str] = {}
    for m in sorted(inside):
        entry = graph[m]
        values: list[object] = []
        for position, producer in enumerate(entry.producers):
            source = entry.sources[position] if entry.sources else ""
            if producer in inside:
                value: object = producer
            elif producer is not None:
                value = ("made", producer)
            else:
                value = (source, entry.node.inputs[position]) if source else ("operand", m, position)
                if source.startswith((_SPLAT, _ARGUMENT)):
                    kinds[value] = source if source.startswith(_SPLAT) else _ARGUMENT.strip()
            values.append(value)
        operations.append(Operation(entry.node, tuple(values), m))
    returned = [m for m in inside if graph[m].returned]
    return structure_of(operations, outputs_of(graph, inside), kinds, layout, returned)
