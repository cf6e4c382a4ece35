"""Kernels of several anchors: which neighbouring blocks take less time as one, by the model of the device.

DNNFusion's table refuses Many-to-Many into Many-to-Many; Cross-Layer Data Reuse (sections 3 and 4) and Deep Fusion run
such layers tile by tile in one kernel, so that what lies between never reaches DRAM. Here every such kernel is an
override with a proof: candidates are intervals of the blocks in the order in which they run (any interval is
convex), each priced by the reuse analysis at its cheapest tile, and the partition into intervals that takes least in
all is found exactly. A block alone is always a candidate, so that no kernel is predicted slower than its parts. What
running order keeps apart (branches of one module) the planner joins afterwards, two kernels at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlirfuse.device import Device
from mlirfuse.dialect import TensorType
from mlirfuse.lowering.groups.boxes import frame_of
from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.groups.cost import THREADS, cheapest_tile, lone_cost, memory_wanted, side_by_side_cost
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.groups.kernel_cost import KernelCost
from mlirfuse.lowering.groups.stages import Stages, stages_of
from mlirfuse.lowering.plan.graph import Graph, GraphNode
from mlirfuse.lowering.plan.intervals import Interval, Partition
from mlirfuse.lowering.plan.legality import outputs_of
from mlirfuse.lowering.plan.resources import bytes_read, bytes_written
from mlirfuse.lowering.plan.verdict import Launch, Proof, Refusal

__all__ = ["CrossLayer", "group_of_nodes"]

LONGEST = 8  # blocks of one kernel
HOPELESS = 1.6  # times its parts: an interval that takes more is not grown further


def group_of_nodes(graph: Graph, members: Collection[int]) -> Group:
    """The group that some nodes of the graph form: operands in the order of their first use, a source once."""
    types: list[TensorType] = []
    inputs: list[int] = []
    immediates: list[tuple[int, float | int]] = []
    numbers: dict[Hashable, int] = {}
    inside = sorted(members)

    def number(key: Hashable, tensor: TensorType) -> int:
        if key not in numbers:
            numbers[key] = len(types)
            types.append(tensor)
        return numbers[key]

    for m in inside:
        entry = graph[m]
        for position, producer in enumerate(entry.producers):
            source = entry.sources[position] if entry.sources else ""
            key = producer if producer is not None else source or (m, position)
            if producer in members or key in numbers:
                continue
            value = number(key, entry.node.inputs[position])
            if source.startswith("splat "):
                immediates.append((value, float(source.removeprefix("splat "))))
            else:
                inputs.append(value)
    made: list[Member] = []
    for m in inside:
        entry = graph[m]
        operands = tuple(
            numbers[p if p is not None else (entry.sources[i] if entry.sources else "") or (m, i)]
            for i, p in enumerate(entry.producers)
        )
        made.append(Member(entry.node, operands, number(m, entry.node.out), entry.onnx_nodes))
    outputs = tuple(numbers[m] for m in outputs_of(graph, members))
    return Group(tuple(types), tuple(inputs), tuple(made), outputs, tuple(immediates))


@dataclass
class CrossLayer:
    """The search over one graph for one device; remembers what equal intervals cost.

    `allowed` says of members whether they may be one block, or why not.
    """

    graph: Graph
    device: Device
    allowed: Callable[[set[int]], Refusal | None]
    _known: dict[Hashable, KernelCost | Refusal] = field(default_factory=dict)
    _alone: dict[Hashable, float] = field(default_factory=dict)

    def partition(self, blocks: Sequence[tuple[int, ...]]) -> Partition:
        """`blocks` (in running order) as kernels: the intervals that take least in all, and those looked at."""
        alone = [Interval(b, self.seconds(b)) for b in blocks]
        apart = [i.apart for i in alone]
        joined = {
            (start, stop): interval
            for start in range(len(blocks))
            for stop, interval in self._from(blocks, apart, start)
        }
        return Partition(alone, joined)

    def proof(self, partition: Partition, start: int, stop: int) -> Proof:
        """Why an interval of blocks is one kernel: its parts alone, the next best, and a larger one."""
        larger = partition.nearest_larger(start, stop)
        return replace(
            self.proof_beside(partition.joined[start, stop], partition.alone[start:stop]),
            runner_up=tuple(map(self._launch, partition.runner_up(start, stop))),
            larger=None if larger is None else self._launch(larger[0]),
            larger_adds=0.0 if larger is None else larger[1],
        )

    def forced(self, members: Collection[int]) -> tuple[Interval, list[Interval]]:
        """Some nodes as one kernel, whether that pays or not; beside one kernel around each anchor."""
        around = [Interval(part, self.seconds(part)) for part in self._around_anchors(members)]
        interval = self.interval(members, sum(i.apart for i in around), len(around), at_any_price=True)
        return interval, around

    def _around_anchors(self, members: Collection[int]) -> list[tuple[int, ...]]:
        """Some nodes in parts of one anchor: each of the others with the last anchor before it, or the first after."""
        inside, home = set(members), {m: m for m in members if self.graph[m].is_anchor}
        for m in sorted(inside - set(home)):
            before = [home[p] for p in self.graph[m].inputs if p in home]
            home |= {m: max(before)} if before else {}
        for m in sorted(inside - set(home), reverse=True):
            home[m] = min((home[u] for u in self.graph[m].users if u in home), default=min(home.values()))
        return [tuple(m for m in sorted(inside) if home[m] == a) for a in sorted(set(home.values()))]

    def proof_beside(self, interval: Interval, parts: Sequence[Interval]) -> Proof:
        """Why an interval is one kernel beside the kernels that its parts would be."""
        anchors = [self.graph[m] for m in interval.members if self.graph[m].is_anchor]
        first, last = (a.onnx_nodes or (a.label,) for a in (anchors[0], anchors[-1]))
        finding = interval.finding(self.device, self.layers_of(interval))
        return Proof(first, last, "proof", finding.reason, finding.numbers, parts=tuple(map(self._launch, parts)))

    def proof_of_neighbours(
        self, interval: Interval, kernels: Sequence[Collection[int]], proofs: Mapping[int, Proof]
    ) -> Proof:
        """Why an interval is one kernel beside `kernels` that it is made of; what these consist of, `proofs` say."""
        launches = [self._launch(Interval(tuple(sorted(k)), self.seconds(k), self._known_cost(k))) for k in kernels]
        made = [next((p.parts for last, p in proofs.items() if last in k), ()) for k in kernels]
        parts = [part for launch, of in zip(launches, made, strict=True) for part in of or (launch,)]
        return replace(self.proof_beside(interval, ()), parts=tuple(parts), runner_up=tuple(launches))

    def proof_of_force(self, interval: Interval, parts: Sequence[Interval]) -> Proof:
        """That the user wants an interval to be one kernel, and what that costs beside its parts or saves."""
        proof = self.proof_beside(interval, parts)
        saved = interval.apart - interval.seconds
        told = f"{abs(saved) * 1e6:.2f} us {'less' if interval.pays else 'more: by the cost model it is slower'}"
        reason = f"--force-fuse asks for one kernel, whatever it takes: {proof.reason}, so that it takes {told}"
        return replace(proof, reason=reason, numbers={**proof.numbers, "forced": 1, "seconds_added": -saved})

    def _launch(self, interval: Interval) -> Launch:
        graph, cost = self.graph, interval.cost
        names = dict.fromkeys(name for m in interval.members for name in graph[m].onnx_nodes or (graph[m].label,))
        if cost is not None:
            return Launch(tuple(names), cost.seconds, cost.dram_bytes, cost.tile)
        moved = bytes_read(graph, interval.members) + bytes_written(graph, interval.members)
        return Launch(tuple(names), interval.apart, moved)

    def _from(
        self, blocks: Sequence[tuple[int, ...]], alone: Sequence[float], start: int
    ) -> list[tuple[int, Interval]]:
        """The intervals that begin with one block, as long as there is hope."""
        found: list[tuple[int, Interval]] = []
        members = set(blocks[start])
        if not self._may_hold(blocks[start]):
            return found
        apart = alone[start]
        for stop in range(start + 2, min(len(blocks), start + LONGEST) + 1):
            block = blocks[stop - 1]
            if not self._may_hold(block):
                break
            members |= set(block)
            apart += alone[stop - 1]
            if not self._touches(block, members - set(block)):
                break
            interval = self.interval(members, apart, stop - start)
            found.append((stop, interval))
            if interval.cost is not None and interval.cost.seconds > HOPELESS * apart:
                break
        return found

    def interval(self, members: Collection[int], apart: float, blocks: int, at_any_price: bool = False) -> Interval:
        """Some nodes of so many blocks as one kernel, or why they are none.

        What takes longer than `apart` is priced as quickly as that is known, but for `at_any_price` at its best.
        """
        everything = self._with_concats(members)
        anchors = sum(self.graph[m].is_anchor for m in everything)
        no_stage = next(filter(None, (_why_no_stage(self.graph[m]) for m in sorted(members))), None)
        found: KernelCost | Refusal
        if anchors < 2:
            found = "legality", "there are no two anchors", {"anchors": anchors}
        elif no_stage is not None:
            found = "legality", no_stage, {"anchors": anchors}
        else:
            below = math.inf if at_any_price else apart
            found = self.allowed(set(everything)) or self._cost(group_of_nodes(self.graph, everything), below)
        if isinstance(found, KernelCost):
            return Interval(everything, apart, found, blocks=blocks)
        return Interval(everything, apart, None, found, blocks)

    def layers_of(self, interval: Interval) -> str:
        """The names of an interval's anchors."""
        return " ".join(dict.fromkeys(self.graph[m].label for m in interval.members if self.graph[m].is_anchor))

    def refusal(self, interval: Interval, adds: float | None = None) -> Refusal:
        """Why an interval is no kernel; all blocks take `adds` seconds longer with it, where that is known."""
        if interval.refusal is not None:
            kind, reason, numbers = interval.refusal
            return kind, reason, {**numbers, "layers": self.layers_of(interval)}
        found = interval.finding(self.device, self.layers_of(interval))
        if not interval.pays:
            return "cost", found.reason, dict(found.numbers)
        if adds is None:
            searched = f"it looks at up to {LONGEST} blocks in running order, and stops at {HOPELESS} times their time"
            reason = f"{found.reason}, but the search does not come to it: {searched}"
            return "placement", reason, {**found.numbers, "limit": LONGEST}
        more = f"with it the network takes {adds * 1e6:.2g} us more"
        reason = f"{found.reason}, but {more}: kernels that overlap it save more"
        return "placement", reason, {**found.numbers, "seconds_added": adds}

    def edges(self, interval: Interval) -> list[tuple[int, int]]:
        """The edges inside an interval, those from a free concatenation of its values included."""
        inside = set(interval.members)
        return [
            (p, c)
            for c in interval.members
            for p in self.graph[c].inputs
            if p in inside or not inside.isdisjoint(self.graph.parts_of(p))
        ]

    def seconds(self, block: Collection[int]) -> float:
        """Predicted time of a block that is a kernel of its own."""
        graph = self.graph
        if sum(graph[m].is_anchor for m in block) > 1 and (cost := self._known_cost(block)) is not None:
            return cost.seconds
        lead = max((graph[m] for m in block), key=lambda n: (n.is_anchor, n.flops, n.index))
        traffic = bytes_read(graph, block) + bytes_written(graph, block)
        key = lead.node.op, tuple(sorted((k, str(v)) for k, v in lead.node.attrs.items())), lead.node.inputs, traffic
        if key not in self._alone:
            known = all(t.static and t.size for t in (*lead.node.inputs, *lead.node.outputs))
            self._alone[key] = lone_cost(lead.node, traffic, self.device).seconds if known else 0.0
        return self._alone[key]

    def _known_cost(self, block: Collection[int]) -> KernelCost | None:
        """Of a block that is a kernel of several layers already; None of others."""
        return self.interval(block, 0.0, 1, at_any_price=True).cost

    def _cost(self, group: Group, below: float) -> KernelCost | Refusal:
        key = group.structure, tuple(m.node.constant for m in group.members), math.isinf(below)
        if key not in self._known:
            self._known[key] = self._priced(group, below)
        return self._known[key]

    def _priced(self, group: Group, below: float) -> KernelCost | Refusal:
        found: list[Stages] = []
        for part in components(group):
            stages = stages_of(part)
            frame = stages if isinstance(stages, str) else frame_of(stages)
            if isinstance(stages, str) or isinstance(frame, str):
                return "legality", str(frame), {"anchors": len(group.anchors)}
            found.append(stages)
        if len(found) == 1:
            cost = cheapest_tile(found[0], self.device, below=below)
        else:
            traffic = sum(group.types[v].bytes for v in (*group.inputs, *group.outputs))
            cost = side_by_side_cost(found, traffic, self.device)
        return cost or self._no_room(found)

    def _no_room(self, parts: Sequence[Stages]) -> Refusal:
        """What there is too little of for any tile: blocks of different kinds, threads or fast memory."""
        device, numbers = self.device, {"anchors": sum(len(stages.group.anchors) for stages in parts)}
        if len(parts) > 1 and not device.has_blocks:
            reason = f"{len(parts)} parts share no values, and a kernel has tiles of one kind on {device.name}"
            return "resources", reason, {"parts": len(parts), "limit": 1, **numbers}
        if device.has_blocks and device.max_threads_per_block < min(THREADS):
            most, least = device.max_threads_per_block, min(THREADS)
            reason = f"a kernel of several layers has blocks of {least} threads, {device.name} allows {most}"
            return "resources", reason, {"threads": least, "limit": most, **numbers}
        wanted, limit = memory_wanted(parts, device)
        reason = f"the smallest tile with all channels takes {wanted} bytes, {device.name} has room for {limit}"
        return "resources", reason, {"shared_bytes": wanted, "limit": limit, **numbers}

    def _with_concats(self, members: Collection[int]) -> tuple[int, ...]:
        """The members with the free concatenations between them: those that only join what is made here."""
        found = set(members)
        for entry in self.graph:
            whole = entry.node.op == "concat" and bool(entry.boundary)
            if whole and set(entry.inputs) <= found and found & set(entry.users):
                found.add(entry.index)
        return tuple(sorted(found))

    def _may_hold(self, block: Sequence[int]) -> bool:
        return not any(_why_no_stage(self.graph[m]) for m in block)

    def _touches(self, block: Sequence[int], others: Collection[int]) -> bool:
        """Whether a block reads what others make, feeds them or reads the same."""
        near = {n for m in block for n in self._around(m)}
        if not near.isdisjoint(others):
            return True
        return not near.isdisjoint({p for m in others for p in self._around(m)})

    def _around(self, node: int) -> set[int | str]:
        """The nodes that one reads, free concatenations being transparent, and the network's inputs."""
        found: set[int | str] = {s for s in self.graph[node].sources if s.startswith("argument ")}
        todo = list(self.graph[node].inputs)
        while todo:
            n = todo.pop()
            found.add(n)
            if self.graph[n].node.op == "concat" and self.graph[n].boundary:
                todo.extend(self.graph[n].inputs)
        return found


def _why_no_stage(entry: GraphNode) -> str | None:
    """Why an op cannot be in a kernel of several stages, or None."""
    name = f"{entry.label} ({entry.node.op})"
    if entry.boundary:
        return f"{entry.label} is outside of all groups: {entry.boundary}"
    if any(not t.static or not t.size for t in (*entry.node.inputs, *entry.node.outputs)):
        return f"tiles of several layers need sizes that are known and not 0, and {name} has others"
    if entry.node.op == "contract" and entry.node.out.rank > 2:
        # tiles of longer products would have to cut rows, and leave features whole
        return f"{name} gives {entry.node.out}, and a layer's product has two dimensions"
    if entry.is_anchor and entry.node.op not in ("conv", "contract", "window", "reduce"):
        return f"{name} has no stage that works on a box"
    return None
