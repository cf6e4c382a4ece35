"""What a device has for one kernel, against what a block needs: registers, shared memory, threads.

DNNFusion (section 4.3) checks resource constraints after its table. The needs here are those of the smallest schedule
that keeps the anchor as fast as it is alone: for a convolution or contraction a register tile where the device holds
one, else one accumulator a thread. What joins an anchor adds the values that are alive at once before or after it, and
may bring its result into shared memory. A block of one op is never asked, and two are only kept apart where it is
their union that goes beyond a limit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from mlirfuse.device import Device
from mlirfuse.element_types import SINGLE, element_bytes
from mlirfuse.lowering.plan.chain import Chain
from mlirfuse.lowering.plan.deep import Budget, why_no_tile
from mlirfuse.lowering.plan.graph import Graph, GraphNode
from mlirfuse.lowering.plan.legality import CONTRACTIONS, pieces_of
from mlirfuse.lowering.plan.verdict import Finding, Number

__all__ = ["Needs", "ResourceConstraints"]

WARP = 32
WORD = 4  # bytes of a register
# The smallest register tile: 32x32 elements, 4x4 a thread, slices of eight through two buffers of shared memory.
TILE = 32
THREAD_TILE = 4
SLICE = 8
BUFFERS = 2
TILE_ADDRESSES = 24  # registers for addresses and counters
TILE_RESULTS = THREAD_TILE * THREAD_TILE
TILE_FETCHED = SLICE * 2 * TILE * TILE_RESULTS // (TILE * TILE)  # a thread's share of the next slice
TILE_OPERANDS = BUFFERS * 2 * THREAD_TILE  # what is multiplied now and next
TILE_REGISTERS = TILE_ADDRESSES + TILE_RESULTS + TILE_FETCHED + TILE_OPERANDS
ADDRESSES = 8  # of a thread that computes one element: its index, and where it reads and writes


@dataclass(frozen=True)
class Needs:
    """Registers of a thread, bytes of shared memory and threads of a block: the least a kernel can do with."""

    registers: int
    shared_bytes: int = 0
    threads: int = WARP


@dataclass(frozen=True)
class ResourceConstraints:
    """The limits of one device for blocks of one graph; without a device there are none."""

    graph: Graph
    device: Device | None = None
    _needs: dict[frozenset[int], Needs] = field(default_factory=dict, compare=False, repr=False)

    @property
    def budget(self) -> Budget:
        """What a kernel of several anchors may use."""
        return Budget() if self.device is None else Budget.of(self.device)

    @property
    def limits(self) -> dict[str, int]:
        """What the device has, by the name of the need; nothing where it has no such limit.

        On a CPU, registers are vectors, and those that are spilled lie in the first-level cache.
        """
        device = self.device
        if device is None:
            return {}
        limits = {
            "registers": device.registers_per_thread + device.l1_bytes // max(1, device.vector_bytes),
            "shared_bytes": device.shared_bytes_per_block,
            "threads": device.max_threads_per_block,
        }
        return {name: limit for name, limit in limits.items() if limit}

    def why_not(self, first: Collection[int], second: Collection[int]) -> Finding | None:
        """Why the device has not what one kernel of two blocks needs, though it has for each of them; or None."""
        if self.device is None:
            return None
        one, other, both = self.needs(first), self.needs(second), self.needs({*first, *second})
        for name, limit in self.limits.items():
            apart, together = max(getattr(one, name), getattr(other, name)), getattr(both, name)
            if together > limit and together > apart:
                who, what = _WORDS[name]
                numbers: dict[str, Number] = {name: together, "limit": limit, "apart": apart}
                return Finding(f"{who} would need {together} {what}, and {self.device.name} has {limit}", numbers)
        return None

    def why_not_chain(self, chain: Chain) -> Finding | None:
        """Why the device has no room for a kernel of several anchors, or None."""
        if self.device is not None and self.device.has_blocks and not self._has_tiles:
            limit = self.device.registers_per_thread
            reason = f"a register tile for each contraction takes {TILE_REGISTERS} registers, a thread has {limit}"
            return Finding(reason, {"registers": TILE_REGISTERS, "limit": limit})
        return why_no_tile(chain, self.budget)

    def needs(self, members: Collection[int]) -> Needs:
        """The least that a kernel of these nodes can do with on this device."""
        block = frozenset(members)
        if block not in self._needs:
            self._needs[block] = self._needs_of(block)
        return self._needs[block]

    @property
    def _has_tiles(self) -> bool:
        return (
            self.device is not None
            and self.device.has_blocks
            and self.device.registers_per_thread >= TILE_REGISTERS
            and self.device.max_threads_per_block >= (TILE // THREAD_TILE) ** 2
            and self.device.shared_bytes_per_block >= _tile_bytes(False)
        )

    def _needs_of(self, block: frozenset[int]) -> Needs:
        anchors = [m for m in sorted(block) if self.graph[m].is_anchor]
        if not anchors:  # pieces run one after the other
            return Needs(ADDRESSES + max(self._alive(piece) for piece in pieces_of(self.graph, block)))
        anchor = self.graph[anchors[-1]]
        before = self._before(anchor, block)
        after = block - before - {anchor.index}
        alive_before = max((self._alive(self._before(anchor, block, p)) for p in anchor.inputs), default=0)
        alive_after = self._alive(after)
        if self._has_tiles and _is_tiled(anchor):
            # a slice is fetched, then multiplied; what follows finds the registers of both free
            at_once = max(TILE_FETCHED + max(TILE_OPERANDS, alive_before), alive_after)
            registers = TILE_ADDRESSES + TILE_RESULTS + at_once
            return Needs(registers, _tile_bytes(self._reads_as_large(anchor, after)), (TILE // THREAD_TILE) ** 2)
        return Needs(ADDRESSES + _words(anchor) + max(alive_before, alive_after), _own_shared_bytes(anchor))

    def _before(self, anchor: GraphNode, block: frozenset[int], through: int | None = None) -> set[int]:
        """The members that the anchor reads, directly or not; those `through` one of its operands only."""
        found: set[int] = set()
        todo = list(anchor.inputs) if through is None else [through]
        while todo:
            m = todo.pop()
            if m in block and m not in found:
                found.add(m)
                todo.extend(self.graph[m].inputs)
        return found

    def _alive(self, members: Collection[int]) -> int:
        """The most registers that values of one element take at once, when ops are computed in program order.

        What others compute is loaded where it is read. The parts of a concatenation are computed one at a time.
        """
        inside = sorted(members)
        read_at_once = [m for m in inside if self.graph[m].node.op != "concat"]
        last = {p: m for m in read_at_once for p in self.graph[m].inputs if p in members}
        alive: dict[int, int] = {}
        peak = 0
        for m in inside:
            entry = self.graph[m]
            loaded = [
                _registers(tensor.dtype)
                for producer, tensor in zip(entry.producers, entry.node.inputs, strict=True)
                if producer not in members and tensor.static and tensor.size > 1
            ]
            reading = max(loaded, default=0) if entry.node.op == "concat" else sum(loaded)
            peak = max(peak, sum(alive.values()) + reading + _words(entry))
            alive = {p: words for p, words in alive.items() if last[p] != m}
            if m in last:
                alive[m] = _words(entry)
        return peak

    def _reads_as_large(self, anchor: GraphNode, after: Collection[int]) -> bool:
        """Whether what follows the anchor reads another tensor as large as its result, through shared memory then."""
        return any(
            producer not in after and producer != anchor.index and tensor.static and tensor.size >= anchor.elements
            for m in after
            for producer, tensor in zip(self.graph[m].producers, self.graph[m].node.inputs, strict=True)
        )


_WORDS = {
    "registers": ("a thread", "registers"),
    "shared_bytes": ("a block of threads", "bytes of shared memory"),
    "threads": ("a block", "threads"),
}


def _is_tiled(anchor: GraphNode) -> bool:
    """Whether the anchor is computed in register tiles: several results share what is read."""
    node = anchor.node
    return node.op in CONTRACTIONS and node.out.dtype in SINGLE and node.attrs.get("groups", 1) == 1


def _tile_bytes(with_result: bool) -> int:
    return WORD * (BUFFERS * SLICE * 2 * TILE + with_result * TILE * TILE)


def _own_shared_bytes(anchor: GraphNode) -> int:
    """Of an anchor that is no register tile: a run of keys and positions, or what a warp exchanges."""
    node = anchor.node
    if node.op == "sort":
        dtype, size = node.inputs[0].dtype, node.inputs[0].dims[node.attrs["axis"]]
        return min(int(node.attrs["run"]), size) * (max(WORD, element_bytes(dtype)) + WORD)
    return WORD if node.op in ("softmax", "normalize") else 0


def _words(entry: GraphNode) -> int:
    """Registers of one element of each result."""
    return sum(_registers(t.dtype) for t in entry.node.outputs)


def _registers(dtype: str) -> int:
    return -(-element_bytes(dtype) // WORD)
