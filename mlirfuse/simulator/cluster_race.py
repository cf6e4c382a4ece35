"""Who touched which bytes of the shared memory of a cluster's blocks since its last barriers."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlirfuse.simulator.fault import Site
from mlirfuse.simulator.lanes import Lanes
from mlirfuse.simulator.race import DONE, MANY, RaceState

if TYPE_CHECKING:
    from mlirfuse.simulator.pattern import SharedPattern

__all__ = ["ClusterRaceState"]

FIRST = 1  # the epoch before a cluster's first barrier


class ClusterRaceState(RaceState):
    """The `RaceState` of a kernel whose blocks reach into each other's shared memory.

    Two threads of one block are ordered by that block's barriers, wherever they reach; threads of two blocks only by
    barriers of the cluster, which order the threads of each block as well. Other blocks may not have started before
    the first barrier of the cluster, nor run still after the last (CUDA C++ Programming Guide, "Distributed Shared
    Memory"). A thread's number counts those of all blocks of the batch.
    """

    def __init__(self, lanes: Lanes, grain: int, mixed: bool, cluster: int) -> None:
        super().__init__(lanes, grain, mixed)
        self.cluster = cluster
        self.separate()
        self.cluster_epoch = np.full(lanes.blocks, FIRST, np.int32)
        empty = self.columns["wrote"]
        self.columns |= {name: empty.copy() for name in ("wrote_epoch", "read_epoch", "reader_block")}
        self.unjoined: dict[int, tuple[Site, str]] = {}
        """For each cluster, an access to another block that no barrier has followed yet."""

    def cluster_barrier(self, arrived: Any) -> None:
        """A new epoch of every cluster, or of those whose blocks arrived."""
        self.barrier(arrived)
        self.cluster_epoch = self.cluster_epoch + (1 if arrived is True else arrived)
        if arrived is True:
            self.unjoined.clear()
        else:
            self.unjoined = {c: access for c, access in self.unjoined.items() if not arrived[c * self.cluster]}

    def end(self) -> None:
        """All threads have returned."""
        for site, access in self.unjoined.values():
            raise site.fault(f"{access} after the last barrier of the cluster, when that block may have ended")

    def access(self, pattern: "SharedPattern", site: Site, mask: Any, element: int, write: bool) -> np.ndarray:
        """As in `RaceState`; blocks that another one reaches into must run."""
        if pattern.home is not None:
            self.require_running(pattern.home, site, mask)
        return super().access(pattern, site, mask, element, write)

    def require_running(self, home: np.ndarray, site: Site, mask: Any) -> None:
        """Raise for a lane that reaches into another block before the first barrier; note that others did."""
        shape = self.lanes.shape
        remote = np.broadcast_to(mask & (home != np.arange(self.lanes.blocks)), shape)
        for early in (remote & (self.cluster_epoch == FIRST), remote):
            blocks = np.flatnonzero(early.any(axis=0))
            for block in blocks[np.unique(blocks // self.cluster, return_index=True)[1]].tolist():
                thread = int(np.argmax(early[:, block]))
                other = int(np.broadcast_to(home, shape)[thread, block])
                access = (
                    f"thread {thread} of {self.lanes.block_name(block)} reaches into the shared memory of "
                    f"{self.lanes.block_name(other)}"
                )
                if early is not remote:
                    raise site.fault(f"{access} before the first barrier of the cluster: it may not have started")
                self.unjoined.setdefault(block // self.cluster, (site, access))

    def relative_cells(self, pattern: "SharedPattern", mask: Any, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The cells of the blocks that lanes reach into, and the lanes' numbers."""
        per_element = pattern.memory.data.itemsize // self.grain
        shape = (self.lanes.threads, width)
        thread, block = np.nonzero(np.broadcast_to(mask, shape))
        first = np.broadcast_to(pattern.index * per_element, shape)[thread, block]
        grains = first + np.arange(pattern.span * per_element).reshape(-1, 1)
        home = block if pattern.home is None else np.broadcast_to(pattern.home, shape)[thread, block]
        return grains * width + home, (block * self.lanes.threads + thread).astype(np.int32)

    def now(self, cells: np.ndarray) -> np.ndarray:
        """The current epoch of the cluster of each cell."""
        return self.cluster_epoch[cells % self.lanes.blocks]

    def read(self, site: Site, cells: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Read after write by another thread is a race, unless barriers order them."""
        now, block = self.now(cells), who // self.lanes.threads
        self.refuse(site, "RAW", cells, who, self.wrote_unordered(cells, who, now), "writer")
        columns = [self.column(name) for name in ("read", "read_epoch", "reader", "reader_block")]
        read, epoch, reader, reader_block = columns
        before = read[cells] == now
        blocks = before & (reader_block[cells] != block)
        threads = before & (reader_block[cells] == block) & (epoch[cells] == self.epoch[block]) & (reader[cells] != who)
        for column, value, several in ((reader_block, block, blocks), (reader, who, threads)):
            everyone = np.broadcast_to(value, cells.shape)
            column[cells] = everyone
            several |= column[cells] != everyone
            column[cells[several]] = MANY
        read[cells] = now
        epoch[cells] = np.broadcast_to(self.epoch[block], cells.shape)
        never = self.column("wrote")[cells] == 0
        return never if never.any() else np.zeros((0, 0), np.bool_)

    def write(self, site: Site, cells: np.ndarray, who: np.ndarray) -> None:
        """Write after read or write by another thread is a race, unless barriers order them."""
        now, block = self.now(cells), who // self.lanes.threads
        reader, reader_block, epoch = (self.column(n)[cells] for n in ("reader", "reader_block", "read_epoch"))
        unordered = (reader_block != block) | ((epoch == self.epoch[block]) & (reader != who))
        self.refuse(site, "WAR", cells, who, (self.column("read")[cells] == now) & unordered, "reader")
        self.refuse(site, "WAW", cells, who, self.wrote_unordered(cells, who, now), "writer")
        self.column("writer")[cells] = np.broadcast_to(who, cells.shape)
        self.refuse(site, "WAW", cells, who, self.column("writer")[cells] != who, "writer")
        self.column("wrote")[cells] = now
        self.column("wrote_epoch")[cells] = np.broadcast_to(self.epoch[block], cells.shape)

    def wrote_unordered(self, cells: np.ndarray, who: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Whether another thread wrote, and no barrier came in between."""
        writer, block = self.column("writer")[cells], who // self.lanes.threads
        same_epoch = self.column("wrote_epoch")[cells] == self.epoch[block]
        apart = (writer // self.lanes.threads != block) | (same_epoch & (writer != who))
        return (self.column("wrote")[cells] == now) & apart

    def refuse(self, site: Site, hazard: str, cells: np.ndarray, who: np.ndarray, bad: np.ndarray, other: str) -> None:
        """Raise for the first conflict in `bad`, naming both threads and their blocks."""
        if not bad.any():
            return
        grain, lane = np.argwhere(bad)[0]
        cell, mine = int(cells[grain, lane]), int(who[lane])
        second = int(self.column(other)[cell])
        block = int(self.column("reader_block")[cell]) if other == "reader" else second // self.lanes.threads
        partner = "several blocks" if block == MANY else "several threads" if second == MANY else self.name(second)
        within = block == mine // self.lanes.threads
        (does, did), grains = DONE[hazard], cell // self.lanes.blocks
        raise site.fault(
            f"{hazard} race: {self.name(mine)} {does} shared byte {grains * self.grain} of "
            f"{self.lanes.block_name(cell % self.lanes.blocks)} that {partner} {did} with no barrier "
            f"{'' if within else 'of the cluster '}in between"
        )

    def name(self, number: int) -> str:
        """A thread of the batch."""
        block, thread = divmod(number, self.lanes.threads)
        return f"thread {thread} of {self.lanes.block_name(block)}"
