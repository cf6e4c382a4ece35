"""Schedules of the sort op: a bitonic network on one run of a row.

for each run:  key[...], position[...] = operand(run, ...)
    for each phase of the network:  put every comparator's pair in order
    out[run, ...] = epilogue(position)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mlirfuse.device import Device
from mlirfuse.dialect import Node
from mlirfuse.dialect.indexing import Expr, delinearize, minimum
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.groups.forward import downstream_indices
from mlirfuse.lowering.groups.group import Group

__all__ = ["SortLoops", "SortPlan", "SortTiles", "key_bytes", "sort_threads"]

WARP = 32
MOST_THREADS = 512


def key_bytes(dtype: str) -> int:
    """Bytes of the integer that an element is compared as."""
    return 8 if dtype in ("float64", "int64", "uint64") else 4


@dataclass(frozen=True)
class SortPlan:
    """Where the runs of a sort op lie. A unit is one run of one row; `length` is the longest run."""

    node: Node

    @property
    def dims(self) -> tuple[int, ...]:
        return self.node.inputs[0].dims

    @property
    def axis(self) -> int:
        axis: int = self.node.attrs["axis"]
        return axis

    @property
    def length(self) -> int:
        return int(min(self.node.attrs["run"], self.dims[self.axis]))

    @property
    def keep(self) -> int:
        return int(min(self.node.attrs["keep"], self.length))

    @property
    def runs(self) -> int:
        return -(-self.dims[self.axis] // int(self.node.attrs["run"]))

    @property
    def units(self) -> int:
        return self.runs * math.prod(d for a, d in enumerate(self.dims) if a != self.axis)

    @property
    def scratch_bytes(self) -> int:
        """Keys and positions of one run."""
        return self.length * (key_bytes(self.node.inputs[0].dtype) + 4)

    def run_of(self, unit: Expr) -> tuple[tuple[Expr, ...], Expr, Expr]:
        """The index of a unit's row (0 along the axis), where its run begins, and how long it is."""
        sizes = [self.runs if a == self.axis else d for a, d in enumerate(self.dims)]
        index = list(delinearize(unit, tuple(sizes)))
        start, index[self.axis] = index[self.axis] * int(self.node.attrs["run"]), Expr(0)
        return tuple(index), start, minimum(Expr(self.dims[self.axis]) - start, self.length)

    def at(self, row: tuple[Expr, ...], place: Expr) -> tuple[Expr, ...]:
        """The index of the element at `place` of a row."""
        return (*row[: self.axis], place, *row[self.axis + 1 :])

    def result_start(self, start: Expr) -> Expr:
        """Where the positions of the run at `start` begin in the result."""
        return start // int(self.node.attrs["run"]) * int(self.node.attrs["keep"])


@dataclass(frozen=True)
class SortTiles:
    """One block sorts one run in shared memory; its `threads` share the comparators of a phase."""

    threads: int = 256

    def why_illegal(self, group: Group, device: Device) -> str | None:
        if complaint := _problem(group):
            return complaint
        assert group.anchor is not None
        shared = SortPlan(group.anchor.node).scratch_bytes
        if shared > device.shared_bytes_per_block:
            return f"{shared} bytes of shared memory; the device has {device.shared_bytes_per_block}"
        if self.threads > device.max_threads_per_block or self.threads % WARP:
            return f"{self.threads} threads are no whole number of warps up to {device.max_threads_per_block}"
        return None


@dataclass(frozen=True)
class SortLoops:
    """Each of `tiles` sorts some runs, one after the other, in scratch of its own."""

    tiles: int = 1

    def why_illegal(self, group: Group, device: Device) -> str | None:
        if complaint := _problem(group):
            return complaint
        assert group.anchor is not None
        units = SortPlan(group.anchor.node).units
        return None if 1 <= self.tiles <= units else f"{self.tiles} tiles for {units} runs"


def sort_threads(node: Node, device: Device) -> int:
    """Threads for a run: one for each comparator of a phase, a warp at least, and what the device allows at most."""
    pairs = int(np.ceil(SortPlan(node).length / 2))
    return min(MOST_THREADS, device.max_threads_per_block, max(WARP, 1 << (pairs - 1).bit_length()))


def _problem(group: Group) -> str | None:
    if group.anchor is None or group.anchor.node.op != "sort":
        return "a network sorts the runs of one sort op"
    found = downstream_indices(group, group.anchor, out_variables(group.anchor.node.out.dims))
    if isinstance(found, str):
        return found
    return None if all(v in found for v in group.outputs) else "an output does not depend on the sort"
