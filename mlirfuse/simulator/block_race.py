"""Blocks of a launch that touch the same global memory: they run in any order, and no barrier joins them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlirfuse.simulator.fault import Site
from mlirfuse.simulator.lanes import Lanes

if TYPE_CHECKING:
    from mlirfuse.simulator.machine import Launch
    from mlirfuse.simulator.pattern import GlobalPattern

__all__ = ["BlockRaces"]

NOBODY, MANY = -1, -2


class Region:
    """A range of addresses that some argument writes: the last writer and reader block of each grain."""

    def __init__(self, start: int, end: int, grain: int) -> None:
        self.start, self.end, self.grain = start, end, grain
        grains = -(-(end - start) // grain)
        self.writer = np.full(grains, NOBODY, np.int32)
        self.reader = np.full(grains, NOBODY, np.int32)


def _address(data: np.ndarray) -> int:
    return int(data.__array_interface__["data"][0])


def bits(values: np.ndarray) -> np.ndarray:
    """For comparing: a NaN equals itself."""
    return values.view(f"u{values.itemsize}")


def _regions(buffers: tuple[np.ndarray, ...], written: frozenset[int]) -> list[Region]:
    """One region per group of overlapping arguments, if a kernel writes one of them."""
    spans = sorted((_address(b), _address(b) + b.nbytes, b.itemsize, i in written) for i, b in enumerate(buffers))
    groups: list[tuple[int, int, int, bool]] = []
    for start, end, item, is_written in spans:
        if groups and start < groups[-1][1]:
            first, last, grain, before = groups[-1]
            groups[-1] = (first, max(last, end), min(grain, item), before or is_written)
        else:
            groups.append((start, end, item, is_written))
    return [Region(start, end, grain) for start, end, grain, is_written in groups if is_written]


class BlockRaces:
    """Raises when a block reads what another wrote, or overwrites with a new value what another read or wrote.

    That holds for the blocks of a cluster, too: what they exchange goes through shared memory.

    Two blocks that write the same value to one place (overlapping tiles) agree in any order.
    """

    def __init__(self, launch: "Launch") -> None:
        self.regions = _regions(launch.buffers, launch.translation.written)

    def access(self, pattern: "GlobalPattern", site: Site, mask: Any, element: int, write: bool, value: Any) -> None:
        """Record an access of the active lanes; `value` is what a write stores."""
        data = pattern.memory.data
        start = _address(data)
        for region in self.regions:
            if region.start <= start < region.end:
                self.record(region, pattern, site, mask, element, write, value)

    def record(
        self, region: Region, pattern: "GlobalPattern", site: Site, mask: Any, element: int, write: bool, value: Any
    ) -> None:
        """An access inside a region."""
        memory, lanes = pattern.memory, pattern.memory.lanes
        index = np.broadcast_to(pattern.gather + element, (*pattern.gather.shape[:-2], *lanes.shape))
        active = np.broadcast_to(mask, index.shape)
        places = index[active]
        block = np.broadcast_to(lanes.first + np.arange(lanes.blocks, dtype=np.int32), index.shape)[active]
        changed: Any = None
        lost: Any = None
        if write:
            stored = bits(np.broadcast_to(value, index.shape)[active])
            changed = stored != bits(memory.data[places])
            memory.data[places] = stored.view(memory.data.dtype)  # the store itself does this again
            lost = stored != bits(memory.data[places])
        item = memory.data.itemsize
        first = (_address(memory.data) - region.start + places * item) // region.grain
        for step in range(item // region.grain):
            if write:
                self.write(region, site, lanes, first + step, block, changed, lost)
            else:
                self.read(region, site, lanes, first + step, block)

    def read(self, region: Region, site: Site, lanes: Lanes, cells: np.ndarray, block: np.ndarray) -> None:
        """Another block must not have written."""
        writer = region.writer[cells]
        self.refuse(region, site, lanes, cells, block, (writer != NOBODY) & (writer != block), "reads", region.writer)
        before = region.reader[cells]
        region.reader[cells] = block
        shared = ((before != NOBODY) & (before != block)) | (region.reader[cells] != block)
        region.reader[cells[shared]] = MANY

    def write(
        self, region: Region, site: Site, lanes: Lanes, cells: np.ndarray, block: np.ndarray, changed: Any, lost: Any
    ) -> None:
        """`changed`: the place held another value; `lost`: the place now holds another lane's value."""
        reader, writer = region.reader[cells], region.writer[cells]
        torn = changed & (reader != NOBODY) & (reader != block)
        self.refuse(region, site, lanes, cells, block, torn, "overwrites", region.reader)
        torn = changed & (writer != NOBODY) & (writer != block)
        self.refuse(region, site, lanes, cells, block, torn, "overwrites", region.writer)
        region.writer[cells] = block
        torn = lost & (region.writer[cells] != block)
        self.refuse(region, site, lanes, cells, block, torn, "overwrites", region.writer)

    def refuse(
        self, region: Region, site: Site, lanes: Lanes, cells: np.ndarray, block: np.ndarray, bad: np.ndarray,
        does: str, others: np.ndarray,
    ) -> None:  # fmt: skip
        """Raise for the first conflict in `bad`, naming both blocks."""
        if not bad.any():
            return
        first = int(np.argmax(bad))
        mine, other = int(block[first]), int(others[cells[first]])
        partner = "several blocks" if other == MANY else lanes.block_name(other - lanes.first)
        done = "wrote" if others is region.writer else "read"
        raise site.fault(
            f"race between blocks: {lanes.block_name(mine - lanes.first)} {does} global memory that {partner} {done} "
            "in the same launch"
        )
