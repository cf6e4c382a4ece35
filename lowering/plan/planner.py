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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlirfuse.device import Device
from mlirfuse.dialect import MappingType
from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.classify.table import combine, most_complex
from mlirfuse.lowering.plan.blocks import Block, Blocks
from mlirfuse.lowering.plan.checks import Checks, refusal_of
from mlirfuse.lowering.plan.cross_layer import LONGEST as MOST_BLOCKS
from mlirfuse.lowering.plan.cross_layer import CrossLayer
from mlirfuse.lowering.plan.deep import graph_chain, judge_chain, neighbouring_anchors
from mlirfuse.lowering.plan.graph import Graph, GraphNode
from mlirfuse.lowering.plan.intervals import Interval
from mlirfuse.lowering.plan.legality import pieces_of
from mlirfuse.lowering.plan.plan_options import PlanOptions
from mlirfuse.lowering.plan.reachability import Reachability, bits
from mlirfuse.lowering.plan.resources import Chooser, bytes_read, bytes_written
from mlirfuse.lowering.plan.running_order import in_running_order
from mlirfuse.lowering.plan.verdict import Proof, Refusal, Verdict
from mlirfuse.lowering.plan.verdicts import Verdicts, ends_of

__all__ = ["Plan", "plan_graph"]


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


class _Planner:
    def __init__(self, graph: Graph, options: PlanOptions, chooser: Chooser | None, device: Device | None) -> None:
        self.graph = graph
        self.options = options
        self.reachability = Reachability(graph)
        self.blocks = Blocks(graph, self.reachability)
        self.checks = Checks(graph, options, chooser, device, self.reachability)
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
            self.layers = CrossLayer(graph, device, self.checks.why_no_layers)
        self.proofs: list[tuple[int, Proof]] = []

    # --- what is forced --------------------------------------------------------------------------

    def force(self) -> None:
        """Close a block for every set of nodes that the user wants together."""
        for names in self.options.force_fuse:
            members = self._named(names)
            taken = [m for m in sorted(members) if self.blocks.of[m] is not None or m in self.checks.separate]
            if taken:
                raise _cannot_force(names, f"{self.graph[taken[0]].label} is in another set, or must stay alone")
            members |= set(bits(self.reachability.between(members)))
            if len(pieces_of(self.graph, members)) > 1:
                raise _cannot_force(names, "no value passes between them")
            if sum(self.graph[m].is_anchor for m in members) > 1 and self.layers is not None:
                self._force_layers(self.layers, names, members)
                continue
            if complaint := self.checks.legality.complaint(members, at_any_price=True):
                raise _cannot_force(names, complaint.reason)
            if refused := self._refused_cell(members):
                raise _cannot_force(names, refused)
            self.blocks.close(Block(members, most_complex(tuple(self.graph[m].mapping for m in members))))

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
            if self.checks.chooser.why_together(self.graph, first, {m}) is None:
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
            if self.blocks.of[seed.index] is None and not seed.boundary:
                self.blocks.close(self._grow(seed))

    def _grow(self, seed: GraphNode) -> Block:
        block = Block({seed.index}, seed.mapping)
        if self.options.order == "successors":
            self._absorb(block, producers=False)
            self._absorb(block, producers=True)
            return block
        self._absorb(block, producers=True)
        while self._absorb(block, producers=False) and self._absorb(block, producers=True):
            pass
        return block

    def _absorb(self, block: Block, producers: bool) -> bool:
        """Join neighbours on one side until none is left that may be joined; whether there was any.

        A success asks the others again.
        """
        size = len(block.members)
        while True:
            for candidate in self.blocks.free_neighbours(block, producers):
                entry = self.graph[candidate]
                single = Block({candidate}, entry.mapping)
                first, second = (single, block) if producers else (block, single)
                if self.checks.refusal(first, second) is None:
                    block.members.add(candidate)
                    block.mapping = combine(first.mapping, second.mapping).mapping
                    break
            else:
                return len(block.members) > size

    # --- joining ---------------------------------------------------------------------------------

    def join_blocks(self) -> None:
        """Join whole blocks along edges where nothing but the order of growing kept them apart."""
        if self.options.order == "successors":
            return  # the paper has no such step
        joined = True
        while joined:  # what was not convex may be so once others have joined
            joined = False
            for producer, consumer in self.graph.edges:
                first, second = self.blocks.of[producer], self.blocks.of[consumer]
                if first is None or second is None or first is second or self.checks.refusal(first, second) is not None:
                    continue
                joined = True
                self.blocks.close(Block(first.members | second.members, combine(first.mapping, second.mapping).mapping))

    def share_launches(self) -> None:
        """Join blocks without anchors that feed each other, read the same or are read by the same.

        Growing has given every op its place by then: a launch is all that is left to save.
        """
        if self.options.order == "successors" or self.options.fusion not in ("full", "no-cross-layer"):
            return
        self.checks.sharing = True
        joined = True
        while joined:
            joined = False
            for first, second in self.blocks.pairs_without_anchors():
                if self.checks.refusal(first, second) is None:
                    mapping = most_complex((first.mapping, second.mapping))
                    self.blocks.close(Block(first.members | second.members, mapping))
                    joined = True
                    break

    def join_chains(self) -> None:
        """Join blocks whose anchors form a chain, each time by a proof that overrides the table's refusal."""
        if self.options.fusion != "full" or self.options.order == "successors":
            return
        block_of = {i: b.members for i, b in enumerate(self.blocks.of) if b is not None}
        for anchors in list(neighbouring_anchors(self.graph, block_of)):
            blocks = [b for a in anchors if (b := self.blocks.of[a]) is not None]
            if len({id(b) for b in blocks}) < len(anchors):
                continue
            members = {m for b in blocks for m in b.members}
            refusal = (
                self.checks.by_option(members) or self.checks.by_convexity(members) or self._by_chain(blocks, members)
            )
            if refusal is None:
                mapping = combine(combine(blocks[0].mapping, blocks[1].mapping).mapping, blocks[2].mapping).mapping
                self.blocks.close(Block(members, mapping, tuple(blocks)))
                continue
            for p, c in self.graph.edges:
                if p in members and c in members:
                    self.not_chained[p, c] = refusal

    def join_layers(self) -> None:
        """Join neighbouring blocks that the model of the device predicts to take less time as one kernel."""
        if self.layers is None:
            return
        blocks = [tuple(sorted(b.members)) for b in self.blocks.every()]
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
            pays = list(self._neighbours_as_one(tried))
            if not pays:
                return
            interval, blocks = min(pays, key=lambda p: (p[0].seconds - p[0].apart, p[0].members))
            proof = self.layers.proof_of_neighbours(interval, [b.members for b in blocks], dict(self.proofs))
            self._join_as_layers(interval, proof)

    def _neighbours_as_one(self, tried: dict[frozenset[int], Interval]) -> Iterator[tuple[Interval, list[Block]]]:
        """Kernels at both ends of an edge that take less time as one; `tried` remembers all."""
        assert self.layers is not None
        for producer, consumer in self.graph.edges:
            blocks = ends_of(self.blocks, self.layers, producer, consumer)
            if not 2 <= len(blocks) <= MOST_BLOCKS:
                continue
            members = frozenset(m for b in blocks for m in b.members)
            if members not in tried:
                apart = sum(self.layers.seconds(b.members) for b in blocks)
                tried[members] = self.layers.interval(members, apart, len(blocks))
            if tried[members].pays:
                yield tried[members], blocks

    def _join_as_layers(self, interval: Interval, proof: Proof) -> None:
        """Close the block of an interval, and say why it may have several anchors."""
        self.blocks.close(Block(set(interval.members), MappingType.MANY_TO_MANY))
        for forced in [p for last, p in self.proofs if last in interval.members and "forced" in p.numbers]:
            proof = proof.around_forced(forced)
        self.proofs = [(last, p) for last, p in self.proofs if last not in interval.members]
        self.proofs.append((max(m for m in interval.members if self.graph[m].is_anchor), proof))

    def _by_chain(self, blocks: list[Block], members: set[int]) -> Refusal | None:
        chain = graph_chain(self.graph, members)
        if isinstance(chain, str):
            return "legality", chain, {"anchors": len(blocks)}
        if complaint := self.checks.legality.after_chain(chain.last.anchor.result, members):
            return refusal_of("legality", complaint)
        if complaint := self.checks.constraints.why_not_chain(chain):
            return refusal_of("resources", complaint)
        judged = judge_chain(
            self.graph, chain, [b.members for b in blocks], self.checks.model, self.checks.constraints.budget
        )
        if not judged.pays:
            return "cost", judged.finding.reason, dict(judged.finding.numbers)
        first, last = (self.graph[link.anchor.result] for link in (chain.links[0], chain.last))
        names = (first.onnx_nodes or (first.label,), last.onnx_nodes or (last.label,))
        self.proofs.append((last.index, Proof(*names, "proof", judged.finding.reason, judged.finding.numbers)))
        return None

    # --- the result ------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Blocks in an order in which they can run, and the verdicts of all edges between them."""
        blocks = [tuple(sorted(b.members)) for b in self.blocks.every()]
        if self.options.fusion == "epilogue":
            blocks = [part for b in blocks for part in self._with_anchor_or_apart(b)]
        why = Verdicts(self.blocks, self.checks, self.layers, self.not_chained, self.not_joined)
        verdicts = tuple(
            (p, c, why.of(p, c))
            for p, c in self.graph.edges
            if self.blocks.of[p] is None or self.blocks.of[p] is not self.blocks.of[c]
        )
        return Plan(in_running_order(self.graph, blocks), verdicts, tuple(self.proofs))

    def _with_anchor_or_apart(self, block: tuple[int, ...]) -> list[tuple[int, ...]]:
        if any(self.graph[m].is_anchor for m in block):
            return [block]
        for m in block:
            self.blocks.of[m] = Block({m}, self.graph[m].mapping)
        return [(m,) for m in block]


def _far_from_joined(found: tuple[Interval, float]) -> tuple[Any, ...]:
    """How far blocks are from being one kernel: those that cannot be one last, else by what it adds; ties to fewer."""
    interval, adds = found
    return interval.cost is None, 0.0 if interval.cost is None else adds, interval.blocks, interval.members


def _cannot_force(names: tuple[str, ...], reason: str) -> MlirfuseError:
    return MlirfuseError(
        f"The nodes {', '.join(names)} cannot be one kernel as --force-fuse asks: {reason}. "
        f"Leave the set out, or name nodes that can share a kernel."
    )
