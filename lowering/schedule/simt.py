"""Schedules of fp32 kernels on SIMT machines.

Each schedule is data: the tile it cuts and how many threads share it; `why_illegal` names the constraint that it
breaks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlirfuse.device import Device
from mlirfuse.dialect import semantics
from mlirfuse.dialect.node import out_variables
from mlirfuse.element_types import SINGLE
from mlirfuse.lowering.groups.forward import landings
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.groups.register_tile import RegisterTile
from mlirfuse.lowering.schedule.problem import VECTOR, contract_problem, holds_whole_groups
from mlirfuse.lowering.schedule.sorting import SortTiles

__all__ = [
    "ContractTiles",
    "MapTiles",
    "RowTiles",
    "TeamTiles",
    "reduction_length",
    "register_tiles",
    "row_length",
]

WARP = 32
BUFFERS = 2  # slices of the reduction in shared memory: one is multiplied while the next arrives
GRID_LIMIT = 65535  # blocks along the second and third dimension of a grid
SHARED_ROW_LIMIT = 40 * 1024  # bytes of a softmax row kept in shared memory, below the 48 KiB every device has


@dataclass(frozen=True)
class MapTiles:
    """One thread computes `vector` neighbouring elements of the output; `threads` in a block."""

    threads: int = 256
    vector: int = 1

    def why_illegal(self, group: Group, device: Device) -> str | None:
        if self.threads > device.max_threads_per_block:
            return f"{self.threads} threads in a block; the device allows {device.max_threads_per_block}"
        for output in group.outputs:
            if group.types[output].size % self.vector:
                return f"vectors of {self.vector} do not divide the {group.types[output].size} elements of an output"
        return None


@dataclass(frozen=True)
class TeamTiles:
    """`team` threads reduce one output element together; `threads` in a block, `vector` elements a thread at a time."""

    threads: int = 256
    team: int = WARP
    vector: int = 1

    def why_illegal(self, group: Group, device: Device) -> str | None:
        if group.anchor is None:
            return "a team reduces one anchor, and the group does not have exactly one"
        node = group.anchor.node
        if node.op not in ("conv", "contract", "reduce") or node.attrs.get("kind", "").startswith("arg"):
            return f"a team sums, multiplies or compares the elements of a row, which is not what {node.op} does"
        if node.out.dtype not in SINGLE | {"float64"}:
            return f"a team exchanges floats, not {node.out.dtype}"
        if self.team not in (WARP, self.threads):
            return f"a team of {self.team} is neither a warp nor the block of {self.threads}"
        if self.team > WARP and node.out.dtype == "float64":
            return "warps exchange single precision through shared memory, not float64"
        if reduction_length(group.anchor) % self.vector:
            return f"vectors of {self.vector} do not divide a reduction of {reduction_length(group.anchor)} elements"
        return _epilogue_problem(group)


@dataclass(frozen=True)
class RowTiles:
    """`team` threads share one row of a softmax or normalisation, read once into shared memory if `resident`."""

    threads: int = 256
    team: int = 256
    resident: bool = True

    def why_illegal(self, group: Group, device: Device) -> str | None:
        if group.anchor is None or group.anchor.node.op not in ("softmax", "normalize"):
            return "a row schedule needs a softmax or a normalisation"
        if group.anchor.node.out.dtype not in SINGLE:
            return f"a row is kept in single precision, not as {group.anchor.node.out.dtype}"
        if self.team not in (WARP, self.threads):
            return f"a team of {self.team} is neither a warp nor the block of {self.threads}"
        if self.shared_bytes(group) > device.shared_bytes_per_block:
            return f"{self.shared_bytes(group)} bytes of shared memory; the device has {device.shared_bytes_per_block}"
        return _epilogue_problem(group)

    def shared_bytes(self, group: Group) -> int:
        assert group.anchor is not None
        rows = self.threads // self.team
        return 4 * (row_length(group.anchor) * rows * self.resident + self.threads // WARP)


@dataclass(frozen=True)
class ContractTiles:
    """C[m, n] in tiles of block_m x block_n, the reduction in slices of block_k through two buffers of shared memory.

    Each thread accumulates thread_m x thread_n elements in registers: four neighbouring m (a vector), `thread_m / 4`
    times, for `thread_n` n in groups of four. A thread may use `registers`, or what the device has if that is less.
    Each of `k_groups` groups of threads adds its part of every slice for the whole tile (sliced-K): their sums are
    added up through shared memory, so that a small tile still has many threads.
    """

    block_m: int = 64
    block_n: int = 64
    block_k: int = 8
    thread_m: int = 4
    thread_n: int = 4
    registers: int = 128
    k_groups: int = 1

    @classmethod
    def of(cls, tile: RegisterTile, registers: int = 128) -> ContractTiles:
        """The schedule whose cost is that of `tile`."""
        t = tile
        return cls(t.block_m, t.block_n, t.block_k, t.thread_m, t.thread_n, registers, t.k_groups)

    @property
    def register_tile(self) -> RegisterTile:
        """What the cost model prices: the inverse of `of`."""
        return RegisterTile(self.block_m, self.block_n, self.block_k, self.thread_m, self.thread_n, self.k_groups)

    @property
    def threads(self) -> int:
        return self.register_tile.threads

    @property
    def least_registers(self) -> int:
        """Of a thread."""
        return self.register_tile.least_registers

    def shared_bytes(self, group: Group) -> int:
        """Both buffers of both operands, and the result where it goes through shared memory."""
        result = self.k_groups * self.block_m * self.block_n * self.result_in_shared(group)
        return 4 * (BUFFERS * self.block_k * (self.block_m + self.block_n) + result)

    def result_in_shared(self, group: Group) -> bool:
        """Whether the epilogue runs in a loop over a shared tile, and not on the accumulators where they are.

        It does where rows of the result end inside a thread's vector, where it reads another tensor as large, and where
        several groups of threads have a part of each sum.
        """
        if self.k_groups > 1:
            return True
        anchor = group.anchor
        assert anchor is not None
        before = group.upstream(anchor.result)
        others = {v for m in group.members if m.result not in before for v in m.operands if v in group.inputs}
        whole = any(group.types[v].size >= anchor.node.out.size for v in others)
        return whole or contract_problem(anchor.node, box=group.box).m % VECTOR != 0

    @staticmethod
    def holds_groups(group: Group) -> bool:
        """Whether a group's box, if it is one of a grouped convolution, has whole groups."""
        return group.anchor is None or holds_whole_groups(group.anchor.node, group.box)

    def why_illegal(self, group: Group, device: Device) -> str | None:
        if group.anchor is None or group.anchor.node.op not in ("conv", "contract"):
            return "a register tile needs one convolution or contraction"
        if not self.holds_groups(group):
            return "a register tile computes whole groups of a grouped convolution"
        if group.anchor.node.out.dtype not in SINGLE:
            return f"a register tile accumulates single precision, not {group.anchor.node.out.dtype}"
        if self.thread_m % 4 or self.thread_n % 4 or self.block_m % self.thread_m or self.block_n % self.thread_n:
            tile = f"{self.block_m}x{self.block_n}"
            return f"thread tile {self.thread_m}x{self.thread_n} does not divide into vectors of four and {tile}"
        if self.k_groups < 1 or self.block_k % self.k_groups:
            return f"slices of {self.block_k} are not shared evenly by {self.k_groups} groups of threads"
        if self.threads > device.max_threads_per_block or self.threads % WARP:
            return f"{self.threads} threads are no whole number of warps up to {device.max_threads_per_block}"
        if self.shared_bytes(group) > device.shared_bytes_per_block:
            return f"{self.shared_bytes(group)} bytes of shared memory; the device has {device.shared_bytes_per_block}"
        registers = min(self.registers, device.registers_per_thread)
        if self.least_registers > registers:
            tile = f"{self.thread_m}x{self.thread_n}"
            return f"a tile of {tile} needs {self.least_registers} registers; a thread has {registers}"
        if registers * self.threads > device.registers_per_sm:
            return f"{self.threads} threads of {registers} registers; the device has {device.registers_per_sm}"
        problem = contract_problem(group.anchor.node, box=group.box)
        if max(math.ceil(problem.n / self.block_n), problem.batch) > GRID_LIMIT:
            return f"{problem.batch} batches of {problem.n} columns are more blocks than a grid may have"
        return _epilogue_problem(group)


def register_tiles(group: Group, schedule: ContractTiles) -> tuple[int, int, int]:
    """How many register tiles cover a product: along m, along n, and batches."""
    assert group.anchor is not None
    problem = contract_problem(group.anchor.node, box=group.box)
    return math.ceil(problem.m / schedule.block_m), math.ceil(problem.n / schedule.block_n), problem.batch


Schedule = MapTiles | TeamTiles | RowTiles | ContractTiles | SortTiles


def row_length(anchor: Member) -> int:
    """Elements of one row of a softmax or normalisation."""
    return math.prod(anchor.node.inputs[0].dims[axis] for axis in anchor.node.attrs["axes"])


def reduction_length(anchor: Member) -> int:
    return math.prod(semantics(anchor.node.op).indexing(anchor.node).reduction_sizes)


def _epilogue_problem(group: Group) -> str | None:
    """Why the outputs cannot be computed from the anchor's registers, or None."""
    assert group.anchor is not None
    found = landings(group, group.anchor, out_variables(group.anchor.node.out.dims))
    if isinstance(found, str):
        return found
    for output in group.outputs:
        if output not in found:
            return "an output does not depend on the anchor"
    return None
