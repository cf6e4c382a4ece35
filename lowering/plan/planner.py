"""Fusion planning: DNNFusion's procedure (section 4.3) on a frozen graph.

1. The seed is the unfused One-to-One op with the smallest result.
2. The block grows over producers, then over consumers (the paper: consumers first), as far as every check allows.
3. The block is closed and the next seed chosen, until every op is in a block.
4. Blocks that may be joined as wholes are joined, then those whose anchors form a chain, then neighbouring layers that
   take less time as one kernel, at first those that run one after the other; what is left without an anchor shares
   launches with its neighbours.
5. Every edge between the remaining blocks gets a verdict.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from mlirfuse.device import Device
from mlirfuse.dialect import MappingType
from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.classify.table import combine, most_complex
from mlirfuse.lowering.plan.constraints import ResourceConstraints
from mlirfuse.lowering.plan.cross_layer import LONGEST as MOST_BLOCKS
from mlirfuse.lowering.plan.cross_layer import CrossLayer
from mlirfuse.lowering.plan.deep import LONGEST, graph_chain, judge_chain, neighbouring_anchors
from mlirfuse.lowering.plan.graph import Graph, GraphNode
from mlirfuse.lowering.plan.intervals import Interval
from mlirfuse.lowering.plan.legality import Legality, Limits, pieces_of
from mlirfuse.lowering.plan.placement import Placement
from mlirfuse.lowering.plan.reachability import Reachability, bits
from mlirfuse.lowering.plan.resources import Chooser, ResourceModel, bytes_read, bytes_written
from mlirfuse.lowering.plan.verdict import Finding, Number, Proof, Refusal, Verdict, VerdictKind

__all__ = ["Plan", "PlanOptions", "in_running_order", "plan_graph"]

Fusion = Literal["full", "no-cross-layer", "epilogue", "none"]
Order = Literal["predecessors", "successors"]


@dataclass(frozen=True)
class PlanOptions:
    """What the user decides about fusion.

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


@dataclass(frozen=True)
class Plan:
    """Blocks of node indices in an order in which they can run, and a verdict for each edge between two of them.

    `proofs` say of blocks with several anchors, by the last of these, why the table's refusal does not hold.
    """

    blocks: tuple[tuple[int, ...], ...]
    verdicts: tuple[tuple[int, int, Verdict], ...]  # producer and consumer node, why
    proofs: tuple[tuple[int, Proof], ...] = ()


def plan_graph(
    graph: Graph, options: PlanOptions | None = None, chooser: Chooser | None = None, device: Device | None = None
) -> Plan:
    """Partition the nodes of `graph` (those that are not boundaries) into blocks; deterministic.

    Without a `device` no block is bounded by resources, and the default model is that of a large GPU.
    """
    planner = _Planner(graph, options or PlanOptions(), chooser, device)
    planner.force()
    planner.grow_from_seeds()
    planner.join_blocks()
    planner.join_chains()
    planner.join_layers()
    planner.join_neighbours()
    planner.share_launches()
    return planner.plan()


@dataclass
class _Block:
    """Nodes of one kernel; `parts` are the blocks of one anchor each that a chain was made of, in its order.

    `layers`: the kernel has a stage for each of several layers.
    """

    members: set[int]
    mapping: str
    parts: tuple[_Block, ...] = ()
    layers: bool = False


class _Planner:
    def __init__(self, graph: Graph, options: PlanOptions, chooser: Chooser | None, device: Device | None) -> None:
        self.graph = graph
        self.options = options
        default = ResourceModel() if device is None else ResourceModel.of(device)
        self.chooser: Chooser = chooser or default
        self.model = chooser if isinstance(chooser, ResourceModel) else default
        self.legality = Legality(graph, options.limits)
        self.constraints = ResourceConstraints(graph, device)
        self.reachability = Reachability(graph)
        self.placement = Placement(graph, self.reachability)
        self.block_of: list[_Block | None] = [None] * len(graph)
        self.sharing = False  # whether blocks may store results of several shapes, or be in several pieces
        known = {name for n in graph for name in n.onnx_nodes}
        if strangers := [name for name in options.no_fuse if name not in known]:
            raise MlirfuseError(
                f"There is no operation that stands for {', '.join(strangers)}, which --no-fuse names: "
                "the model has no node of that name, or it was folded away. "
                "`mlirfuse explain` lists the nodes of every group."
            )
        self.not_chained: dict[tuple[int, int], Refusal] = {}
        self.layers: CrossLayer | None = None
        self.not_joined: dict[tuple[int, int], tuple[Interval, float]] = {}  # and how much longer all would take
        if device is not None and self.options.fusion == "full" and self.options.order == "predecessors":
            self.layers = CrossLayer(graph, device, self._why_no_layers)
        self.proofs: list[tuple[int, Proof]] = []
        self.separate = frozenset(n.index for n in graph if set(n.onnx_nodes) & set(options.no_fuse))

    # --- what is forced --------------------------------------------------------------------------

    def force(self) -> None:
        """Close a block for every set of nodes that the user wants together."""
        for names in self.options.force_fuse:
            members = self._named(names)
            taken = [m for m in sorted(members) if self.block_of[m] is not None or m in self.separate]
            if taken:
                raise _cannot_force(names, f"{self.graph[taken[0]].label} is in another set, or must stay alone")
            members |= set(bits(self.reachability.between(members)))
            if len(pieces_of(self.graph, members)) > 1:
                raise _cannot_force(names, "no value passes between them")
            if sum(self.graph[m].is_anchor for m in members) > 1 and self.layers is not None:
                self._force_layers(self.layers, names, members)
                continue
            if complaint := self.legality.complaint(members, at_any_price=True):
                raise _cannot_force(names, complaint.reason)
            if refused := self._refused_cell(members):
                raise _cannot_force(names, refused)
            self._close(_Block(members, most_complex(tuple(self.graph[m].mapping for m in members))))

    def _force_layers(self, layers: CrossLayer, names: tuple[str, ...], members: set[int]) -> None:
        """Make a set with several anchors a kernel of several layers, whatever it takes."""
        interval, parts = layers.forced(members)
        if interval.refusal is not None:
            raise _cannot_force(names, interval.refusal[1])
        self._join_as_layers(interval, layers.proof_of_force(interval, parts))

    def _named(self, names: tuple[str, ...]) -> set[int]:
        found = {name: [n.index for n in self.graph if name in n.onnx_nodes] for name in names}
        if missing := [name for name, nodes in found.items() if not nodes]:
            raise _cannot_force(names, f"there is no operation that stands for {', '.join(missing)}")
        return {index for nodes in found.values() for index in nodes}

    def _refused_cell(self, members: set[int]) -> str | None:
        """Where the table refuses to feed one member of a set by what stands before it, and no numbers speak for it."""
        before: dict[int, set[int]] = {}
        mapping: dict[int, str] = {}
        for m in sorted(members):
            entry = self.graph[m]
            sources = [p for p in entry.inputs if p in members]
            before[m] = {m}.union(*(before[p] for p in sources))
            mapping[m] = entry.mapping
            if not sources:
                continue
            fed_by = most_complex(tuple(mapping[p] for p in sources))
            cell = combine(fed_by, entry.mapping)
            mapping[m] = cell.mapping
            first = before[m] - {m}
            if cell.judgement != "refuse" or fed_by == MappingType.MANY_TO_MANY:
                continue  # what combines many elements twice is for legality to judge
            if self.chooser.why_together(self.graph, first, {m}) is None:
                through, stored = bytes_read(self.graph, first), bytes_written(self.graph, first)
                return (
                    f"DNNFusion's table refuses {fed_by} into {entry.mapping}, and reading {entry.label}'s operand "
                    f"through {self.graph[sources[0]].label} moves {through} bytes, storing it {stored}"
                )
        return None

    # --- growing ---------------------------------------------------------------------------------

    def grow_from_seeds(self) -> None:
        """One-to-One ops by the size of their results; then what they have not taken, from simple to complex."""
        ranks = {mapping: rank for rank, mapping in enumerate(MappingType.ORDER)}
        seeds = sorted(self.graph, key=lambda n: (ranks[n.mapping], n.bytes, n.index))
        for seed in seeds:
            if self.block_of[seed.index] is None and not seed.boundary:
                self._close(self._grow(seed))

    def _grow(self, seed: GraphNode) -> _Block:
        block = _Block({seed.index}, seed.mapping)
        if self.options.order == "successors":
            self._absorb(block, producers=False)
            self._absorb(block, producers=True)
            return block
        self._absorb(block, producers=True)
        while self._absorb(block, producers=False) and self._absorb(block, producers=True):
            pass
        return block

    def _absorb(self, block: _Block, producers: bool) -> bool:
        """Join neighbours on one side until none is left that may be joined; whether there was any.

        A success asks the others again.
        """
        size = len(block.members)
        while True:
            for candidate in self._neighbours(block, producers):
                entry = self.graph[candidate]
                single = _Block({candidate}, entry.mapping)
                first, second = (single, block) if producers else (block, single)
                if self.refusal(first, second) is None:
                    block.members.add(candidate)
                    block.mapping = combine(first.mapping, second.mapping).mapping
                    break
            else:
                return len(block.members) > size

    def _neighbours(self, block: _Block, producers: bool) -> list[int]:
        found: set[int] = set()
        for m in block.members:
            entry = self.graph[m]
            found.update(entry.inputs if producers else entry.users)
        free = (n for n in found - block.members if self.block_of[n] is None and not self.graph[n].boundary)
        return sorted(free, reverse=producers)

    def _close(self, block: _Block) -> None:
        for m in block.members:
            self.block_of[m] = block
        self.reachability.contract(block.members)

    # --- joining ---------------------------------------------------------------------------------

    def join_blocks(self) -> None:
        """Join whole blocks along edges where nothing but the order of growing kept them apart."""
        if self.options.order == "successors":
            return  # the paper has no such step
        joined = True
        while joined:  # what was not convex may be so once others have joined
            joined = False
            for producer, consumer in self.graph.edges:
                first, second = self.block_of[producer], self.block_of[consumer]
                if first is None or second is None or first is second or self.refusal(first, second) is not None:
                    continue
                joined = True
                self._close(_Block(first.members | second.members, combine(first.mapping, second.mapping).mapping))

    def share_launches(self) -> None:
        """Join blocks without anchors that feed each other, read the same or are read by the same.

        Growing has given every op its place by then: a launch is all that is left to save.
        """
        if self.options.order == "successors" or self.options.fusion not in ("full", "no-cross-layer"):
            return
        self.sharing = True
        joined = True
        while joined:
            joined = False
            for first, second in self._neighbouring_blocks():
                if self.refusal(first, second) is None:
                    mapping = most_complex((first.mapping, second.mapping))
                    self._close(_Block(first.members | second.members, mapping))
                    joined = True
                    break

    def _neighbouring_blocks(self) -> list[tuple[_Block, _Block]]:
        """Pairs of blocks without anchors, in order, that an edge joins or that have a reader or producer in common."""
        found: dict[tuple[int, int], tuple[_Block, _Block]] = {}
        for entry in self.graph:
            around = sorted({n for p in entry.inputs for n in self._parts(p)} | {entry.index, *entry.users})
            near = [b for n in around if (b := self.block_of[n]) is not None and not self._has_anchor(b)]
            blocks = list({id(b): b for b in near}.values())
            for i, first in enumerate(blocks):
                for second in blocks[i + 1 :]:
                    pair = (second, first) if self._feeds(second, first) else (first, second)
                    found.setdefault((id(pair[0]), id(pair[1])), pair)
        return list(found.values())

    def _parts(self, index: int) -> list[int]:
        """What a concatenation that costs nothing is made of; else the node itself."""
        entry = self.graph[index]
        whole = entry.node.op == "concat" and entry.boundary
        return [n for p in entry.inputs for n in self._parts(p)] if whole else [index]

    def _has_anchor(self, block: _Block) -> bool:
        return any(self.graph[m].is_anchor for m in block.members)

    def _feeds(self, first: _Block, second: _Block) -> bool:
        return any(p in first.members for m in second.members for p in self.graph[m].inputs)

    def join_chains(self) -> None:
        """Join blocks whose anchors form a chain, each time by a proof that overrides the table's refusal."""
        if self.options.fusion != "full" or self.options.order == "successors":
            return
        block_of = {i: b.members for i, b in enumerate(self.block_of) if b is not None}
        for anchors in list(neighbouring_anchors(self.graph, block_of)):
            blocks = [b for a in anchors if (b := self.block_of[a]) is not None]
            if len({id(b) for b in blocks}) < len(anchors):
                continue
            members = {m for b in blocks for m in b.members}
            refusal = self._by_option(members) or self._by_convexity(members) or self._by_chain(blocks, members)
            if refusal is None:
                mapping = combine(combine(blocks[0].mapping, blocks[1].mapping).mapping, blocks[2].mapping).mapping
                self._close(_Block(members, mapping, tuple(blocks)))
                continue
            for p, c in self.graph.edges:
                if p in members and c in members:
                    self.not_chained[p, c] = refusal

    def join_layers(self) -> None:
        """Join neighbouring blocks that the model of the device predicts to take less time as one kernel."""
        if self.layers is None:
            return
        blocks = [tuple(sorted(b.members)) for b in self._blocks()]
        orders = dict.fromkeys(in_running_order(self.graph, blocks, by_level=level) for level in (False, True))
        partition = min(map(self.layers.partition, orders), key=lambda p: p.seconds)
        for (start, stop), interval in partition.taken.items():
            self._join_as_layers(interval, self.layers.proof(partition, start, stop))
        for start, stop in partition.joined.keys() - partition.taken.keys():
            found = partition.joined[start, stop], partition.adds(start, stop)
            for edge in self.layers.edges(found[0]):
                self.not_joined[edge] = min(found, self.not_joined.get(edge, found), key=_far_from_joined)

    def join_neighbours(self) -> None:
        """Join kernels at both ends of an edge, those first that gain most: running order may have kept them apart."""
        tried: dict[frozenset[int], Interval] = {}
        while self.layers is not None:
            pays = [(i.seconds - i.apart, i.members, i, blocks) for i, blocks in self._neighbours_as_one(tried)]
            if not pays:
                return
            *_, interval, blocks = min(pays)
            proof = self.layers.proof_of_neighbours(interval, [b.members for b in blocks], dict(self.proofs))
            self._join_as_layers(interval, proof)

    def _neighbours_as_one(self, tried: dict[frozenset[int], Interval]) -> Iterator[tuple[Interval, list[_Block]]]:
        """Kernels at both ends of an edge that take less time as one; `tried` remembers all."""
        assert self.layers is not None
        for producer, consumer in self.graph.edges:
            blocks = self._ends(producer, consumer)
            if not 2 <= len(blocks) <= MOST_BLOCKS:
                continue
            members = frozenset(m for b in blocks for m in b.members)
            if members not in tried:
                apart = sum(self.layers.seconds(b.members) for b in blocks)
                tried[members] = self.layers.interval(members, apart, len(blocks))
            if tried[members].pays:
                yield tried[members], blocks

    def _ends(self, producer: int, consumer: int) -> list[_Block]:
        """The blocks of layers at both ends of an edge, the consumer's last; none if one is a chain or has no anchor.

        A producer may be a concatenation that costs nothing: then what it is made of is one end.
        """
        second = self.block_of[consumer]
        if self.layers is None or second is None:
            return []
        found = {id(b): b for n in self.layers.parts(producer) if (b := self.block_of[n]) is not None}
        blocks = [*(b for b in found.values() if b is not second), second]
        return [] if any(b.parts or not self._has_anchor(b) for b in blocks) else blocks

    def _join_as_layers(self, interval: Interval, proof: Proof) -> None:
        """Close the block of an interval, and say why it may have several anchors."""
        self._close(_Block(set(interval.members), MappingType.MANY_TO_MANY, layers=True))
        for forced in [p for last, p in self.proofs if last in interval.members and "forced" in p.numbers]:
            proof = proof.around_forced(forced)
        self.proofs = [(last, p) for last, p in self.proofs if last not in interval.members]
        self.proofs.append((max(m for m in interval.members if self.graph[m].is_anchor), proof))

    def _why_no_layers(self, members: set[int]) -> Refusal | None:
        """Why some blocks cannot be the layers of one kernel, whatever it would take; or None."""
        return (
            self._by_option(members)
            or self._by_convexity(members)
            or _refusal("legality", self.legality.too_large(members))
        )

    def _by_layers(self, producer: int, consumer: int) -> Refusal | None:
        """Why the layers at both ends of an edge are not one kernel, in the numbers that decided; None if unknown."""
        blocks = self._ends(producer, consumer)
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

    def _blocks(self) -> list[_Block]:
        """Every block once, by its first node."""
        return list({id(b): b for b in self.block_of if b is not None}.values())

    def _beside_chain(self, producer: int, consumer: int) -> Refusal | None:
        """Why the blocks of an edge, of which at least one holds a chain, are not one kernel; None if they may be."""
        first, second = self.block_of[producer], self.block_of[consumer]
        assert first is not None and second is not None
        members = first.members | second.members
        if refusal := self._by_option(members):
            return refusal
        if self._has_anchor(first) and self._has_anchor(second):
            return self._by_longer_chain(first, second)
        chain = graph_chain(self.graph, members)
        if isinstance(chain, str):
            return "legality", chain, {"anchors": len(first.parts or second.parts)}
        if complaint := self.legality.after_chain(chain.last.anchor.result, members):
            return _refusal("legality", complaint)
        if refusal := self._by_convexity(members):
            return refusal
        if complaint := self.constraints.why_not_chain(chain):
            return _refusal("resources", complaint)
        return self.refusal(_part(first, producer), _part(second, consumer))

    def _by_longer_chain(self, first: _Block, second: _Block) -> Refusal | None:
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
        if complaint := self.legality.after_chain(chain.last.anchor.result, members):
            return "legality", f"{names}: {complaint.reason}", {**numbers, **complaint.numbers}
        if refusal := self._by_convexity(members):
            return refusal
        if complaint := self.constraints.why_not_chain(chain):
            return "resources", f"{names}: {complaint.reason}", {**numbers, **complaint.numbers}
        return "legality", f"{names}: no chain has more than {LONGEST} anchors", {**numbers, "limit": LONGEST}

    def _by_chain(self, blocks: list[_Block], members: set[int]) -> Refusal | None:
        chain = graph_chain(self.graph, members)
        if isinstance(chain, str):
            return "legality", chain, {"anchors": len(blocks)}
        if complaint := self.legality.after_chain(chain.last.anchor.result, members):
            return _refusal("legality", complaint)
        if complaint := self.constraints.why_not_chain(chain):
            return _refusal("resources", complaint)
        judged = judge_chain(self.graph, chain, [b.members for b in blocks], self.model, self.constraints.budget)
        if not judged.pays:
            return "cost", judged.finding.reason, dict(judged.finding.numbers)
        first, last = (self.graph[link.anchor.result] for link in (chain.links[0], chain.last))
        names = (first.onnx_nodes or (first.label,), last.onnx_nodes or (last.label,))
        self.proofs.append((last.index, Proof(*names, "proof", judged.finding.reason, judged.finding.numbers)))
        return None

    def refusal(self, first: _Block, second: _Block) -> Refusal | None:
        """The first check that forbids one block of two, where `first` feeds `second`; None if they may join."""
        members = first.members | second.members
        return (
            self._by_option(members)
            or self._by_legality(members)
            or self._by_convexity(members)
            or self._by_placement(members)
            or self._by_shape(members)
            or self._by_resources(first, second)
            or self._by_table(first, second)
        )

    def _by_option(self, members: set[int]) -> Refusal | None:
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
        return _refusal("legality", self.legality.complaint(members))

    def _by_convexity(self, members: set[int]) -> Refusal | None:
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
        return _refusal("placement", self.placement.why_not(members))

    def _by_shape(self, members: set[int]) -> Refusal | None:
        return None if self.sharing else _refusal("placement", self.legality.several_shapes(members))

    def _by_resources(self, first: _Block, second: _Block) -> Refusal | None:
        return _refusal("resources", self.constraints.why_not(first.members, second.members))

    def _by_table(self, first: _Block, second: _Block) -> Refusal | None:
        cell = combine(first.mapping, second.mapping)
        if cell.judgement == "refuse":
            overridable = first.mapping != MappingType.MANY_TO_MANY and self.options.order == "predecessors"
            if not (overridable and self.chooser.why_together(self.graph, first.members, second.members)):
                numbers: dict[str, Number] = {"first": first.mapping, "second": second.mapping}
                return "table", f"{first.mapping} into {second.mapping}", numbers
        # What the table decides is checked against the model alone: a measurement would only add its noise.
        asked = self.chooser if cell.judgement == "profit" else self.model
        return _refusal("cost", asked.why_separate(self.graph, first.members, second.members))

    # --- the result ------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Blocks in an order in which they can run, and the verdicts of all edges between them."""
        blocks = [tuple(sorted(b.members)) for b in self._blocks()]
        if self.options.fusion == "epilogue":
            blocks = [part for b in blocks for part in self._with_anchor_or_apart(b)]
        verdicts = tuple(
            (p, c, self._verdict(p, c))
            for p, c in self.graph.edges
            if self.block_of[p] is None or self.block_of[p] is not self.block_of[c]
        )
        return Plan(in_running_order(self.graph, blocks), verdicts, tuple(self.proofs))

    def _with_anchor_or_apart(self, block: tuple[int, ...]) -> list[tuple[int, ...]]:
        if any(self.graph[m].is_anchor for m in block):
            return [block]
        for m in block:
            self.block_of[m] = _Block({m}, self.graph[m].mapping)
        return [(m,) for m in block]

    def _verdict(self, producer: int, consumer: int) -> Verdict:
        p, c = self.graph[producer], self.graph[consumer]
        numbers: dict[str, Number] = {"bytes": p.bytes}
        kind: VerdictKind = "boundary"
        if self.block_of[producer] is None or self.block_of[consumer] is None:
            outside = p if self.block_of[producer] is None else c
            if outside is p and (found := self._by_layers(producer, consumer)) is not None:
                kind, reason, more = found
                return Verdict(
                    p.onnx_nodes or (p.label,), c.onnx_nodes or (c.label,), kind, reason, {**numbers, **more}
                )
            reason = f"{outside.label} is outside of all groups: {outside.boundary}"
            if (p.node.op == "fallback") != (c.node.op == "fallback"):
                seconds = self.model.copy_seconds(p.bytes)
                numbers["seconds_copied"] = seconds
                reason += f", and {p.bytes} bytes are copied in {seconds * 1e6:.2g} us" if seconds else ""
        else:
            first, second = self.block_of[producer], self.block_of[consumer]
            assert first is not None and second is not None
            found = (
                self.not_chained.get((producer, consumer))
                or self._by_layers(producer, consumer)
                or (self._beside_chain(producer, consumer) if first.parts or second.parts else None)
                or self.refusal(first, second)
            )
            kind, reason, more = found or ("placement", "the blocks grew apart", {})
            cell = combine(first.mapping, second.mapping)
            numbers |= {"first": first.mapping, "second": second.mapping, "cell": cell.judgement, **more}
        return Verdict(p.onnx_nodes or (p.label,), c.onnx_nodes or (c.label,), kind, reason, numbers)


def _part(block: _Block, member: int) -> _Block:
    """The part of a chain that a node is in; of another block, the block."""
    return next((part for part in block.parts if member in part.members), block)


def _far_from_joined(found: tuple[Interval, float]) -> tuple[Any, ...]:
    """How far blocks are from being one kernel: those that cannot be one last, else by what it adds; ties to fewer."""
    interval, adds = found
    return interval.cost is None, 0.0 if interval.cost is None else adds, interval.blocks, interval.members


def _refusal(kind: VerdictKind, finding: Finding | None) -> Refusal | None:
    return None if finding is None else (kind, finding.reason, dict(finding.numbers))


def _cannot_force(names: tuple[str, ...], reason: str) -> MlirfuseError:
    return MlirfuseError(
        f"The nodes {', '.join(names)} cannot be one kernel as --force-fuse asks: {reason}. "
        f"Leave the set out, or name nodes that can share a kernel."
    )


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
