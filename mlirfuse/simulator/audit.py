"""Counts the traffic of a launch and finds races; the access patterns call it in `check` and `count` modes."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlirfuse.simulator.block_race import BlockRaces
from mlirfuse.simulator.cluster_race import ClusterRaceState
from mlirfuse.simulator.counters import SECTOR_BYTES, Counters
from mlirfuse.simulator.fault import Site
from mlirfuse.simulator.race import RaceState

if TYPE_CHECKING:
    from mlirfuse.simulator.machine import Batch
    from mlirfuse.simulator.memory import GlobalMemory
    from mlirfuse.simulator.pattern import GlobalPattern, SharedPattern

__all__ = ["Audit", "distinct_per_warp", "wavefronts"]

WARP = 32
WORD_BYTES, BANKS = 4, 32
REQUEST_BYTES = 16
NONE = -1


def _address(buffer: np.ndarray) -> int:
    """Where the host keeps a buffer."""
    return int(buffer.__array_interface__["data"][0])


def by_warp(values: np.ndarray, active: Any, threads: int) -> np.ndarray:
    """`values` per lane as [warp, lane, block]; inactive lanes and those past the last thread hold NONE."""
    blocks = max(values.shape[1], 1 if active is True else active.shape[1])
    if active is not True:
        values = np.where(active, values, NONE)
    padded = -(-threads // WARP) * WARP
    full = np.broadcast_to(values, (threads, blocks))
    if padded != threads:
        full = np.concatenate([full, np.full((padded - threads, blocks), NONE, values.dtype)])
    return full.reshape(-1, WARP, blocks)


def distinct_per_warp(values: np.ndarray) -> int:
    """How many different values other than NONE each column along axis 1 holds, summed."""
    steps = values[:, 1:] != values[:, :-1]
    if not (values[:, 1:] >= values[:, :-1]).all():
        values = np.sort(values, axis=1)
        steps = values[:, 1:] != values[:, :-1]
    return int(np.count_nonzero(values[:, 0] != NONE) + np.count_nonzero(steps & (values[:, 1:] != NONE)))


def wavefronts(first_byte: np.ndarray, size: int) -> tuple[int, int]:
    """(wavefronts, phases with an active lane) of requests of `size` <= 16 bytes per lane, [warp, lane, block].

    Lanes are served in phases of as many as fill 128 bytes; a phase takes as many wavefronts as
    the most distinct words that share a bank.
    """
    lanes = WARP // max(1, -(-size // WORD_BYTES))
    lanes = 1 << (lanes.bit_length() - 1)
    warps, _, blocks = first_byte.shape
    phases = first_byte.reshape(warps, WARP // lanes, lanes, blocks).transpose(0, 1, 3, 2).reshape(-1, lanes)
    phases = phases[(phases != NONE).any(axis=1)]
    if not len(phases):
        return 0, 0
    last = np.where(phases == NONE, NONE, (phases + size - 1) // WORD_BYTES)
    word = np.where(phases == NONE, NONE, phases // WORD_BYTES)
    pieces = [np.where(word + step <= last, word + step, word) for step in range(-(-size // WORD_BYTES) + 1)]
    words = np.sort(np.where(word[:, None] == NONE, NONE, np.stack(pieces, axis=1)).reshape(len(phases), -1), axis=1)
    fresh = words != NONE
    fresh[:, 1:] &= words[:, 1:] != words[:, :-1]
    row, column = np.nonzero(fresh)
    uses = np.bincount(row * BANKS + words[row, column] % BANKS, minlength=len(phases) * BANKS)
    return int(uses.reshape(-1, BANKS).max(axis=1).sum()), len(phases)


class Audit:
    """The counters of one launch, and the race state of its current batch."""

    def __init__(self, races: bool, uninitialised: str) -> None:
        """`uninitialised` is "raise" or "count"."""
        self.counters = Counters(launches=1)
        self.races, self.uninitialised = races, uninitialised
        self.sectors: dict[tuple[int, bool], np.ndarray] = {}
        self.state: RaceState | ClusterRaceState | None = None
        self.block_races: BlockRaces | None = None
        self.batch: Batch

    def begin(self, batch: "Batch") -> None:
        """Shared memory is fresh, and nothing happened in it."""
        self.batch = batch
        self.counters.blocks += batch.blocks
        if self.races:
            self.block_races = self.block_races or BlockRaces(batch.launch)
            translation = batch.launch.translation
            mixed = len(translation.dynamic_elements) > 1
            grain, cluster = translation.shared_item_bytes, translation.cluster
            self.state = (
                RaceState(batch.lanes, grain, mixed)
                if cluster == 1
                else ClusterRaceState(batch.lanes, grain, mixed, cluster)
            )

    def end(self) -> None:
        """The batch has run."""
        if isinstance(self.state, ClusterRaceState):
            self.state.end()

    def finish(self) -> Counters:
        """The totals of the launch."""
        launch = self.batch.launch
        positions = {_address(buffer): i for i, buffer in reversed(list(enumerate(launch.buffers)))}
        by_argument = [0] * len(launch.buffers)
        for (address, write), touched in self.sectors.items():
            size = int(np.count_nonzero(touched)) * SECTOR_BYTES
            by_argument[positions[address]] += size
            if write:
                self.counters.dram_write_bytes += size
            else:
                self.counters.dram_read_bytes += size
        self.counters.argument_bytes = tuple(by_argument)
        return self.counters

    def barrier(self, arrived: Any) -> None:
        """`arrived`: True, or which blocks."""
        self.counters.barriers += self.batch.blocks if arrived is True else self._blocks(arrived)
        if self.state is not None:
            self.state.barrier(arrived)

    def cluster_barrier(self, arrived: Any) -> None:
        """`arrived`: True, or which blocks; all or none of each cluster."""
        self.counters.cluster_barriers += self.batch.blocks if arrived is True else self._blocks(arrived)
        if isinstance(self.state, ClusterRaceState):
            self.state.cluster_barrier(arrived)

    def _blocks(self, per_block: np.ndarray) -> int:
        return int(np.count_nonzero(per_block)) * (self.batch.blocks // per_block.size)

    def global_access(
        self, pattern: "GlobalPattern", site: Site, mask: Any, element: int, write: bool, value: Any = None
    ) -> None:
        """Sectors of an access whose lanes start at element `element` plus their index, then races."""
        if self.block_races is not None:
            self.block_races.access(pattern, site, mask, element, write, value)
        item = pattern.memory.data.itemsize
        size = pattern.span * item
        for piece in range(0, size, REQUEST_BYTES):
            self.global_piece(pattern, mask, element * item + piece, min(REQUEST_BYTES, size - piece), write)

    def global_piece(self, pattern: "GlobalPattern", mask: Any, start: int, size: int, write: bool) -> None:
        """One request per warp, of `size` bytes per lane."""
        byte = pattern.index * pattern.memory.data.itemsize + (start + pattern.memory.byte_address)
        first, last = byte // SECTOR_BYTES, (byte + (size - 1)) // SECTOR_BYTES
        ends = (first,) if (first == last).all() else (first, last)
        key = ((start + pattern.memory.byte_address) % SECTOR_BYTES, size)
        counts = pattern.memo.get(key) if mask is True else None
        if counts is None:
            counts = self.global_counts(mask, ends)
            if mask is True:
                pattern.memo[key] = counts
        if write:
            self.counters.global_write_bytes += counts[0] * SECTOR_BYTES
        else:
            self.counters.global_read_bytes += counts[0] * SECTOR_BYTES
        self.counters.global_requests += counts[1]
        touched = self.touched(pattern.memory, write)
        for sectors in ends:
            if mask is True:
                touched[sectors] = True
            else:
                shape = np.broadcast_shapes(sectors.shape, mask.shape)
                touched[np.broadcast_to(sectors, shape)[np.broadcast_to(mask, shape)]] = True

    def global_counts(self, mask: Any, ends: tuple[np.ndarray, ...]) -> tuple[int, int]:
        """(distinct sectors per warp, warps with an active lane), over the batch."""
        lanes = np.concatenate([by_warp(sectors, mask, self.batch.threads) for sectors in ends], axis=1)
        requests = int(np.count_nonzero((lanes != NONE).any(axis=1)))
        repeat = self.batch.blocks // lanes.shape[2]
        return distinct_per_warp(lanes) * repeat, requests * repeat

    def touched(self, memory: "GlobalMemory", write: bool) -> np.ndarray:
        """The bit map of a buffer's sectors; arguments that are the same memory share it."""
        key = (_address(memory.data), write)
        if key not in self.sectors:
            self.sectors[key] = np.zeros(-(-(memory.data.nbytes + memory.byte_address) // SECTOR_BYTES), np.bool_)
        return self.sectors[key]

    def shared_access(self, pattern: "SharedPattern", site: Site, mask: Any, element: int, write: bool) -> None:
        """Bank conflicts of an access, then races."""
        if pattern.home is None:
            self.count_shared(pattern, mask, element)
        else:
            self.count_peer(pattern, pattern.home, mask, element, write)
        if self.state is not None:
            never = self.state.access(pattern, site, mask, element, write)
            if never.size:
                self.uninitialised_read(pattern, site, never)

    def uninitialised_read(self, pattern: "SharedPattern", site: Site, never: np.ndarray) -> None:
        """`never[element, lane]`: no thread wrote it. A vector may hang over the edge of what was written."""
        repeat = self.batch.blocks if self.state is not None and not self.state.per_block else 1
        self.counters.uninitialised_reads += int(np.count_nonzero(never)) * repeat
        if self.uninitialised == "raise" and never.all(axis=0).any():
            raise site.fault("reads shared memory that no thread of the block has written")

    def count_peer(self, pattern: "SharedPattern", home: np.ndarray, mask: Any, element: int, write: bool) -> None:
        """Bytes of the lanes that reach into another block; those that reach into their own use its banks."""
        remote = mask & (home != np.arange(self.batch.blocks))
        size = self.batch.active(remote) * pattern.span * pattern.memory.data.itemsize
        if write:
            self.counters.peer_write_bytes += size
        else:
            self.counters.peer_read_bytes += size
        own = mask & (home == np.arange(self.batch.blocks))
        if own.any():
            self.count_shared(pattern, own, element)

    def count_shared(self, pattern: "SharedPattern", mask: Any, element: int) -> None:
        """Wavefronts depend on the pattern and on where in a 128-byte row it starts."""
        item = pattern.memory.data.itemsize
        start = element * item + pattern.memory.byte_address
        key = start % (BANKS * WORD_BYTES)
        counts = pattern.memo.get(key) if mask is True else None
        if counts is None:
            counts = self.shared_counts(pattern, mask, start)
            if mask is True:
                pattern.memo[key] = counts
        self.counters.shared_requests += counts[0]
        self.counters.shared_wavefronts += counts[1]
        self.counters.shared_ideal_wavefronts += counts[2]

    def shared_counts(self, pattern: "SharedPattern", mask: Any, start: int) -> tuple[int, int, int]:
        """(requests, wavefronts, ideal wavefronts) over the batch."""
        item = pattern.memory.data.itemsize
        size = pattern.span * item
        totals = np.zeros(3, np.int64)
        for piece in range(0, size, REQUEST_BYTES):
            lanes = by_warp(pattern.index * item + (start + piece), mask, self.batch.threads)
            waves, phases = wavefronts(lanes, min(REQUEST_BYTES, size - piece))
            requests = int(np.count_nonzero((lanes != NONE).any(axis=1)))
            totals += np.array([requests, waves, phases]) * (self.batch.blocks // lanes.shape[2])
        return int(totals[0]), int(totals[1]), int(totals[2])
