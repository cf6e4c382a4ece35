"""Where a network's bytes are on the GPU: one buffer each for weights, arena, inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import wgpu

from mlirfuse.artifact import Artifact, Program, Ref, TensorSpec
from mlirfuse.artifact.dtypes import numpy_dtype
from mlirfuse.errors import MlirfuseError
from mlirfuse.runtime.host_nodes import HostValues
from mlirfuse.runtime.vulkan.device import explained

__all__ = ["Memory"]

Array = np.ndarray[Any, Any]
ALIGNMENT = 256  # the largest offset alignment of a storage buffer that WebGPU allows a device to ask for
_USAGE = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST


def _padded(size: int) -> int:
    return -(-max(size, 1) // ALIGNMENT) * ALIGNMENT


class Memory(HostValues):
    """Buffers on one device, and the host values between host nodes."""

    def __init__(self, device: Any, artifact: Artifact, program: Program) -> None:
        super().__init__(artifact.outputs)
        self._device = device
        arrays = {key: artifact.weight(key) for key in program.weight_keys()}
        self._weights = _Region(device, [(key, array.nbytes) for key, array in arrays.items()], "the weights")
        self._arena = _Region(device, [("", program.arena_bytes)], "the arena")
        self._inputs = _Region(device, [(i, spec.nbytes) for i, spec in enumerate(artifact.inputs)], "the inputs")
        self._results = _Region(device, [(i, spec.nbytes) for i, spec in enumerate(artifact.outputs)], "the outputs")
        for key, array in arrays.items():
            self._upload(self._weights, self._weights.offsets[key], array)

    def place(self, ref: Ref) -> tuple[Any, int, int]:
        """(buffer, offset, bytes) of the referenced bytes; the bytes are a multiple of four."""
        region, offset = self._region(ref)
        return region.buffer, offset, -(-max(ref.bytes, 1) // 4) * 4

    def binding(self, ref: Ref) -> tuple[Any, int, int]:
        """The same from the multiple of `ALIGNMENT` bytes before, which is what a shader's indices count from."""
        buffer, offset, size = self.place(ref)
        before = offset % ALIGNMENT
        return buffer, offset - before, before + size

    def _upload(self, region: _Region, offset: int, array: Array) -> None:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if data.size % 4:
            data = np.concatenate([data, np.zeros(-data.size % 4, np.uint8)])
        if data.size:
            self._device.queue.write_buffer(region.buffer, offset, data)

    def _download(self, region: _Region, offset: int, size: int) -> Array:
        if not size:
            return np.zeros(0, np.uint8)
        start, end = offset // 4 * 4, -(-(offset + size) // 4) * 4
        data = self._device.queue.read_buffer(region.buffer, start, end - start)
        return np.frombuffer(data, np.uint8)[offset - start : offset - start + size]

    def wait(self) -> None:
        """Return when what was submitted is done: a read comes after it."""
        self._device.queue.read_buffer(self._arena.buffer, 0, 4)

    def put_input(self, index: int, array: Array) -> None:
        self._upload(self._inputs, self._inputs.offsets[index], array)

    def take_output(self, index: int, spec: TensorSpec) -> Array:
        """A fresh array with the output's elements."""
        if None in spec.shape:
            return self.made[index]
        data = self._download(self._results, self._results.offsets[index], spec.nbytes)
        return data.view(numpy_dtype(spec.dtype)).reshape(spec.shape).copy()  # type: ignore[arg-type]

    def read(self, ref: Ref) -> Array:
        region, offset = self._region(ref)
        return self._download(region, offset, ref.bytes).view(numpy_dtype(ref.dtype))

    def write(self, ref: Ref, array: Array) -> None:
        self._upload(*self._region(ref), array)

    def _region(self, ref: Ref) -> tuple[_Region, int]:
        region = {"arena": self._arena, "weight": self._weights, "input": self._inputs, "output": self._results}[
            ref.space
        ]
        key = {"arena": "", "weight": ref.key, "input": ref.index, "output": ref.index}[ref.space]
        return region, region.offsets[key] + ref.offset


class _Region:
    """One buffer with a part for each key."""

    def __init__(self, device: Any, parts: Sequence[tuple[Any, int]], what: str) -> None:
        self.offsets: dict[Any, int] = {}
        size = 0
        for key, count in parts:
            self.offsets[key] = size
            size += _padded(count)
        limit = device.limits["max-buffer-size"]
        if size > limit:
            raise MlirfuseError(f"There is no room for {what} on the GPU: {size} bytes, and a buffer holds {limit}.")
        with explained(f"making room for {what} ({size} bytes)"):
            self.buffer = device.create_buffer(size=max(size, ALIGNMENT), usage=_USAGE)
