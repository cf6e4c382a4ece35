"""Why an edge between two blocks of a plan is not fused: the verdict, in the numbers that decided."""

from __future__ import annotations

from collections.abc import Mapping

from mlirfuse.lowering.classify.table import combine
from mlirfuse.lowering.plan.blocks import Block, Blocks, part_with
from mlirfuse.lowering.plan.checks import Checks, refusal_of
from mlirfuse.lowering.plan.cross_layer import LONGEST as MOST_BLOCKS
from mlirfuse.lowering.plan.cross_layer import CrossLayer
from mlirfuse.lowering.plan.deep import LONGEST, graph_chain
from mlirfuse.lowering.plan.intervals import Interval
from mlirfuse.lowering.plan.verdict import Number, Refusal, Verdict, VerdictKind

__all__ = ["Verdicts", "ends_of"]


def ends_of(blocks: Blocks, layers: CrossLayer | None, producer: int, consumer: int) -> list[Block]:
    """The blocks of layers at both ends of an edge, the consumer's last; none if one is a chain or has no anchor.

    A producer may be a concatenation that costs nothing: then what it is made of is one end.
    """
    second = blocks.of[consumer]
    if layers is None or second is None:
        return []
    found = {id(b): b for n in blocks.graph.parts_of(producer) if (b := blocks.of[n]) is not None}
    ends = [*(b for b in found.values() if b is not second), second]
    return [] if any(b.parts or not blocks.has_anchor(b) for b in ends) else ends


class Verdicts:
    """Verdicts on the edges of a finished plan; `not_chained` and `not_joined` say what was tried at them."""

    def __init__(
        self, blocks: Blocks, checks: Checks, layers: CrossLayer | None,
        not_chained: Mapping[tuple[int, int], Refusal], not_joined: Mapping[tuple[int, int], tuple[Interval, float]],
    ) -> None:  # fmt: skip
        self.graph = blocks.graph
        self.blocks = blocks
        self.checks = checks
        self.layers = layers
        self.not_chained = not_chained
        self.not_joined = not_joined

    def of(self, producer: int, consumer: int) -> Verdict:
        """Of the edge between two nodes of different blocks."""
        p, c = self.graph[producer], self.graph[consumer]
        numbers: dict[str, Number] = {"bytes": p.bytes}
        kind: VerdictKind = "boundary"
        if self.blocks.of[producer] is None or self.blocks.of[consumer] is None:
            outside = p if self.blocks.of[producer] is None else c
            if outside is p and (found := self._by_layers(producer, consumer)) is not None:
                kind, reason, more = found
                return Verdict(
                    p.onnx_nodes or (p.label,), c.onnx_nodes or (c.label,), kind, reason, {**numbers, **more}
                )
            reason = f"{outside.label} is outside of all groups: {outside.boundary}"
            if (p.node.op == "fallback") != (c.node.op == "fallback"):
                seconds = self.checks.model.copy_seconds(p.bytes)
                numbers["seconds_copied"] = seconds
                reason += f", and {p.bytes} bytes are copied in {seconds * 1e6:.2g} us" if seconds else ""
        else:
            first, second = self.blocks.of[producer], self.blocks.of[consumer]
            assert first is not None and second is not None
            found = (
                self.not_chained.get((producer, consumer))
                or self._by_layers(producer, consumer)
                or (self._beside_chain(producer, consumer) if first.parts or second.parts else None)
                or self.checks.refusal(first, second)
            )
            kind, reason, more = found or ("placement", "the blocks grew apart", {})
            cell = combine(first.mapping, second.mapping)
            numbers |= {"first": first.mapping, "second": second.mapping, "cell": cell.judgement, **more}
        return Verdict(p.onnx_nodes or (p.label,), c.onnx_nodes or (c.label,), kind, reason, numbers)

    def _by_layers(self, producer: int, consumer: int) -> Refusal | None:
        """Why the layers at both ends of an edge are not one kernel, in the numbers that decided; None if unknown."""
        blocks = ends_of(self.blocks, self.layers, producer, consumer)
        if self.layers is None or len(blocks) < 2:
            return None
        tried = self.not_joined.get((producer, consumer))
        if tried is not None and (tried[0].cost is not None or len(blocks) > MOST_BLOCKS):
            return self.layers.refusal(*tried)
        if len(blocks) > MOST_BLOCKS:
            return "placement", f"no kernel of more than {MOST_BLOCKS} blocks is looked for", {"blocks": len(blocks)}
        apart = sum(self.layers.seconds(b.members) for b in blocks)
        members = {m for b in blocks for m in b.members}
        return self.layers.refusal(self.layers.interval(members, apart, len(blocks)))

    def _beside_chain(self, producer: int, consumer: int) -> Refusal | None:
        """Why the blocks of an edge, of which at least one holds a chain, are not one kernel; None if they may be."""
        first, second = self.blocks.of[producer], self.blocks.of[consumer]
        assert first is not None and second is not None
        members = first.members | second.members
        if refusal := self.checks.by_option(members):
            return refusal
        if self.blocks.has_anchor(first) and self.blocks.has_anchor(second):
            return self._by_longer_chain(first, second)
        chain = graph_chain(self.graph, members)
        if isinstance(chain, str):
            return "legality", chain, {"anchors": len(first.parts or second.parts)}
        if complaint := self.checks.legality.after_chain(chain.last.anchor.result, members):
            return refusal_of("legality", complaint)
        if refusal := self.checks.by_convexity(members):
            return refusal
        if complaint := self.checks.constraints.why_not_chain(chain):
            return refusal_of("resources", complaint)
        return self.checks.refusal(part_with(first, producer), part_with(second, consumer))

    def _by_longer_chain(self, first: Block, second: Block) -> Refusal | None:
        """Why the anchors of two blocks, of which at least one holds a chain, are no chain together."""
        members = first.members | second.members
        before, after = ([m for m in sorted(b.members) if self.graph[m].is_anchor] for b in (first, second))
        end, start = self.graph[before[-1]], self.graph[after[0]]
        numbers: dict[str, Number] = {
            "anchors": len(before) + len(after),
            "anchors_of_producer": len(before),
            "anchors_of_consumer": len(after),
        }
        one = f"{end.label} ({end.node.op})" + (
            f", the end of a chain of {len(before)} anchors," if first.parts else ""
        )
        other = f"{start.label} ({start.node.op})"
        other += f", the start of a chain of {len(after)} anchors" if second.parts else ""
        names = f"{one} does not hand on to {other}"
        chain = graph_chain(self.graph, members)
        if isinstance(chain, str):
            return "legality", f"{names}: {chain}", numbers
        if complaint := self.checks.legality.after_chain(chain.last.anchor.result, members):
            return "legality", f"{names}: {complaint.reason}", {**numbers, **complaint.numbers}
        if refusal := self.checks.by_convexity(members):
            return refusal
        if complaint := self.checks.constraints.why_not_chain(chain):
            return "resources", f"{names}: {complaint.reason}", {**numbers, **complaint.numbers}
        return "legality", f"{names}: no chain has more than {LONGEST} anchors", {**numbers, "limit": LONGEST}
