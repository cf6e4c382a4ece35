"""What a program's references point at, as NumPy arrays in host memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, Copy, Program, Ref
from mlirfuse.artifact.dtypes import kernel_dtype, numpy_dtype
from mlirfuse.errors import MlirfuseError
from mlirfuse.runtime.host_nodes import HostValues

__all__ = ["Frame", "aligned_bytes", "program_weights"]

Array = np.ndarray[Any, Any]
ALIGNMENT = 256  # of the arena, as the memory planner assumes


def aligned_bytes(size: int, what: str) -> Array:
    """Uninitialized bytes at a multiple of 256."""
    try:
        raw = np.empty(size + ALIGNMENT, np.uint8)
    except MemoryError:
        raise MlirfuseError(f"There is not enough memory for {what} ({size} bytes).") from None
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def program_weights(artifact: Artifact, program: Program) -> dict[str, Array]:
    """The arrays of the weights a program uses, recipes replayed."""
    return {key: artifact.weight(key) for key in program.weight_keys()}


class Frame(HostValues):
    """The memory of one inference: arena and weights that stay, inputs and outputs of this run, host values."""

    def __init__(
        self,
        program: Program,
        arena: Array,
        weights: Mapping[str, Array],
        inputs: Sequence[Array],
        outputs: Sequence[Any],
    ) -> None:
        self.outputs = list(outputs)  # None until a host node makes an output whose shape depends on the data
        super().__init__(program.outputs, self.outputs)
        self.arena = arena
        self.weights = weights
        self.inputs = inputs

    def flat(self, ref: Ref) -> Array:
        """The referenced elements in one dimension, in the type kernels see (booleans as int8)."""
        match ref.space:
            case "arena":
                return self.arena[ref.offset : ref.offset + ref.bytes].view(kernel_dtype(ref.dtype))
            case "weight":
                array = self.weights[ref.key]
            case "input":
                array = self.inputs[ref.index]
            case "output" if self.outputs[ref.index] is not None:
                array = self.outputs[ref.index]
            case _:
                raise MlirfuseError(
                    f"A kernel refers to {ref.space} value {ref.index}, which no memory is planned for."
                )
        return array.reshape(-1).view(np.uint8)[ref.offset : ref.offset + ref.bytes].view(kernel_dtype(ref.dtype))

    def copy(self, step: Copy) -> None:
        self.flat(step.destination).view(np.uint8)[:] = self.flat(step.source).view(np.uint8)

    def read(self, ref: Ref) -> Array:
        return self.flat(ref).view(numpy_dtype(ref.dtype))

    def write(self, ref: Ref, array: Array) -> None:
        self.flat(ref).view(array.dtype)[:] = array.reshape(-1)
