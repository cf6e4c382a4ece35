"""How lanes reach into global and shared memory.

An access is split into a `Pattern`, the part of the indices that differs between lanes, and one
integer per dimension that does not. The pattern's extremes are taken once: whether all lanes are
in bounds is then a comparison per dimension.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlirfuse.simulator.fault import SimulationError, Site

if TYPE_CHECKING:
    from mlirfuse.simulator.memory import GlobalMemory, PeerMemory, SharedMemory

__all__ = ["GlobalPattern", "Pattern", "PeerPattern", "SharedPattern"]


class Pattern:
    """The part of an access's indices that differs between lanes: an array or integer per dimension."""

    def __init__(self, memory: Any, width: int, lanes: tuple[Any, ...]) -> None:
        self.memory, self.width, self.lanes = memory, width, lanes
        self.span = max(width, 1)
        self.room: list[tuple[int, int, int]] = []
        self.memo: dict[Any, Any] = {}
        linear: Any = 0
        last = len(lanes) - 1
        for dimension, (lane, size, stride) in enumerate(zip(lanes, memory.shape, memory.strides, strict=True)):
            limit = size - (self.span if dimension == last else 1)
            low, high = (int(lane.min()), int(lane.max())) if isinstance(lane, np.ndarray) else (lane, lane)
            self.room.append((-low, limit - high, stride))
            linear = linear + lane * stride
        index = np.asarray(linear, np.int64)
        index = index if index.ndim else index.reshape(1, 1)
        low = int(index.min())
        self.base = memory.offset + low
        self.index = index - low if low else index
        self.spread = int(self.index.max())

    def locate(self, site: Site, mask: Any, units: tuple[int, ...]) -> tuple[int, bool]:
        """(element that `index` counts from, whether every lane is in bounds); raises if an active one is not."""
        element, inside = self.base, True
        for unit, (low, high, stride) in zip(units, self.room, strict=True):
            element += unit * stride
            inside = inside and low <= unit <= high
        if not inside:
            self.check(site, mask, units)
        return element, inside

    def check(self, site: Site, mask: Any, units: tuple[int, ...]) -> None:
        """Raise for the first active lane whose index is out of bounds."""
        last = len(units) - 1
        for dimension, (unit, lane, size) in enumerate(zip(units, self.lanes, self.memory.shape, strict=True)):
            index = np.asarray(lane + unit)
            limit = size - (self.span if dimension == last else 1)
            bad = ((index < 0) | (index > limit)) & mask
            if bad.any():
                raise self.out_of_bounds(site, dimension, np.broadcast_to(bad, self.memory.lanes.shape), units)

    def out_of_bounds(self, site: Site, dimension: int, bad: np.ndarray, units: tuple[int, ...]) -> SimulationError:
        """The error for the first lane of `bad`."""
        thread, block = np.argwhere(bad)[0]
        lane = [
            int(np.broadcast_to(lane + u, self.memory.lanes.shape)[thread, block])
            for lane, u in zip(self.lanes, units, strict=True)
        ]
        width = f" (a vector of {self.width})" if self.width else ""
        return site.fault(
            f"index {lane} is out of bounds of {list(self.memory.shape)} in dimension {dimension}{width}; "
            f"thread {thread} of {self.memory.lanes.block_name(int(block))}, the first of {int(bad.sum())} such threads"
        )

    def require_alignment(self, site: Site, mask: Any, size: int, *units: int) -> None:
        """Raise unless every active lane's first byte is a multiple of `size`."""
        element, _ = self.locate(site, mask, units)
        byte = (self.index + element) * self.memory.data.itemsize + self.memory.byte_address
        bad = (byte % size != 0) & mask
        if bad.any():
            wrong = int(np.broadcast_to(byte, bad.shape)[bad].flat[0])
            raise site.fault(f"byte {wrong} is not aligned to the {size} bytes that the operation promises")

    def steps(self, index: np.ndarray) -> np.ndarray:
        """`index` of each element: a vector's elements in front."""
        if not self.width:
            return index
        return index + np.arange(self.width).reshape(-1, *(1,) * index.ndim)


class GlobalPattern(Pattern):
    """Lanes reach one flat array."""

    def __init__(self, memory: "GlobalMemory", width: int, lanes: tuple[Any, ...]) -> None:
        super().__init__(memory, width, lanes)
        self.gather = self.steps(self.index)

    def load(self, site: Site, mask: Any, *units: int) -> np.ndarray:
        """What each active lane reads; the other lanes hold something."""
        element, inside = self.locate(site, mask, units)
        if self.memory.audit is not None:
            self.memory.audit.global_access(self, site, mask, element, write=False)
        if inside:
            return self.memory.data[element:].take(self.gather, mode="clip")
        return self.memory.data.take(self.gather + element, mode="clip")

    def touch(self, site: Site, mask: Any, write: bool, *units: int) -> None:
        """Count the access without doing it."""
        element, _ = self.locate(site, mask, units)
        if self.memory.audit is not None:
            self.memory.audit.global_access(self, site, mask, element, write)

    def store(self, site: Site, mask: Any, value: Any, *units: int) -> None:
        """Write the active lanes' values."""
        element, _ = self.locate(site, mask, units)
        if self.memory.audit is not None:
            self.memory.audit.global_access(self, site, mask, element, write=True, value=value)
        index = self.gather + element
        if mask is True:
            shape = np.broadcast_shapes(index.shape, np.shape(value))
            self.memory.data[np.broadcast_to(index, shape)] = value
            return
        shape = np.broadcast_shapes(index.shape, np.shape(value), mask.shape)
        active = np.broadcast_to(mask, shape)
        self.memory.data[np.broadcast_to(index, shape)[active]] = np.broadcast_to(value, shape)[active]


class SharedPattern(Pattern):
    """Lanes reach the memory of their own block."""

    def __init__(self, memory: "SharedMemory", width: int, lanes: tuple[Any, ...]) -> None:
        super().__init__(memory, width, lanes)
        self.home: np.ndarray | None = None  # the blocks of the batch that lanes reach into; None: each its own
        self.by_thread = self.index.shape[1] == 1
        self.rows = self.steps(self.index[:, 0])  # for addresses that do not depend on the block

    def flat(self, element: int) -> np.ndarray:
        """Index of each element into the flattened `data`, clipped into it."""
        rows = np.clip(self.index + element, 0, self.memory.data.shape[0] - self.span)
        block = np.arange(self.memory.lanes.blocks) if self.home is None else self.home
        return self.steps(rows) * self.memory.lanes.blocks + block

    def load(self, site: Site, mask: Any, *units: int) -> np.ndarray:
        """What each active lane reads; the other lanes hold something."""
        element, inside = self.locate(site, mask, units)
        if self.memory.audit is not None:
            self.memory.audit.shared_access(self, site, mask, element, write=False)
        if self.by_thread and inside:
            return self.memory.data[element:].take(self.rows, axis=0, mode="clip")
        return self.memory.data.reshape(-1).take(self.flat(element))

    def touch(self, site: Site, mask: Any, write: bool, *units: int) -> None:
        """Count the access without doing it."""
        element, _ = self.locate(site, mask, units)
        if self.memory.audit is not None:
            self.memory.audit.shared_access(self, site, mask, element, write)

    def store(self, site: Site, mask: Any, value: Any, *units: int) -> None:
        """Write the active lanes' values."""
        element, inside = self.locate(site, mask, units)
        if self.memory.audit is not None:
            self.memory.audit.shared_access(self, site, mask, element, write=True)
        if self.by_thread and inside and (mask is True or mask.shape[1] == 1):
            self.store_rows(mask, value, element)
            return
        index = self.flat(element)
        shape = np.broadcast_shapes(index.shape, np.shape(value), np.shape(mask))
        data = self.memory.data.reshape(-1)
        if mask is True:
            data[np.broadcast_to(index, shape)] = value
        else:
            active = np.broadcast_to(mask, shape)
            data[np.broadcast_to(index, shape)[active]] = np.broadcast_to(value, shape)[active]

    def store_rows(self, mask: Any, value: Any, element: int) -> None:
        """Addresses and mask are the same in every block: whole rows are written."""
        rows: np.ndarray = self.rows + element
        if mask is True and rows.shape[-1] == self.memory.lanes.threads:
            self.memory.data[rows] = value
            return
        vector = rows.shape[:-1]
        rows = np.broadcast_to(rows, (*vector, self.memory.lanes.threads))
        active = slice(None) if mask is True else np.broadcast_to(mask, (self.memory.lanes.threads, 1))[:, 0]
        value = np.broadcast_to(
            value, (*vector, self.memory.lanes.threads, np.shape(value)[-1] if np.ndim(value) else 1)
        )
        self.memory.data[rows[..., active]] = value[..., active, :]


class PeerPattern(SharedPattern):
    """Lanes reach the memory of other blocks of their cluster."""

    def __init__(self, memory: "PeerMemory", width: int, lanes: tuple[Any, ...]) -> None:
        super().__init__(memory, width, lanes)
        cluster, own = memory.cluster, np.arange(memory.lanes.blocks).reshape(1, -1)
        self.rank = np.asarray(memory.rank).reshape(1, 1) if np.ndim(memory.rank) == 0 else memory.rank
        self.outside = (self.rank < 0) | (self.rank >= cluster)
        self.home = own // cluster * cluster + np.clip(self.rank, 0, cluster - 1)
        self.by_thread = False

    def check_rank(self, site: Site, mask: Any) -> None:
        """Raise for the first active lane whose block the cluster does not have."""
        bad = self.outside & mask
        if not bad.any():
            return
        lanes = self.memory.lanes
        thread, block = np.argwhere(np.broadcast_to(bad, lanes.shape))[0]
        rank = int(np.broadcast_to(self.rank, lanes.shape)[thread, block])
        raise site.fault(
            f"rank {rank} is out of bounds of a cluster of {self.memory.cluster} blocks; "
            f"thread {thread} of {lanes.block_name(int(block))}"
        )

    def locate(self, site: Site, mask: Any, units: tuple[int, ...]) -> tuple[int, bool]:
        """As in `Pattern`; the rank has bounds, too."""
        if self.outside.any():
            self.check_rank(site, mask)
        return super().locate(site, mask, units)
