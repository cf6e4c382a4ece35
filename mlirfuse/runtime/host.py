"""The CPU executor: native code runs whole stretches of the program, Python only the host nodes between."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, Copy, HostCall, Launch, Parallel
from mlirfuse.artifact.host_plan import HostSlot, host_slots
from mlirfuse.errors import ArtifactError, MlirfuseError
from mlirfuse.options import environment
from mlirfuse.runtime.buffers import Frame, aligned_bytes
from mlirfuse.runtime.executor import plan_of
from mlirfuse.runtime.host_library import HostLibrary
from mlirfuse.runtime.host_nodes import HostNodes
from mlirfuse.runtime.timing import Spread, Timing, sample_calls
from mlirfuse.runtime.values import Slot

__all__ = ["HostExecutor"]

Array = np.ndarray[Any, Any]
Segment = tuple[int, int]  # native steps [begin, end)
_CLOCK_STEP = 1e-9  # seconds; no kernel takes less


class HostExecutor:
    """Links the plan's objects and keeps weights and arena; one inference at a time."""

    def __init__(self, artifact: Artifact, *, threads: int | None, device: Any) -> None:
        if device not in (None, "cpu"):
            raise MlirfuseError(f"This artifact is for the CPU, so load takes no device; found device={device!r}.")
        plan = plan_of(artifact, "cpu")
        self.program = plan.program
        self._slots = [Slot(spec, "input") for spec in artifact.inputs]
        self._results = [Slot(spec, "output") for spec in artifact.outputs]
        bases = host_slots(plan)
        wanted = environment().threads if threads is None else threads
        objects = {name: image.data for name, image in plan.images.items() if image.format == "object"}
        self._library = HostLibrary(objects, plan.features, len(bases), wanted, str(plan.metadata.get("cpu", "")))
        self._host = HostNodes(self._library.threads)
        self._weights = {key: _aligned(artifact.weight(key)) for key in self.program.weight_keys()}
        self._arena = aligned_bytes(self.program.arena_bytes, "the arena")
        self._segments = _segments(self.program.steps)
        self._bases = self._fixed_bases(bases)
        self._moving = [(number, slot) for number, slot in enumerate(bases) if slot.space not in ("arena", "weight")]
        self._lock = threading.Lock()

    @property
    def threads(self) -> int:
        return self._library.threads

    @threads.setter
    def threads(self, count: int) -> None:
        with self._lock:
            self._library.threads = self._host.threads = count

    @classmethod
    def chip_here(cls) -> str:
        return "host"

    def run(self, values: Sequence[Any]) -> list[Any]:
        inputs = [slot.read(value) for slot, value in zip(self._slots, values, strict=True)]
        outputs = [slot.empty() if slot.is_static else None for slot in self._results]
        frame = self._frame(inputs, outputs)
        with self._lock:
            self._run(frame, self._bases_of(frame))
        return frame.outputs

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[[], None]:
        sources = [slot.attach(value, writable=False) for slot, value in zip(self._slots, inputs, strict=True)]
        sinks = [slot.attach(value, writable=True) for slot, value in zip(self._results, outputs, strict=True)]
        frame = self._frame(sources, sinks)
        bases = self._bases_of(frame)
        lock, run = self._lock, self._run

        def call() -> None:
            with lock:
                run(frame, bases)

        return call

    def measure(self, values: Sequence[Any], runs: int, warmup: int) -> Timing:
        """`device` is a bound call; each kernel is timed by itself, so what runs side by side does not show.

        A kernel's time is what its step adds to an empty call of the native code: Python's part is not the kernel's.
        """
        copies = Spread.of(sample_calls(lambda: self.run(values), runs, warmup))
        inputs = [slot.read(value) for slot, value in zip(self._slots, values, strict=True)]
        frame = self._frame(inputs, [slot.empty() if slot.is_static else None for slot in self._results])
        bases = self._bases_of(frame)

        def call() -> None:
            with self._lock:
                self._run(frame, bases)

        return Timing(
            Spread.of(sample_calls(call, runs, warmup)), copies, runs, self._kernel_times(frame, min(runs, 20))
        )

    # --- one inference ----------------------------------------------------------------------------

    def _frame(self, inputs: list[Array], outputs: Sequence[Any]) -> Frame:
        return Frame(self.program, self._arena, self._weights, inputs, outputs)

    def _run(self, frame: Frame, bases: Any) -> None:
        library = self._library
        for part in self._segments:
            if isinstance(part, tuple):
                library.run_segment(bases, *part)
            else:
                self._host.run(part, frame)
                self._refresh(frame, bases)

    def _fixed_bases(self, slots: Sequence[HostSlot]) -> Array:
        bases = np.zeros(len(slots), np.uintp)
        for number, slot in enumerate(slots):
            if slot.space == "arena":
                bases[number] = self._arena.ctypes.data
            elif slot.space == "weight":
                bases[number] = self._weights[slot.key].ctypes.data
        return bases

    def _bases_of(self, frame: Frame) -> Array:
        bases = self._bases.copy()
        for number, slot in self._moving:
            if slot.space == "input":
                bases[number] = frame.inputs[slot.index].ctypes.data
            elif slot.space == "output" and frame.outputs[slot.index] is not None:
                bases[number] = frame.outputs[slot.index].ctypes.data
        return bases

    def _refresh(self, frame: Frame, bases: Array) -> None:
        """A host node may have made arrays that native steps read next."""
        for number, slot in self._moving:
            made = frame.host.get(slot.index) if slot.space == "host" else None
            if isinstance(made, np.ndarray):
                frame.host[slot.index] = made = np.asarray(made, order="C")
                bases[number] = made.ctypes.data

    def _kernel_times(self, frame: Frame, runs: int) -> list[tuple[str, Spread]]:
        native = [step for step in self.program.steps if isinstance(step, (Parallel, Copy))]
        samples: list[list[float]] = [[] for _ in native]
        bases: Any = self._bases_of(frame)
        with self._lock:
            empty = Spread.of(sample_calls(lambda: self._library.run_segment(bases, 0, 0), runs, 1)).median
            for _ in range(runs + 1):
                for part in self._segments:
                    if not isinstance(part, tuple):
                        self._host.run(part, frame)
                        self._refresh(frame, bases)
                        continue
                    for number in range(*part):
                        start = time.perf_counter()
                        self._library.run_segment(bases, number, number + 1)
                        samples[number].append(max(time.perf_counter() - start - empty, _CLOCK_STEP))
        times = zip(native, samples, strict=True)
        return [(step.kernel, Spread.of(taken[1:])) for step, taken in times if isinstance(step, Parallel)]


def _segments(steps: Sequence[Parallel | Copy | HostCall | Launch]) -> list[Segment | HostCall]:
    """Runs of native steps, which are numbered in order, and the host nodes between them."""
    parts: list[Segment | HostCall] = []
    begin = end = 0
    for step in steps:
        if isinstance(step, HostCall):
            if begin < end:
                parts.append((begin, end))
            parts.append(step)
            begin = end
        elif isinstance(step, Launch):
            raise ArtifactError("A plan for the CPU holds a GPU launch; compile the model again.")
        else:
            end += 1
    return [*parts, (begin, end)] if begin < end else parts


def _aligned(array: Array) -> Array:
    """The array at a multiple of 64 bytes; mapped weights are there already."""
    if array.ctypes.data % 64 == 0:
        return array
    home = aligned_bytes(array.nbytes, "a weight").view(array.dtype).reshape(array.shape)
    home[...] = array
    return home
