"""`Executable`: a loaded network, the object users hold."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, TensorSpec
from mlirfuse.errors import MlirfuseError
from mlirfuse.runtime.executor import Executor, open_executor
from mlirfuse.runtime.inputs import random_inputs
from mlirfuse.runtime.report import CompileReport
from mlirfuse.runtime.timing import Timing
from mlirfuse.runtime.values import Slot, arrange

__all__ = ["BoundCall", "Executable", "load"]

MOST_THREADS = 1024  # more is a slip of the finger, and would exhaust what a process may start


class Executable:
    """A compiled network on the machine that runs it.

    `inputs` and `outputs` are tuples of TensorSpec. One executable runs one inference at a time; calls
    from several threads wait for each other.
    """

    def __init__(self, artifact: Artifact, executor: Executor) -> None:
        self.artifact = artifact
        self.inputs: tuple[TensorSpec, ...] = artifact.inputs
        self.outputs: tuple[TensorSpec, ...] = artifact.outputs
        self._executor = executor
        self._output_names = [spec.name for spec in artifact.outputs]

    @property
    def threads(self) -> int:
        """CPU threads that one inference uses."""
        return self._executor.threads

    @threads.setter
    def threads(self, count: int) -> None:
        try:
            self._executor.threads = _positive(count)  # type: ignore[misc]  # some executors have the setter
        except AttributeError:
            raise MlirfuseError(
                f"The target '{self.target}' has no threads to choose; found threads={count!r}."
            ) from None

    @property
    def chooses_threads(self) -> bool:
        """Whether the number of threads may be set."""
        return getattr(type(self._executor).threads, "fset", None) is not None

    @property
    def target(self) -> str:
        return self.artifact.target

    def run(self, *values: Any) -> dict[str, Any]:
        """Run on a dictionary by name, or on arrays by position; returns fresh outputs by name.

        NumPy arrays and anything with `__dlpack__` are accepted. Given arrays on the GPU, a CUDA executable returns
        arrays on the GPU (with `__dlpack__`), else NumPy arrays; one for Vulkan takes and gives arrays in host memory
        alone, for WebGPU tells no addresses. Nothing is cast: a wrong name, shape or element type is a MlirfuseError.
        """
        given = values[0] if len(values) == 1 and isinstance(values[0], Mapping) else values
        return dict(zip(self._output_names, self._executor.run(arrange(self.inputs, given, "input")), strict=True))

    def bind(
        self,
        inputs: Mapping[str, Any] | Sequence[Any],
        outputs: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> "BoundCall":
        """A call on these very buffers: change the inputs in place, call, read the outputs.

        Buffers must be dense, of the exact type and shape. Without `outputs`, NumPy arrays are allocated; they
        are the call's `outputs`. On a GPU this is one replay of a CUDA graph.
        """
        given = arrange(self.inputs, inputs, "input")
        dynamic = [spec.name for spec in self.outputs if None in spec.shape]
        if dynamic:
            raise MlirfuseError(
                f"The shape of output {', '.join(dynamic)} depends on the data, so no buffer can be bound to it; "
                f"use run instead."
            )
        if outputs is None:
            outputs = [Slot(spec, "output").empty() for spec in self.outputs]
        taken = arrange(self.outputs, outputs, "output")
        _refuse_overlaps(self.inputs, given, self.outputs, taken)
        call = self._executor.bind(given, taken)
        return BoundCall(call, _by_name(self.inputs, given), _by_name(self.outputs, taken))

    def benchmark(
        self, runs: int = 100, inputs: Mapping[str, Any] | Sequence[Any] | None = None, warmup: int = 10
    ) -> Timing:
        """Time `runs` inferences, on seeded random inputs unless some are given."""
        if runs < 1:
            raise MlirfuseError(f"A benchmark needs at least 1 run; found {runs}.")
        given = random_inputs(self.inputs) if inputs is None else arrange(self.inputs, inputs, "input")
        return self._executor.measure(given, runs, warmup)

    def report(self) -> CompileReport:
        """What the compiler did."""
        return CompileReport(self.artifact.report)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the artifact; `mlirfuse.load` reads it again."""
        self.artifact.save(path)

    def __repr__(self) -> str:
        def shown(specs: Sequence[TensorSpec]) -> str:
            return ", ".join(f"{s.name}: {s.dtype}{list(s.shape)}" for s in specs)

        return (
            f"<Executable {self.artifact.model} for {self.target}: ({shown(self.inputs)}) -> ({shown(self.outputs)})>"
        )


class BoundCall:
    """One inference on fixed buffers. `inputs` and `outputs` are those buffers by name."""

    __slots__ = ("_call", "inputs", "outputs")

    def __init__(self, call: Callable[[], None], inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self._call = call
        self.inputs = inputs
        self.outputs = outputs

    def __call__(self) -> None:
        self._call()


def _refuse_overlaps(
    inputs: Sequence[TensorSpec], given: Sequence[Any], outputs: Sequence[TensorSpec], taken: Sequence[Any]
) -> None:
    """Kernels are compiled for results that share memory with nothing else."""
    buffers = [*zip(inputs, given, strict=True), *zip(outputs, taken, strict=True)]
    for position, (spec, output) in enumerate(buffers[len(given) :], len(given)):
        for other, buffer in buffers[:position]:
            arrays = isinstance(output, np.ndarray) and isinstance(buffer, np.ndarray)
            if arrays and output.size and buffer.size and np.may_share_memory(output, buffer):
                raise MlirfuseError(
                    f"The buffer bound to output '{spec.name}' shares memory with that of '{other.name}'; "
                    f"give every output memory of its own."
                )


def _by_name(specs: Sequence[TensorSpec], values: Sequence[Any]) -> dict[str, Any]:
    return {spec.name: value for spec, value in zip(specs, values, strict=True)}


def _positive(threads: Any) -> int:
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= MOST_THREADS:
        limits = f"from 1 to {MOST_THREADS}"
        raise MlirfuseError(f"The number of threads must be a whole number {limits}; found {threads!r}.")
    return threads


def load(
    path: "str | os.PathLike[str] | bytes | Artifact", threads: int | None = None, device: int | str | None = None
) -> Executable:
    """Load an artifact from a file, its bytes, or memory.

    `threads` is for CPU executables (default: $MLIRFUSE_THREADS, else one per core). `device` is the ordinal of
    the GPU, or for Vulkan a part of its name. Raises ArtifactError for anything that is not a whole artifact,
    UnsupportedTarget if this machine cannot run it.
    """
    if threads is not None:
        _positive(threads)
    match path:
        case Artifact():
            artifact = path
        case bytes() | bytearray() | memoryview():
            artifact = Artifact.from_bytes(bytes(path))
        case str() | os.PathLike():
            artifact = Artifact.load(path)
        case _:
            raise MlirfuseError(
                f"load takes the path of an artifact, its bytes, or an Artifact; found a {type(path).__name__}."
            )
    return Executable(artifact, open_executor(artifact, threads, device))
