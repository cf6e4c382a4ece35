"""Global, shared and private memory of a batch of blocks.

Shared memory keeps the blocks of a batch innermost, so that an address that is the same in every
block moves a row of contiguous bytes.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlirfuse.simulator.fault import Site
from mlirfuse.simulator.lanes import Lanes
from mlirfuse.simulator.pattern import GlobalPattern, PeerPattern, SharedPattern

if TYPE_CHECKING:
    from mlirfuse.simulator.audit import Audit

__all__ = ["GlobalMemory", "PeerMemory", "PrivateMemory", "SharedMemory", "poison"]


def poison(dtype: np.dtype, shape: tuple[int, ...]) -> Any:
    """The contents of fresh memory: all bits set, which is a NaN in every float format."""
    value = np.full(dtype.itemsize, 0xFF, np.uint8).view(dtype)[0]
    return np.full((*shape, 1, 1), value, dtype) if shape else value


@dataclass(eq=False)
class Memory:
    """Elements of one type in row-major order of `shape`, from element `offset` of `data`."""

    name: str
    data: np.ndarray
    shape: tuple[int, ...]
    lanes: Lanes
    audit: "Audit | None" = None
    offset: int = 0
    byte_address: int = 0
    """Where element 0 of `data` lies in its memory space."""
    strides: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        strides = [1]
        for size in reversed(self.shape[1:]):
            strides.insert(0, strides[0] * size)
        self.strides = tuple(strides[: len(self.shape)])


class GlobalMemory(Memory):
    """A flat array of the host, shared by every block."""

    def pattern(self, width: int, lanes: tuple[Any, ...]) -> GlobalPattern:
        """How lanes reach into this buffer; `width` is 0 for scalars."""
        return GlobalPattern(self, width, lanes)


class SharedMemory(Memory):
    """`data[element, block]`: each block of the batch has its own."""

    def pattern(self, width: int, lanes: tuple[Any, ...]) -> SharedPattern:
        """How lanes reach into this buffer; `width` is 0 for scalars."""
        return SharedPattern(self, width, lanes)


class PeerMemory(SharedMemory):
    """The same array of the block `rank` (a number, or one per lane) of each lane's `cluster` blocks."""

    def __init__(self, memory: SharedMemory, rank: Any, cluster: int) -> None:
        super().__init__(
            memory.name, memory.data, memory.shape, memory.lanes, memory.audit, memory.offset, memory.byte_address
        )
        self.rank, self.cluster = rank, cluster

    def pattern(self, width: int, lanes: tuple[Any, ...]) -> PeerPattern:
        """How lanes reach into this buffer; `width` is 0 for scalars."""
        return PeerPattern(self, width, lanes)


class PrivateMemory:
    """A cell per element: cells are values, so that storing and loading them moves nothing."""

    def __init__(self, name: str, shape: tuple[int, ...], poison: Any) -> None:
        self.name, self.shape = name, shape
        self.cells = [poison] * int(np.prod(shape, dtype=np.int64))

    def locate(self, site: Site, mask: Any, width: int, indices: tuple[Any, ...]) -> Any:
        """The number of the first cell: an integer, or an array over lanes."""
        linear: Any = 0
        last = len(indices) - 1
        for dimension, (index, size) in enumerate(zip(indices, self.shape, strict=True)):
            limit = size - (max(width, 1) if dimension == last else 1)
            bad = ((index < 0) | (index > limit)) & mask
            if np.any(bad):
                wrong = int(np.broadcast_to(index, np.shape(bad))[bad].flat[0])
                raise site.fault(f"index {wrong} is out of bounds of {list(self.shape)} in dimension {dimension}")
            linear = linear * size + (np.clip(index, 0, limit) if isinstance(index, np.ndarray) else index)
        return linear

    def load(self, site: Site, mask: Any, width: int, *indices: Any) -> Any:
        """The value of a cell, or a vector of `width` cells."""
        cell = self.locate(site, mask, width, indices)
        if not width:
            return self.one(cell)
        return np.stack(np.broadcast_arrays(*(np.atleast_2d(self.one(cell + step)) for step in range(width))))

    def one(self, cell: Any) -> Any:
        """One cell; each lane's own where `cell` is an array."""
        if not isinstance(cell, np.ndarray):
            return self.cells[cell]
        value = self.cells[0]
        for number in np.unique(cell).tolist():
            value = np.where(cell == number, self.cells[number], value)
        return value

    def store(self, site: Site, mask: Any, width: int, value: Any, *indices: Any) -> None:
        """Replace a cell, or `width` cells by a vector's elements, in the active lanes."""
        cell = self.locate(site, mask, width, indices)
        for step in range(max(width, 1)):
            self.replace(mask, value[step] if width else value, cell + step)

    def replace(self, mask: Any, value: Any, cell: Any) -> None:
        """Write one cell per lane."""
        if not isinstance(cell, np.ndarray):
            self.cells[cell] = value if mask is True else np.where(mask, value, self.cells[cell])
            return
        for number in np.unique(cell).tolist():
            self.cells[number] = np.where((cell == number) & mask, value, self.cells[number])
