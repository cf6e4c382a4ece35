"""Where a network's bytes are on the GPU: one buffer each for weights, arena, inputs and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, Program, Ref, TensorSpec
from mlirfuse.artifact.dtypes import numpy_dtype
from mlirfuse.runtime.host_nodes import HostValues
from mlirfuse.runtime.vulkan.regions import ALIGNMENT, Region, region_of

__all__ = ["Memory"]

Array = np.ndarray[Any, Any]


class Memory(HostValues):
    """Buffers on one device, and the host values between host nodes.

    Where the GPU's memory is the host's, host nodes read what the GPU left where it is. What they make is written when
    the node is done (`flush`), for it may be a part of what it read.
    """

    def __init__(self, device: Any, artifact: Artifact, program: Program) -> None:
        super().__init__(artifact.outputs)
        self._pending: list[tuple[Ref, Array]] = []
        self._seen: list[Array] = []  # of the GPU's own bytes
        arrays = {key: artifact.weight(key) for key in program.weight_keys()}
        self._weights = region_of(device, [(key, array.nbytes) for key, array in arrays.items()], "the weights")
        self._arena = region_of(device, [("", program.arena_bytes)], "the arena")
        self._inputs = region_of(device, [(i, spec.nbytes) for i, spec in enumerate(artifact.inputs)], "the inputs")
        self._results = region_of(device, [(i, spec.nbytes) for i, spec in enumerate(artifact.outputs)], "the outputs")
        for key, array in arrays.items():
            self._weights.write(self._weights.offsets[key], _bytes(array))
        self.close()

    def place(self, ref: Ref) -> tuple[Any, int, int]:
        """(buffer, offset, bytes) of the referenced bytes; the bytes are a multiple of four."""
        region, offset = self._region(ref)
        return region.buffer, offset, -(-max(ref.bytes, 1) // 4) * 4

    def binding(self, ref: Ref) -> tuple[Any, int, int]:
        """The same from the multiple of `ALIGNMENT` bytes before, which is what a shader's indices count from."""
        buffer, offset, size = self.place(ref)
        before = offset % ALIGNMENT
        return buffer, offset - before, before + size

    def wait(self) -> None:
        """Return when what was submitted is done: a read comes after it."""
        self._arena.read(0, 4)

    def close(self) -> None:
        """Hand all buffers to the GPU; what was read of them is gone, what was not flushed too."""
        self._pending.clear()
        for region in (self._weights, self._arena, self._inputs, self._results):
            region.close()
        self._seen.clear()

    def put_input(self, index: int, array: Array) -> None:
        self._inputs.write(self._inputs.offsets[index], _bytes(array))

    def take_output(self, index: int, spec: TensorSpec) -> Array:
        """A fresh array with the output's elements."""
        if None in spec.shape:
            return self.made[index]
        data = self._results.read(self._results.offsets[index], spec.nbytes)
        return data.view(numpy_dtype(spec.dtype)).reshape(spec.shape).copy()  # type: ignore[arg-type]

    def read(self, ref: Ref) -> Array:
        region, offset = self._region(ref)
        data = region.read(offset, ref.bytes)
        self._seen.append(data)
        return data.view(numpy_dtype(ref.dtype))

    def write(self, ref: Ref, array: Array) -> None:
        self._pending.append((ref, array))

    def store(self, ref: Ref, value: Any, title: str) -> None:
        super().store(ref, self._kept(value), title)

    def flush(self) -> None:
        """Write what a host node made, and hand the buffers to the GPU."""
        for ref, array in self._pending:
            region, offset = self._region(ref)
            region.write(offset, _bytes(array))
        self.close()

    def _kept(self, value: Any) -> Any:
        """A value that stays when the buffers are closed."""
        if isinstance(value, list):
            return [self._kept(item) for item in value]
        if isinstance(value, np.ndarray) and any(np.may_share_memory(value, seen) for seen in self._seen):
            return value.copy()
        return value

    def _region(self, ref: Ref) -> tuple[Region, int]:
        region = {"arena": self._arena, "weight": self._weights, "input": self._inputs, "output": self._results}[
            ref.space
        ]
        key = {"arena": "", "weight": ref.key, "input": ref.index, "output": ref.index}[ref.space]
        return region, region.offsets[key] + ref.offset


def _bytes(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
