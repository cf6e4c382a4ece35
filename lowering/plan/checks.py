"""The checks that two blocks have to pass to become one, in the order in which they are asked."""

from __future__ import annotations

from mlirfuse.device import Device
from mlirfuse.dialect import MappingType
from mlirfuse.lowering.classify.table import combine
from mlirfuse.lowering.plan.blocks import Block
from mlirfuse.lowering.plan.constraints import ResourceConstraints
from mlirfuse.lowering.plan.graph import Graph
from mlirfuse.lowering.plan.legality import Legality
from mlirfuse.lowering.plan.placement import Placement
from mlirfuse.lowering.plan.plan_options import PlanOptions
from mlirfuse.lowering.plan.reachability import Reachability, bits
from mlirfuse.lowering.plan.resources import Chooser, ResourceModel
from mlirfuse.lowering.plan.verdict import Finding, Number, Refusal, VerdictKind

__all__ = ["Checks", "refusal_of"]


class Checks:
    """What forbids a block: options, legality, convexity, placement, resources, DNNFusion's table and profit.

    `sharing`: whether blocks may store results of several shapes, or be in several pieces.
    """

    def __init__(
        self, graph: Graph, options: PlanOptions, chooser: Chooser | None, device: Device | None,
        reachability: Reachability,
    ) -> None:  # fmt: skip
        self.graph = graph
        self.options = options
        default = ResourceModel() if device is None else ResourceModel.of(device)
        self.chooser: Chooser = chooser or default
        self.model = chooser if isinstance(chooser, ResourceModel) else default
        self.legality = Legality(graph, options.limits)
        self.constraints = ResourceConstraints(graph, device)
        self.reachability = reachability
        self.placement = Placement(graph, reachability)
        self.separate = frozenset(n.index for n in graph if set(n.onnx_nodes) & set(options.no_fuse))
        self.sharing = False

    def refusal(self, first: Block, second: Block) -> Refusal | None:
        """The first check that forbids one block of two, where `first` feeds `second`; None if they may join."""
        members = first.members | second.members
        return (
            self.by_option(members)
            or self._by_legality(members)
            or self.by_convexity(members)
            or self._by_placement(members)
            or self._by_shape(members)
            or self._by_resources(first, second)
            or self._by_table(first, second)
        )

    def why_no_layers(self, members: set[int]) -> Refusal | None:
        """Why some blocks cannot be the layers of one kernel, whatever it would take; or None."""
        return (
            self.by_option(members)
            or self.by_convexity(members)
            or refusal_of("legality", self.legality.too_large(members))
        )

    def by_option(self, members: set[int]) -> Refusal | None:
        """What the user said of one of these nodes, or of fusion as such."""
        if self.options.fusion == "none":
            return "option", "fusion is off", {}
        if alone := sorted(members & self.separate):
            return "option", f"{self.graph[alone[0]].label} is to stay alone", {}
        if self.options.fusion == "epilogue":
            for m in sorted(members):
                if self.placement.home[m] is None:
                    return "option", f"{self.graph[m].label} follows no anchor, and only epilogues are fused", {}
        return None

    def _by_legality(self, members: set[int]) -> Refusal | None:
        return refusal_of("legality", self.legality.complaint(members))

    def by_convexity(self, members: set[int]) -> Refusal | None:
        """What lies on a path out of these nodes and back into them."""
        between = bits(self.reachability.between(members))
        if not between:
            return None
        entry, numbers = self.graph[between[0]], {"nodes_between": len(between)}
        if entry.node.op == "concat" and entry.boundary:
            return (
                "convexity",
                f"{entry.label} joins a value of the block with others, and the block reads it",
                {**numbers},
            )
        return "convexity", f"{entry.label} reads from the block and the block reads from it", {**numbers}

    def _by_placement(self, members: set[int]) -> Refusal | None:
        if self.options.order == "successors":
            return None
        return refusal_of("placement", self.placement.why_not(members))

    def _by_shape(self, members: set[int]) -> Refusal | None:
        return None if self.sharing else refusal_of("placement", self.legality.several_shapes(members))

    def _by_resources(self, first: Block, second: Block) -> Refusal | None:
        return refusal_of("resources", self.constraints.why_not(first.members, second.members))

    def _by_table(self, first: Block, second: Block) -> Refusal | None:
        cell = combine(first.mapping, second.mapping)
        if cell.judgement == "refuse":
            overridable = first.mapping != MappingType.MANY_TO_MANY and self.options.order == "predecessors"
            if not (overridable and self.chooser.why_together(self.graph, first.members, second.members)):
                numbers: dict[str, Number] = {"first": first.mapping, "second": second.mapping}
                return "table", f"{first.mapping} into {second.mapping}", numbers
        # What the table decides is checked against the model alone: a measurement would only add its noise.
        asked = self.chooser if cell.judgement == "profit" else self.model
        return refusal_of("cost", asked.why_separate(self.graph, first.members, second.members))


def refusal_of(kind: VerdictKind, finding: Finding | None) -> Refusal | None:
    """A finding as a refusal of this kind; None stays None."""
    return None if finding is None else (kind, finding.reason, dict(finding.numbers))
