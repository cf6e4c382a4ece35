"""The Vulkan executor: one command buffer, and in it one pass, for each stretch of launches between host nodes."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, Copy, HostCall, Launch, Plan
from mlirfuse.device import PORTABLE
from mlirfuse.errors import ArtifactError, UnsupportedTarget
from mlirfuse.runtime.executor import plan_of
from mlirfuse.runtime.host_nodes import HostNodes
from mlirfuse.runtime.timing import Spread, Timing, sample_calls
from mlirfuse.runtime.values import Slot
from mlirfuse.runtime.vulkan.clock import Clock
from mlirfuse.runtime.vulkan.device import explained, make_pipeline, open_device
from mlirfuse.runtime.vulkan.lanes import check_lanes
from mlirfuse.runtime.vulkan.memory import Memory

__all__ = ["VulkanExecutor"]

Array = np.ndarray[Any, Any]


class VulkanExecutor:
    """Runs the "vulkan" plan. `device` is the number of a GPU, or a part of its name."""

    @property
    def threads(self) -> int:
        return 1

    def __init__(self, artifact: Artifact, *, threads: int | None, device: Any) -> None:
        self._plan = plan_of(artifact, "vulkan")
        self._slots = [Slot(spec, "input") for spec in artifact.inputs]
        self._results = [Slot(spec, "output") for spec in artifact.outputs]
        self.device = open_device(device, self._plan.metadata.get("capabilities", ()))
        self._memory = Memory(self.device, artifact, self._plan.program)
        self._host = HostNodes(threads or 1)
        self._lock = threading.Lock()
        self._pipelines = _pipelines(self.device, self._plan)
        self._stretches = _stretches(self._plan.program.steps)
        self._groups = {
            id(step): self._bind_group(step) for step in self._plan.program.steps if isinstance(step, Launch)
        }

    @classmethod
    def chip_here(cls) -> str:
        return PORTABLE

    def run(self, values: Sequence[Any]) -> list[Any]:
        arrays = [slot.read(value) for slot, value in zip(self._slots, values, strict=True)]
        return self._run(arrays)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[[], None]:
        sources = [slot.attach(value, writable=False) for slot, value in zip(self._slots, inputs, strict=True)]
        sinks = [slot.attach(value, writable=True) for slot, value in zip(self._results, outputs, strict=True)]

        def call() -> None:
            for sink, made in zip(sinks, self._run(sources), strict=True):
                sink[...] = made

        return call

    def measure(self, values: Sequence[Any], runs: int, warmup: int) -> Timing:
        """Times of whole runs, and of the launches by the GPU's clock: together and one by one.

        Where the GPU has no clock, the launches together are timed by this machine's, and not one by one.
        """
        whole = Spread.of(sample_calls(lambda: self.run(values), runs, warmup))
        names = [step.kernel for step in self._plan.program.steps if isinstance(step, Launch)]
        clock = Clock.of(self.device, len(names))
        if clock is None:
            return Timing(Spread.of(sample_calls(self._replay, runs, warmup)), whole, runs)
        times = np.stack([self._timed(clock) for _ in range(warmup + runs)][warmup:])
        together = times[:, :, 1].max(axis=1) - times[:, :, 0].min(axis=1)
        each = times[:, :, 1] - times[:, :, 0]
        return Timing(Spread.of(together), whole, runs, [(n, Spread.of(each[:, i])) for i, n in enumerate(names)])

    # --- inside -------------------------------------------------------------------------------------

    def _run(self, arrays: Sequence[Any]) -> list[Any]:
        with self._turn("running the network"):
            for index, array in enumerate(arrays):
                self._memory.put_input(index, array)
            self._submit()
            return [self._memory.take_output(i, slot.spec) for i, slot in enumerate(self._results)]

    def _replay(self) -> None:
        """The steps on the inputs that are there, to their end."""
        with self._turn("running the network"):
            self._submit()
            self._memory.wait()

    def _timed(self, clock: Clock) -> Array:
        """When each launch of one replay began and ended, in seconds."""
        with self._turn("timing the network"):
            self._submit(clock)
            return clock.read()

    @contextlib.contextmanager
    def _turn(self, doing: str) -> Iterator[None]:
        """The GPU and its memory for one inference, whose buffers are closed afterwards."""
        with self._lock, explained(doing):
            try:
                yield
            finally:
                self._memory.close()

    def _submit(self, clock: Clock | None = None) -> None:
        launches = itertools.count()
        for stretch in self._stretches:
            if isinstance(stretch, HostCall):
                self._host.run(stretch, self._memory)
                self._memory.flush()
                continue
            self._memory.close()
            encoder = self.device.create_command_encoder()
            for copies, steps in itertools.groupby(stretch, lambda step: isinstance(step, Copy)):
                if copies:
                    self._record_copies(encoder, steps)
                elif clock is None:
                    self._record(encoder, steps)
                else:  # each launch between two timestamps, which are a pass's
                    for step in steps:
                        self._record(encoder, [step], clock.around(next(launches)))
            self.device.queue.submit([encoder.finish()])

    def _record_copies(self, encoder: Any, copies: Iterable[Copy]) -> None:
        for step in copies:
            source, at, size = self._memory.place(step.source)
            target, to, _ = self._memory.place(step.destination)
            encoder.copy_buffer_to_buffer(source, at, target, to, size)

    def _record(self, encoder: Any, launches: Iterable[Launch], timestamps: dict[str, Any] | None = None) -> None:
        """Launches as one pass; each sees what those before it wrote."""
        compute = encoder.begin_compute_pass(timestamp_writes=timestamps)
        for step in launches:
            compute.set_pipeline(self._pipelines[step.kernel])
            compute.set_bind_group(0, self._groups[id(step)])
            compute.dispatch_workgroups(*step.grid)
        compute.end()

    def _bind_group(self, step: Launch) -> Any:
        entries = []
        for binding, ref in enumerate(step.args):
            buffer, offset, size = self._memory.binding(ref)
            entries.append({"binding": binding, "resource": {"buffer": buffer, "offset": offset, "size": size}})
        with explained(f"binding the buffers of {step.kernel}"):
            return self.device.create_bind_group(
                layout=self._pipelines[step.kernel].get_bind_group_layout(0), entries=entries
            )


def _pipelines(device: Any, plan: Plan) -> dict[str, Any]:
    """A compute pipeline for each kernel; kernels that share a shader share it."""
    _check_blocks(device, plan)
    with explained("asking which threads exchange values"):
        check_lanes(device, plan.metadata.get("subgroup", 0))
    made: dict[str, Any] = {}
    buffers = {step.kernel: len(step.args) for step in plan.program.steps if isinstance(step, Launch)}
    for name in plan.program.kernels():
        entry = plan.kernels[name].symbol
        if entry not in made:
            made[entry] = make_pipeline(device, entry, bytes(plan.image(name, "spirv").data), buffers[name])
    return {name: made[plan.kernels[name].symbol] for name in plan.program.kernels()}


def _check_blocks(device: Any, plan: Plan) -> None:
    """UnsupportedTarget for launches beyond what the device allows."""
    threads = device.limits["max-compute-invocations-per-workgroup"]
    buffers = device.limits["max-storage-buffers-per-shader-stage"]
    shared = device.limits["max-compute-workgroup-storage-size"]
    if (most := plan.metadata.get("workgroup_bytes", 0)) > shared:
        raise UnsupportedTarget(
            f"A kernel shares {most} bytes in a block, and this GPU has {shared}; compile for vulkan:portable."
        )
    reach = device.limits["max-storage-buffer-binding-size"]
    for step in plan.program.steps:
        if not isinstance(step, Launch):
            continue
        if (widest := max((ref.bytes for ref in step.args), default=0)) > reach:
            raise UnsupportedTarget(
                f"The kernel {step.kernel} reads or writes a tensor of {widest} bytes, and this GPU binds {reach} at "
                f"once; give the network a smaller batch, or compile for the CPU."
            )
        if (size := int(np.prod(step.block))) > threads:
            raise UnsupportedTarget(
                f"The kernel {step.kernel} has blocks of {size} threads, and this GPU runs {threads}; "
                f"compile for vulkan:portable."
            )
        if len(step.args) > buffers:
            raise UnsupportedTarget(
                f"The kernel {step.kernel} reads and writes {len(step.args)} buffers, and this GPU binds {buffers}; "
                f"compile with fusion='none'."
            )


def _stretches(steps: Sequence[Any]) -> list[Any]:
    """Host nodes, and between them lists of launches and copies."""
    found: list[Any] = []
    for step in steps:
        if isinstance(step, HostCall):
            found.append(step)
        elif isinstance(step, (Launch, Copy)):
            if not found or isinstance(found[-1], HostCall):
                found.append([])
            found[-1].append(step)
        else:
            raise ArtifactError("A plan for Vulkan holds a CPU step; compile the model again.")
    return found
