"""Who touched which bytes of shared memory since the last barrier."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlirfuse.simulator.fault import Site
from mlirfuse.simulator.lanes import Lanes

if TYPE_CHECKING:
    from mlirfuse.simulator.pattern import SharedPattern

__all__ = ["RaceState"]

MANY = -2  # a reader that stands for several threads
DONE = {"RAW": ("reads", "wrote"), "WAR": ("overwrites", "read"), "WAW": ("overwrites", "wrote")}


class RaceState:
    """The last writer and readers of each grain (the smallest shared element) of the shared memory.

    An access conflicts with one of another thread in the same epoch, the time between two
    barriers. While all blocks do the same, one copy of the state serves them all.
    """

    def __init__(self, lanes: Lanes, grain: int, mixed: bool) -> None:
        """`mixed`: bytes may be seen as elements of several types."""
        self.lanes, self.grain, self.mixed = lanes, grain, mixed
        self.per_block = False
        self.epoch = np.ones(1, np.int32)
        self.columns = {name: np.zeros((0, 1), np.int32) for name in ("wrote", "writer", "read", "reader", "type")}

    def barrier(self, arrived: Any) -> None:
        """A new epoch, in every block or in those that arrived."""
        if arrived is not True:
            self.separate()
        self.epoch = self.epoch + (1 if arrived is True else np.broadcast_to(arrived, (self.lanes.blocks,)))

    def separate(self) -> None:
        """From here on each block has its own state."""
        if not self.per_block:
            self.per_block = True
            self.epoch = np.repeat(self.epoch, self.lanes.blocks)
            self.columns = {name: np.repeat(column, self.lanes.blocks, axis=1) for name, column in self.columns.items()}

    def reserve(self, grains: int) -> None:
        """Make room for the grains below `grains`."""
        have, width = self.columns["wrote"].shape
        if grains > have:
            more = np.zeros((grains - have, width), np.int32)
            self.columns = {name: np.concatenate([column, more]) for name, column in self.columns.items()}

    def access(self, pattern: "SharedPattern", site: Site, mask: Any, element: int, write: bool) -> np.ndarray:
        """Record an access and raise if it races; a read returns which grains [grain, lane] nobody wrote."""
        if pattern.index.shape[1] > 1 or (mask is not True and mask.shape[1] > 1):
            self.separate()
        cells, who = self.cells(pattern, mask, element)
        dtype = pattern.memory.data.dtype
        if write:
            self.write(site, cells, who)
            if self.mixed:
                self.column("type")[cells] = dtype.num
            return np.zeros((0, 0), np.bool_)
        if self.mixed:
            self.require_type(site, cells, dtype)
        return self.read(site, cells, who)

    def require_type(self, site: Site, cells: np.ndarray, dtype: np.dtype) -> None:
        """The simulator keeps the element types of dynamic shared memory apart."""
        written = self.column("type")[cells][self.column("wrote")[cells] > 0]
        if (written != dtype.num).any():
            raise site.fault(f"reads as {dtype} shared bytes that were written as another type")

    def cells(self, pattern: "SharedPattern", mask: Any, element: int) -> tuple[np.ndarray, np.ndarray]:
        """(flat state cells [grain, lane], thread of each lane) of the active lanes."""
        memory = pattern.memory
        start = (element * memory.data.itemsize + memory.byte_address) // self.grain
        self.reserve(start + (pattern.spread + pattern.span) * memory.data.itemsize // self.grain)
        width = self.lanes.blocks if self.per_block else 1
        key = ("cells", width)
        if mask is not True or key not in pattern.memo:
            relative = self.relative_cells(pattern, mask, width)
            if mask is not True:
                return relative[0] + start * width, relative[1]
            pattern.memo[key] = relative
        cells, who = pattern.memo[key]
        return cells + start * width, who

    def relative_cells(self, pattern: "SharedPattern", mask: Any, width: int) -> tuple[np.ndarray, np.ndarray]:
        """`cells`, counted from the access's first grain."""
        per_element = pattern.memory.data.itemsize // self.grain
        shape = (self.lanes.threads, width)
        thread, block = np.nonzero(np.broadcast_to(mask, shape))
        first = np.broadcast_to(pattern.index * per_element, shape)[thread, block]
        grains = first + np.arange(pattern.span * per_element).reshape(-1, 1)
        return grains * width + block, thread.astype(np.int32)

    def column(self, name: str) -> np.ndarray:
        """A flat view of a state column."""
        return self.columns[name].reshape(-1)

    def now(self, cells: np.ndarray) -> np.ndarray:
        """The current epoch of each cell's block."""
        return self.epoch[cells % self.epoch.size] if self.per_block else self.epoch

    def read(self, site: Site, cells: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Read after write by another thread is a race."""
        now = self.now(cells)
        wrote = self.column("wrote")[cells]
        self.refuse(site, "RAW", cells, who, (wrote == now) & (self.column("writer")[cells] != who), "writer")
        reader, read = self.column("reader"), self.column("read")
        several = (read[cells] == now) & (reader[cells] != who)
        everyone = np.broadcast_to(who, cells.shape)
        reader[cells] = everyone
        several |= reader[cells] != everyone
        reader[cells[several]] = MANY
        read[cells] = now
        never = wrote == 0
        return never if never.any() else np.zeros((0, 0), np.bool_)

    def write(self, site: Site, cells: np.ndarray, who: np.ndarray) -> None:
        """Write after read or write by another thread is a race."""
        now = self.now(cells)
        read, wrote = self.column("read")[cells], self.column("wrote")[cells]
        self.refuse(site, "WAR", cells, who, (read == now) & (self.column("reader")[cells] != who), "reader")
        self.refuse(site, "WAW", cells, who, (wrote == now) & (self.column("writer")[cells] != who), "writer")
        self.column("writer")[cells] = np.broadcast_to(who, cells.shape)
        self.refuse(site, "WAW", cells, who, self.column("writer")[cells] != who, "writer")
        self.column("wrote")[cells] = now

    def refuse(self, site: Site, hazard: str, cells: np.ndarray, who: np.ndarray, bad: np.ndarray, other: str) -> None:
        """Raise for the first conflict in `bad`, naming both threads."""
        if not bad.any():
            return
        grain, lane = np.argwhere(bad)[0]
        cell, thread = cells[grain, lane], int(who[lane])
        second = int(self.column(other)[cell])
        partner = "several threads" if second == MANY else f"thread {second}"
        block, done = int(cell % self.epoch.size), DONE[hazard]
        raise site.fault(
            f"{hazard} race: thread {thread} {done[0]} shared byte {int(cell // self.epoch.size) * self.grain} "
            f"that {partner} {done[1]} with no barrier in between ({self.lanes.block_name(block)})"
        )
