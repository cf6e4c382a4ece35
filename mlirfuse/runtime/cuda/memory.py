"""Where a network's bytes are on the GPU: weights and arena that stay, a slot for each input and output."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, Program, Ref, TensorSpec
from mlirfuse.artifact.dtypes import numpy_dtype
from mlirfuse.errors import MlirfuseError
from mlirfuse.runtime.cuda.context import Context, DeviceBuffer

__all__ = ["DeviceFrame", "DeviceMemory"]

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


class DeviceFrame:
    """The addresses of one way to run the network, and the host values of its host nodes."""

    def __init__(
        self, memory: DeviceMemory, specs: Sequence[TensorSpec], inputs: list[int], outputs: list[int]
    ) -> None:
        self.memory = memory
        self.specs = specs  # of the outputs
        self.inputs = inputs
        self.outputs = outputs
        self.host: dict[int, Any] = {}
        self.made: dict[int, Any] = {}  # outputs whose shape depends on the data, by index

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

    def load(self, ref: Ref | None) -> Any:
        """A host copy of what a host node reads; all earlier work on the stream must be done."""
        if ref is None:
            return None
        if ref.space == "host":
            return self.host.get(ref.index)
        if self._is_dynamic(ref):
            return self.made.get(ref.index)
        dtype = numpy_dtype(ref.dtype)
        made = np.empty([n or 0 for n in ref.shape or (ref.bytes // dtype.itemsize,)], dtype)
        if made.nbytes:
            self.memory.context.driver.call("cuMemcpyDtoH", made.ctypes.data, self.address(ref), made.nbytes)
        return made

    def store(self, ref: Ref, value: Any, title: str) -> None:
        """Put what a host node made where the reference says."""
        if ref.space == "host":
            self.host[ref.index] = value
            return
        array = np.asarray(value, order="C")
        if self._is_dynamic(ref):
            self.made[ref.index] = array
            return
        dtype = numpy_dtype(ref.dtype)
        if array.dtype != dtype or array.nbytes != ref.bytes:
            raise MlirfuseError(
                f"The host node {title} made {array.dtype}{list(array.shape)}, and the program has room for "
                f"{ref.bytes} bytes of {ref.dtype}; compile the model again."
            )
        if array.nbytes:
            self.memory.context.driver.call("cuMemcpyHtoD", self.address(ref), array.ctypes.data, array.nbytes)

    def _is_dynamic(self, ref: Ref) -> bool:
        return ref.space == "output" and None in self.specs[ref.index].shape
