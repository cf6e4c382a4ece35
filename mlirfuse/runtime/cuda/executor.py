"""The CUDA executor.

`run` and `bind` differ in where the buffers are, not in what happens: inputs that are in host memory
go through page-locked staging into a slot on the GPU, outputs come back the same way, and arrays on the
GPU are used where they are (bind) or copied on the GPU (run). Kernels and copies are one CUDA graph,
cut only where a host node must see values.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, Copy, HostCall, Launch, TensorSpec
from mlirfuse.errors import ArtifactError, MlirfuseError, UnsupportedTarget
from mlirfuse.runtime.cuda.code import best_plan, load_kernels
from mlirfuse.runtime.cuda.context import Context, DeviceBuffer, PinnedBuffer
from mlirfuse.runtime.cuda.device_array import DeviceArray
from mlirfuse.runtime.cuda.dlpack import CUDA, CUDA_MANAGED, Borrowed, borrow
from mlirfuse.runtime.cuda.driver import Driver
from mlirfuse.runtime.cuda.flow import Action, Flow, copy_action, launch_action
from mlirfuse.runtime.cuda.memory import DeviceFrame, DeviceMemory
from mlirfuse.runtime.host_nodes import HostNodes
from mlirfuse.runtime.timing import Spread, Timing, sample_calls
from mlirfuse.runtime.values import Slot, device_of

__all__ = ["CudaExecutor"]

ARGUMENT_ALIGNMENT = 16  # bytes; what kernels are told of every argument


@functools.cache
def _context(ordinal: int) -> Context:
    """The one Context of each GPU in this process."""
    return Context(ordinal, Driver())


class CudaExecutor:
    """Runs the plan that suits the GPU best. `architecture` is that plan's key."""

    @property
    def threads(self) -> int:
        return 1

    def __init__(self, artifact: Artifact, *, threads: int | None, device: Any, api: Any = None) -> None:
        """`api` stands in for `cuda.bindings.driver` in tests."""
        if not isinstance(device, int | None):
            raise UnsupportedTarget(f"There is no GPU {device!r} for CUDA: it is chosen by its number (0, 1, ...).")
        ordinal = 0 if device is None else device
        self.context = _context(ordinal) if api is None else Context(ordinal, Driver(api))
        self.architecture, plan = best_plan(artifact, self.context.capability, self.context.max_shared_bytes)
        self.program = plan.program
        self._slots = [Slot(spec, "input") for spec in artifact.inputs]
        self._results = [Slot(spec, "output") for spec in artifact.outputs]
        self._host = HostNodes(threads or 1)
        self._lock = threading.RLock()
        with self.context.current():
            self._kernels = load_kernels(self.context, self.architecture, plan)
            self._memory = DeviceMemory(self.context, artifact, self.program)
            self._input_slots = [DeviceBuffer(self.context, spec.nbytes) for spec in artifact.inputs]
            self._output_slots = [DeviceBuffer(self.context, spec.nbytes) for spec in artifact.outputs]

    @classmethod
    def chip_here(cls) -> str:
        major, minor = _context(0).capability
        return f"sm_{major}{minor}"

    # --- running ----------------------------------------------------------------------------------

    def run(self, values: Sequence[Any]) -> list[Any]:
        """Arrays on the GPU if any input is there, else NumPy arrays."""
        with self._lock, self.context.current():
            if any(device_of(value) is not None for value in values):
                return self._run_on_device(values)
            return self._host_run.run([slot.read(value) for slot, value in zip(self._slots, values, strict=True)])

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[[], None]:
        with self._lock, self.context.current():
            return _Binding(self, inputs, outputs).call

    @functools.cached_property
    def _host_run(self) -> "_HostRun":
        return _HostRun(self)

    @functools.cached_property
    def _slot_flow(self) -> "tuple[Flow, DeviceFrame]":
        """From input slots to output slots, nothing else."""
        return self.flow([b.pointer for b in self._input_slots], [b.pointer for b in self._output_slots])

    def _run_on_device(self, values: Sequence[Any]) -> list[Any]:
        flow, frame = self._slot_flow
        held = [self._fill(index, value) for index, value in enumerate(values)]
        flow.start()
        made: list[Any] = []
        for index, (slot, buffer) in enumerate(zip(self._results, self._output_slots, strict=True)):
            if not slot.is_static:
                made.append(frame.made[index])
                continue
            array = DeviceArray(self.context, tuple(n or 0 for n in slot.shape), slot.spec.dtype)
            copy_action(self.context, "DtoD", array.pointer, buffer.pointer, array.nbytes).issue(self.context.stream)
            made.append(array)
        self.context.synchronize()
        del held  # the inputs were in use until here
        return made

    def _fill(self, index: int, value: Any) -> Any:
        """Start the copy of one input into its slot; returns what must live until it is done."""
        slot, target = self._slots[index], self._input_slots[index]
        if device_of(value) is None:
            array = slot.read(value)
            copy_action(self.context, "HtoD", target.pointer, array.ctypes.data, array.nbytes).issue(
                self.context.stream
            )
            return array
        found = self.borrow(slot.spec, "input", value)
        copy_action(self.context, "DtoD", target.pointer, found.pointer, slot.spec.nbytes).issue(self.context.stream)
        return found

    # --- parts of a flow --------------------------------------------------------------------------

    def flow(
        self, inputs: list[int], outputs: list[int], before: Sequence[Action] = (), after: Sequence[Action] = ()
    ) -> tuple[Flow, DeviceFrame]:
        """The program with its inputs and outputs at these addresses, between two lists of actions."""
        frame = DeviceFrame(self._memory, self.program.outputs, inputs, outputs)
        steps = [self._item(step, frame) for step in self.program.steps]
        return Flow(self.context, [*before, *steps, *after]), frame

    def _item(self, step: Any, frame: DeviceFrame) -> Action | Callable[[], None]:
        if isinstance(step, Launch):
            kernel = self._kernels[step.kernel]
            return launch_action(self.context, step, kernel, [frame.address(ref) for ref in step.args])
        if isinstance(step, Copy):
            to, source = frame.address(step.destination), frame.address(step.source)
            return copy_action(self.context, "DtoD", to, source, step.source.bytes)
        if isinstance(step, HostCall):
            return functools.partial(self._host.run, step, frame)
        raise ArtifactError(f"A plan for CUDA holds a {type(step).__name__} step; compile the model again.")

    def borrow(self, spec: TensorSpec, what: str, value: Any) -> Borrowed:
        """Another library's array on this GPU, checked against the network; nothing is copied or cast."""
        found = borrow(value, int(self.context.stream))
        place = found.device
        fault = None
        if place[0] not in (CUDA, CUDA_MANAGED) or (place[0] == CUDA and place[1] != self.context.ordinal):
            fault = f"on cuda:{self.context.ordinal}; found DLPack device {place}"
        elif found.shape != spec.shape:
            fault = f"of shape {list(spec.shape)}; found {list(found.shape)}"
        elif found.dtype != spec.dtype:
            fault = f"of element type {spec.dtype}; found {found.dtype}: cast it first, nothing is cast in silence"
        elif not found.is_dense:
            fault = "dense in C order; found a strided view: make it contiguous first"
        if fault is not None:
            raise MlirfuseError(f"The {what} '{spec.name}' should be {fault}.")
        return found

    # --- measuring --------------------------------------------------------------------------------

    def measure(self, values: Sequence[Any], runs: int, warmup: int) -> Timing:
        copies = Spread.of(sample_calls(lambda: self.run(values), runs, warmup))
        with self._lock, self.context.current():
            flow, _ = self._slot_flow
            held = [self._fill(index, value) for index, value in enumerate(values)]
            self.context.synchronize()
            del held
            device = [self._elapsed(flow.start) for _ in range(warmup + runs)][warmup:]
            return Timing(Spread.of(device), copies, runs, self._kernel_times(flow, min(runs, 20)))

    def _elapsed(self, work: Callable[[], None]) -> float:
        """Seconds of `work` by the GPU's clock."""
        start, stop = self._event(), self._event()
        start()
        work()
        stop()
        self.context.synchronize()
        return self._seconds(start, stop)

    def _kernel_times(self, flow: Flow, runs: int) -> list[tuple[str, Spread]]:
        """Each launch by itself, events between them, no graph."""
        names = [item.kernel for item in flow.items if isinstance(item, Action) and item.kernel is not None]
        samples: list[list[float]] = [[] for _ in names]
        for _ in range(runs + 1):
            marks: list[_Event] = []
            flow.issue(lambda action, marks=marks: marks.append(self._mark(action)))  # type: ignore[misc]
            marks.append(self._event())
            marks[-1]()
            self.context.synchronize()
            launches = [i for i, mark in enumerate(marks) if mark.is_launch]
            for number, i in enumerate(launches):
                samples[number].append(self._seconds(marks[i], marks[i + 1]))
        return [(name, Spread.of(times[1:])) for name, times in zip(names, samples, strict=True)]

    def _mark(self, action: Action) -> "_Event":
        mark = self._event(is_launch=action.kernel is not None)
        mark()
        return mark

    def _event(self, is_launch: bool = False) -> "_Event":
        return _Event(self.context, is_launch)

    def _seconds(self, start: "_Event", stop: "_Event") -> float:
        return self.context.driver.call("cuEventElapsedTime", start.handle, stop.handle) * 1e-3


class _Event:
    """A point on the stream with a time; recorded when called."""

    def __init__(self, context: Context, is_launch: bool) -> None:
        self.context = context
        self.is_launch = is_launch
        self.handle = context.driver.call("cuEventCreate", int(context.driver.api.CUevent_flags.CU_EVENT_DEFAULT))
        context.on_collect(self, "cuEventDestroy", self.handle)

    def __call__(self) -> None:
        self.context.driver.call("cuEventRecord", self.handle, self.context.stream)


class _HostRun:
    """From NumPy arrays to NumPy arrays: one graph with the copies in it, and staging that is reused."""

    def __init__(self, executor: CudaExecutor) -> None:
        self.context = executor.context
        self.results = executor._results
        slots, results = executor._input_slots, executor._output_slots
        self.sources = [PinnedBuffer(self.context, slot.size) for slot in slots]
        self.sinks = [PinnedBuffer(self.context, slot.size) for slot in results]
        before = [_upload(self.context, slot, pinned) for slot, pinned in zip(slots, self.sources, strict=True)]
        after = [_download(self.context, slot, pinned) for slot, pinned in zip(results, self.sinks, strict=True)]
        self.flow, self.frame = executor.flow([b.pointer for b in slots], [b.pointer for b in results], before, after)

    def run(self, arrays: list[Any]) -> list[Any]:
        for array, pinned in zip(arrays, self.sources, strict=True):
            pinned.array[:] = _bytes(array)
        self.flow.start()
        self.context.synchronize()
        made: list[Any] = []
        for index, (slot, pinned) in enumerate(zip(self.results, self.sinks, strict=True)):
            made.append(_copy_out(slot, pinned) if slot.is_static else self.frame.made[index])
        return made


class _Binding:
    """Fixed buffers: those on the GPU are used in place, those in host memory are staged at each call."""

    def __init__(self, executor: CudaExecutor, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        self.context, self._lock = executor.context, executor._lock
        self.staged_in: list[tuple[Any, PinnedBuffer]] = []
        self.staged_out: list[tuple[Any, PinnedBuffer]] = []
        self.held: list[Any] = []
        before: list[Action] = []
        after: list[Action] = []
        sources = [
            self._attach(executor, slot, value, executor._input_slots[i], before, is_output=False)
            for i, (slot, value) in enumerate(zip(executor._slots, inputs, strict=True))
        ]
        sinks = [
            self._attach(executor, slot, value, executor._output_slots[i], after, is_output=True)
            for i, (slot, value) in enumerate(zip(executor._results, outputs, strict=True))
        ]
        self.flow, _ = executor.flow(sources, sinks, before, after)

    def call(self) -> None:
        """One replay; returns when the outputs are complete."""
        with self._lock, self.context.current():
            for array, pinned in self.staged_in:
                pinned.array[:] = _bytes(array)
            self.flow.start()
            self.context.synchronize()
            for array, pinned in self.staged_out:
                _bytes(array)[:] = pinned.array

    def _attach(
        self, executor: CudaExecutor, slot: Slot, value: Any, home: DeviceBuffer, actions: list[Action], is_output: bool
    ) -> int:
        """The address the kernels use for one buffer, with the copies that this takes."""
        if device_of(value) is None:
            array, pinned = slot.attach(value, writable=is_output), PinnedBuffer(self.context, home.size)
            (self.staged_out if is_output else self.staged_in).append((array, pinned))
            actions.append((_download if is_output else _upload)(self.context, home, pinned))
            self.held.append(pinned)
            return home.pointer
        found = executor.borrow(slot.spec, slot.what, value)
        self.held.append((value, found))
        if found.pointer % ARGUMENT_ALIGNMENT == 0:
            return found.pointer
        ends = (found.pointer, home.pointer) if is_output else (home.pointer, found.pointer)
        actions.append(copy_action(self.context, "DtoD", *ends, home.size))
        return home.pointer


def _upload(context: Context, slot: DeviceBuffer, pinned: PinnedBuffer) -> Action:
    return copy_action(context, "HtoD", slot.pointer, pinned.pointer, slot.size, keep=pinned)


def _download(context: Context, slot: DeviceBuffer, pinned: PinnedBuffer) -> Action:
    return copy_action(context, "DtoH", pinned.pointer, slot.pointer, slot.size, keep=pinned)


def _bytes(array: Any) -> np.ndarray[Any, Any]:
    return array.reshape(-1).view(np.uint8)


def _copy_out(slot: Slot, pinned: PinnedBuffer) -> np.ndarray[Any, Any]:
    made = slot.empty()
    _bytes(made)[:] = pinned.array
    return made
