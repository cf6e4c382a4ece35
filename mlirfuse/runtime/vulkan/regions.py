"""Buffers on the GPU and what the host does with their bytes: copies of them, or the bytes where they are.

An integrated GPU and its host have one memory. A buffer there can be mapped: the host then reads and writes its very
bytes, and the GPU has to wait until it is closed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import wgpu

from mlirfuse.errors import MlirfuseError
from mlirfuse.runtime.vulkan.device import MAPPABLE, explained

__all__ = ["ALIGNMENT", "Region", "region_of"]

Array = np.ndarray[Any, Any]
ALIGNMENT = 256  # the largest offset alignment of a storage buffer that WebGPU allows a device to ask for
_GRAIN = 8  # bytes; where a write to a mapped buffer may start
_USAGE = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
_MAPPED = wgpu.BufferUsage.MAP_READ | wgpu.BufferUsage.MAP_WRITE


class Region(Protocol):
    """One buffer with a part for each key, at `offsets`."""

    buffer: Any
    offsets: dict[Any, int]

    def read(self, offset: int, size: int) -> Array:
        """The bytes there, when the GPU is done; to be used before the next `write` or `close`."""
        ...

    def write(self, offset: int, data: Array) -> None:
        """Put bytes there; the GPU sees them after `close`."""
        ...

    def close(self) -> None:
        """Hand the buffer to the GPU."""
        ...


def region_of(device: Any, parts: Sequence[tuple[Any, int]], what: str) -> Region:
    """A buffer with room for each part of (key, bytes), in the host's memory where the GPU's is no other."""
    offsets: dict[Any, int] = {}
    size = 0
    for key, count in parts:
        offsets[key] = size
        size += _padded(count)
    limit = device.limits["max-buffer-size"]
    if size > limit:
        raise MlirfuseError(f"There is no room for {what} on the GPU: {size} bytes, and a buffer holds {limit}.")
    mapped = size > 0 and MAPPABLE in device.features
    with explained(f"making room for {what} ({size} bytes)"):
        buffer = device.create_buffer(size=max(size, ALIGNMENT), usage=_USAGE | (_MAPPED if mapped else 0))
    return MappedRegion(device, buffer, offsets) if mapped else CopiedRegion(device, buffer, offsets)


def _padded(size: int) -> int:
    return -(-max(size, 1) // ALIGNMENT) * ALIGNMENT


class CopiedRegion:
    """Bytes that are copied from the GPU's memory and to it."""

    def __init__(self, device: Any, buffer: Any, offsets: dict[Any, int]) -> None:
        self._device, self.buffer, self.offsets = device, buffer, offsets

    def read(self, offset: int, size: int) -> Array:
        if not size:
            return np.zeros(0, np.uint8)
        start, end = offset // 4 * 4, -(-(offset + size) // 4) * 4
        data = self._device.queue.read_buffer(self.buffer, start, end - start)
        return np.frombuffer(data, np.uint8)[offset - start : offset - start + size]

    def write(self, offset: int, data: Array) -> None:
        if data.size % 4:
            data = np.concatenate([data, np.zeros(-data.size % 4, np.uint8)])
        if data.size:
            self._device.queue.write_buffer(self.buffer, offset, data)

    def close(self) -> None:
        pass


class MappedRegion(CopiedRegion):
    """Bytes that the host reads and writes where they are, between two turns of the GPU."""

    def __init__(self, device: Any, buffer: Any, offsets: dict[Any, int]) -> None:
        super().__init__(device, buffer, offsets)
        self._mode = ""

    def read(self, offset: int, size: int) -> Array:
        if not size:
            return np.zeros(0, np.uint8)
        self._open("READ")
        return np.frombuffer(self.buffer.read_mapped(0, copy=False), np.uint8)[offset : offset + size]

    def write(self, offset: int, data: Array) -> None:
        if not data.size:
            return
        if offset % _GRAIN:
            self.close()
            super().write(offset, data)
            return
        self._open("WRITE")
        self.buffer.write_mapped(data, offset)

    def close(self) -> None:
        if self._mode:
            self.buffer.unmap()
            self._mode = ""

    def _open(self, mode: str) -> None:
        if self._mode == mode:
            return
        self.close()
        self.buffer.map_sync(mode)
        self._mode = mode
