"""What a program's references point at, as NumPy arrays in host memory; and host nodes on them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mlirfuse.artifact import Artifact, Copy, HostCall, Program, Ref, TensorSpec
from mlirfuse.artifact.dtypes import kernel_dtype, numpy_dtype
from mlirfuse.errors import MlirfuseError
from mlirfuse.runtime.fallback import FallbackNode

__all__ = ["Frame", "HostNodes", "HostValues", "aligned_bytes", "program_weights"]

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


class Frame:
    """The memory of one inference: arena and weights that stay, inputs and outputs of this run, host values."""

    def __init__(
        self,
        program: Program,
        arena: Array,
        weights: Mapping[str, Array],
        inputs: Sequence[Array],
        outputs: Sequence[Any],
    ) -> None:
        self.specs = program.outputs
        self.arena = arena
        self.weights = weights
        self.inputs = inputs
        self.outputs = list(outputs)  # None until a host node makes an output whose shape depends on the data
        self.host: dict[int, Any] = {}

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

    def load(self, ref: Ref | None) -> Any:
        """The value a host node reads: an array of its shape, or whatever a host node before it made."""
        if ref is None:
            return None
        if ref.space == "host":
            return self.host.get(ref.index)
        if ref.space == "output" and None in self.specs[ref.index].shape:
            return self.outputs[ref.index]
        shape = [-1] if ref.shape is None or None in ref.shape else list(ref.shape)
        return self.flat(ref).view(numpy_dtype(ref.dtype)).reshape(shape)  # type: ignore[arg-type]

    def store(self, ref: Ref, value: Any, title: str) -> None:
        """Put what a host node made where the reference says."""
        if ref.space == "host":
            self.host[ref.index] = value
            return
        if ref.space == "output" and None in self.specs[ref.index].shape:
            self.outputs[ref.index] = _of_type(self.specs[ref.index], value, title)
            return
        destination = self.flat(ref).view(numpy_dtype(ref.dtype))
        array = np.asarray(value)
        if array.size != destination.size or array.dtype != destination.dtype:
            raise MlirfuseError(
                f"The host node {title} made {array.dtype}{list(array.shape)}, and the program has room for "
                f"{ref.dtype}{list(ref.shape or [destination.size])}; compile the model again."
            )
        destination[:] = array.reshape(-1)


class HostValues(Protocol):
    """What a host node reads and writes: `Frame`, or its like for another device's memory."""

    def load(self, ref: Ref | None) -> Any: ...

    def store(self, ref: Ref, value: Any, title: str) -> None: ...


def _of_type(spec: TensorSpec, value: Any, title: str) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype != numpy_dtype(spec.dtype):
        found = getattr(value, "dtype", type(value).__name__)
        raise MlirfuseError(f"The host node {title} made {found} for output '{spec.name}' of {spec.dtype}.")
    return np.asarray(value, order="C")


class HostNodes:
    """The program's host nodes, each prepared when it first runs."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._nodes: dict[int, FallbackNode] = {}

    def run(self, step: HostCall, frame: "HostValues") -> None:
        """Run one host node on the frame's values."""
        node = self._nodes.get(id(step))
        if node is None:
            node = self._nodes[id(step)] = FallbackNode(step.node, step.opset, self.threads)
        made = node.run([frame.load(ref) for ref in step.inputs])
        wanted = [name for name in node.node.output if name] if len(step.outputs) < len(made) else node.node.output
        values = dict(zip(node.node.output, made, strict=True))
        for ref, name in zip(step.outputs, wanted, strict=True):
            if ref is not None:
                frame.store(ref, values[name], f"'{node.node.name or name}' ({node.node.op_type})")
