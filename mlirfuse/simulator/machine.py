"""What a translated kernel sees while a batch of blocks runs: coordinates, memories, barriers, shuffles."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlirfuse.simulator.audit import Audit
from mlirfuse.simulator.fault import Site
from mlirfuse.simulator.lanes import Lanes
from mlirfuse.simulator.memory import GlobalMemory, PeerMemory, PrivateMemory, SharedMemory, poison
from mlirfuse.simulator.translator import Translation

__all__ = ["Batch", "Launch"]

WARP = 32
_ALIGNMENT = 16


@dataclass(frozen=True)
class Launch:
    """What all batches of a launch share. `buffers` are flat arrays in argument order."""

    translation: Translation
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    buffers: tuple[np.ndarray, ...]
    audit: Audit | None
    shared_bytes: int | None
    starts: tuple[int, ...] = ()
    """For each buffer, the byte of a sector that it starts at."""

    @property
    def threads(self) -> int:
        """Per block."""
        return self.block[0] * self.block[1] * self.block[2]

    @property
    def blocks(self) -> int:
        """In the grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]


def _coordinates(linear: np.ndarray, sizes: tuple[int, int, int]) -> tuple[Any, Any, Any]:
    """x, y and z of linear numbers, x first; 0 along a dimension of one."""
    x, y = sizes[:2]
    values = (linear % x, linear // x % y, linear // (x * y))
    return tuple(v if n > 1 else 0 for v, n in zip(values, sizes, strict=True))  # type: ignore[return-value]


class Batch:
    """`count` blocks from number `first` on; the name of the argument of a translated kernel is `rt`."""

    def __init__(self, launch: Launch, first: int, count: int) -> None:
        self.launch, self.threads, self.blocks = launch, launch.threads, count
        self.lanes = Lanes(launch.threads, count, first, launch.grid)
        self.block_size, self.grid_size = launch.block, launch.grid
        self.linear_thread = np.arange(self.threads, dtype=np.int64).reshape(-1, 1)
        self.thread = _coordinates(self.linear_thread, launch.block)
        self.block = _coordinates(np.arange(first, first + count, dtype=np.int64).reshape(1, -1), launch.grid)
        self.cluster = launch.translation.cluster
        self.rank = _coordinates(np.arange(count, dtype=np.int64).reshape(1, -1) % self.cluster, (self.cluster, 1, 1))
        self.audit = launch.audit
        self.shared: list[SharedMemory] = []
        self.dynamic_data: dict[np.dtype, np.ndarray] = {}
        self.static_bytes = 0
        for dtype, shape, name in launch.translation.workgroup:
            self.add_workgroup(dtype, shape, name)
        if self.audit is not None:
            self.audit.begin(self)

    def add_workgroup(self, dtype: np.dtype, shape: tuple[int, ...], name: str) -> None:
        """A poisoned buffer per block."""
        size = int(np.prod(shape, dtype=np.int64))
        data = self.poisoned(size, dtype)
        self.shared.append(SharedMemory(name, data, shape, self.lanes, self.audit, byte_address=self.static_bytes))
        self.static_bytes += -(-size * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT

    def poisoned(self, size: int, dtype: np.dtype) -> np.ndarray:
        """`size` elements per block."""
        return np.full((size, self.blocks), poison(dtype, ()), dtype)

    def argument(self, position: int, shape: tuple[int, ...]) -> GlobalMemory:
        """A kernel argument."""
        buffer = self.launch.buffers[position]
        start = self.launch.starts[position] if self.launch.starts else 0
        return GlobalMemory(f"argument {position}", buffer, shape, self.lanes, self.audit, byte_address=start)

    def workgroup(self, position: int) -> SharedMemory:
        """A workgroup attribution."""
        return self.shared[position]

    def dynamic(self, site: Site, offset: int, dtype: np.dtype, shape: tuple[int, ...]) -> SharedMemory:
        """A view of the dynamic shared memory. Bytes keep the type that they were written with."""
        size = int(np.prod(shape, dtype=np.int64))
        end, item = offset + size * dtype.itemsize, dtype.itemsize
        if offset % item:
            raise site.fault(f"the byte offset {offset} is not a multiple of the element's {item} bytes")
        if self.launch.shared_bytes is not None and end > self.launch.shared_bytes:
            raise site.fault(f"bytes [{offset}, {end}) lie beyond the launch's {self.launch.shared_bytes} shared bytes")
        if dtype not in self.dynamic_data:
            known = self.launch.translation.dynamic_elements.get(dtype, 0)
            self.dynamic_data[dtype] = self.poisoned(max(known, (self.launch.shared_bytes or 0) // item), dtype)
        data = self.dynamic_data[dtype]
        if end // item > len(data):
            raise site.fault("a view at an offset that is known only at run time needs the launch's shared_bytes")
        name = f"view of dynamic shared memory at byte {offset}"
        return SharedMemory(name, data, shape, self.lanes, self.audit, offset // item, self.static_bytes)

    def peer(self, memory: SharedMemory, rank: Any) -> PeerMemory:
        """The same shared array of the block `rank` of each lane's cluster."""
        return PeerMemory(memory, rank, self.cluster)

    def private(self, shape: tuple[int, ...], dtype: np.dtype, vector: tuple[int, ...]) -> PrivateMemory:
        """Memory of each thread."""
        return PrivateMemory("private buffer", shape, poison(dtype, vector))

    def barrier(self, site: Site, mask: Any) -> None:
        """Every thread of a block arrives, or none does."""
        arrived = self.arrived(site, mask)
        if self.audit is not None:
            self.audit.barrier(arrived)

    def cluster_barrier(self, site: Site, mask: Any) -> None:
        """Every thread of all blocks of a cluster arrives, or none does."""
        arrived = self.arrived(site, mask)
        if arrived is not True:
            arrived = np.broadcast_to(arrived, (self.blocks,))
            blocks = arrived.reshape(-1, self.cluster)
            torn = blocks.any(axis=1) != blocks.all(axis=1)
            if torn.any():
                cluster = int(np.argmax(torn))
                missing = cluster * self.cluster + int(np.argmin(blocks[cluster]))
                raise site.fault(
                    f"barrier of a cluster in divergent control flow: {int(blocks[cluster].sum())} of {self.cluster} "
                    f"blocks reach it, first missing {self.lanes.block_name(missing)}"
                )
        if self.audit is not None:
            self.audit.cluster_barrier(arrived)

    def arrived(self, site: Site, mask: Any) -> Any:
        """The blocks whose threads arrive, or True for all; raises where only some of a block's do."""
        arrived: Any = True
        if mask is not True:
            active = np.broadcast_to(mask, (self.threads, mask.shape[1]))
            arrived = active.all(axis=0)
            torn = arrived != active.any(axis=0)
            if torn.any():
                block = int(np.argmax(torn))
                count = int(active[:, block].sum())
                raise site.fault(
                    f"barrier in divergent control flow: {count} of {self.threads} threads reach it "
                    f"in {self.lanes.block_name(block)}, first missing thread {int(np.argmin(active[:, block]))}"
                )
        return arrived

    def shuffle(self, site: Site, mask: Any, mode: str, value: Any, offset: Any, width: Any) -> tuple[Any, Any]:
        """gpu.shuffle: (value of the source lane, or the own value where invalid; validity)."""
        value = np.asarray(value)
        value = np.broadcast_to(value, (*value.shape[:-2], self.threads, value.shape[-1] if value.ndim else 1))
        thread = self.linear_thread
        lane = thread % WARP
        segment = lane // width * width
        source = {
            "xor": lambda: lane ^ offset,
            "down": lambda: lane + offset,
            "up": lambda: lane - offset,
            "idx": lambda: segment + offset,
        }[mode]()
        valid = (source >= segment) & (source < segment + width)
        target = np.where(valid, thread - lane + source, thread)
        valid = valid & (target < self.threads)
        target = np.where(valid, target, thread).astype(np.int64)
        if mask is not True:
            self.require_active(site, mask, target, valid)
        if target.shape[1] == 1:
            return value.take(target[:, 0], axis=-2), valid
        target = np.broadcast_to(target, (self.threads, self.blocks))
        full = np.broadcast_to(value, (*value.shape[:-1], self.blocks))
        return np.take_along_axis(full, target.reshape((1,) * (full.ndim - 2) + target.shape), -2), valid

    def require_active(self, site: Site, mask: Any, target: np.ndarray, valid: np.ndarray) -> None:
        """Raise if an active lane shuffles from an inactive one."""
        shape = np.broadcast_shapes((self.threads, mask.shape[1]), target.shape)
        active = np.broadcast_to(mask, shape)
        source_active = np.take_along_axis(active, np.broadcast_to(target, shape), 0)
        bad = active & valid & ~source_active
        if bad.any():
            thread, block = np.argwhere(bad)[0]
            source = int(np.broadcast_to(target, shape)[thread, block])
            raise site.fault(f"thread {thread} reads from thread {source}, which does not take part in the shuffle")

    def count_flops(self, mask: Any, flops: int) -> None:
        """`flops` per active lane."""
        if self.audit is not None:
            self.audit.counters.flops += flops * self.active(mask)

    def active(self, mask: Any) -> int:
        """Active lanes of the batch."""
        lanes = self.threads * self.blocks
        return lanes if mask is True else int(np.count_nonzero(mask)) * (lanes // mask.size)
