"""Where a network's bytes are on the GPU: weights and arena that stay, a slot for each input and output."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, Program, Ref, TensorSpec
from mlirfuse.artifact.dtypes import numpy_dtype
from mlirfuse.errors import MlirfuseError
from mlirfuse.runtime.cuda.context import Context, DeviceBuffer
from mlirfuse.runtime.host_nodes import HostValues

__all__ = ["DeviceFrame", "DeviceMemory"]

Array = np.ndarray[Any, Any]
ALIGNMENT = 256  # what cuMemAlloc guarantees, kept for each weight


class DeviceMemory:
    """Weights, uploaded once, and the arena. The context must be current."""

    def __init__(self, context: Context, artifact: Artifact, program: Program) -> None:
        self.context = context
        arrays = {key: artifact.weight(key) for key in program.weight_keys()}
        offsets: dict[str, int] = {}
        size = 0
        for key, array in arrays.items():
            offsets[key] = size
            size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        self._weights = DeviceBuffer(context, size)
        self._arena = DeviceBuffer(context, program.arena_bytes)
        self._offsets = offsets
        for key, array in arrays.items():
            if array.nbytes:
                context.driver.call("cuMemcpyHtoD", self.weight(key), array.ctypes.data, array.nbytes)

    def weight(self, key: str) -> int:
        return self._weights.pointer + self._offsets[key]

    @property
    def arena(self) -> int:
        return self._arena.pointer


class DeviceFrame(HostValues):
    """The addresses of one way to run the network, and the host values of its host nodes."""

    def __init__(
        self, memory: DeviceMemory, specs: Sequence[TensorSpec], inputs: list[int], outputs: list[int]
    ) -> None:
        super().__init__(specs)
        self.memory = memory
        self.inputs = inputs
        self.outputs = outputs

    def address(self, ref: Ref) -> int:
        """The device address of the referenced bytes."""
        match ref.space:
            case "arena":
                return self.memory.arena + ref.offset
            case "weight":
                return self.memory.weight(ref.key) + ref.offset
            case "input":
                return self.inputs[ref.index] + ref.offset
            case "output":
                return self.outputs[ref.index] + ref.offset
        raise MlirfuseError(f"A kernel refers to {ref.space} value {ref.index}, which is not on the GPU.")

    def read(self, ref: Ref) -> Array:
        """A copy; all earlier work on the stream must be done."""
        dtype = numpy_dtype(ref.dtype)
        made = np.empty(ref.bytes // dtype.itemsize, dtype)
        if made.nbytes:
            self.memory.context.driver.call("cuMemcpyDtoH", made.ctypes.data, self.address(ref), made.nbytes)
        return made

    def write(self, ref: Ref, array: Array) -> None:
        if array.nbytes:
            self.memory.context.driver.call("cuMemcpyHtoD", self.address(ref), array.ctypes.data, array.nbytes)
