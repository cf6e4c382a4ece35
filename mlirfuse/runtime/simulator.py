"""The simulator's executor: GPU kernels in NumPy, one launch after the other, counting what they move."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, Copy, HostCall, Launch
from mlirfuse.errors import ArtifactError, MlirfuseError, UnsupportedTarget
from mlirfuse.runtime.buffers import Frame, aligned_bytes, program_weights
from mlirfuse.runtime.executor import plan_of
from mlirfuse.runtime.host_nodes import HostNodes
from mlirfuse.runtime.timing import Spread, Timing, sample_calls
from mlirfuse.runtime.values import Slot

__all__ = ["SimulatorExecutor"]


class SimulatorExecutor:
    """Runs the "simulator" plan.

    `mode` is the simulator's: "run" computes, "check" also watches for races and counts, "count" counts
    without computing. `counters` holds (kernel, Counters) of each launch of the last inference, all zero after "run".
    """

    @property
    def threads(self) -> int:
        return 1

    def __init__(self, artifact: Artifact, *, threads: int | None, device: Any) -> None:
        if device is not None:
            raise MlirfuseError(f"The simulator runs on no device, so load takes none; found device={device!r}.")
        kernel_class = _kernel_class()
        self.mode = "run"
        self.counters: list[tuple[str, Any]] = []
        self._plan = plan_of(artifact, "simulator")
        self._slots = [Slot(spec, "input") for spec in artifact.inputs]
        self._results = [Slot(spec, "output") for spec in artifact.outputs]
        self._kernels = {
            name: kernel_class.from_text(
                bytes(self._plan.image(name, "mlir").data).decode(), self._plan.kernels[name].symbol
            )
            for name in self._plan.program.kernels()
        }
        self._weights = program_weights(artifact, self._plan.program)
        self._arena = aligned_bytes(self._plan.program.arena_bytes, "the arena")
        self._host = HostNodes(threads=1)
        self._lock = threading.Lock()

    @property
    def launches(self) -> list[Launch]:
        """The launches of one inference, in order."""
        return [step for step in self._plan.program.steps if isinstance(step, Launch)]

    @classmethod
    def chip_here(cls) -> str:
        raise UnsupportedTarget(
            "The simulator's seconds say nothing about a GPU, so nothing can be measured on it; "
            "measure with --target cpu, or --target cuda on a machine with a GPU."
        )

    def run(self, values: Sequence[Any]) -> list[Any]:
        inputs = [slot.read(value) for slot, value in zip(self._slots, values, strict=True)]
        return self._run(inputs, [slot.empty() if slot.is_static else None for slot in self._results])

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[[], None]:
        sources = [slot.attach(value, writable=False) for slot, value in zip(self._slots, inputs, strict=True)]
        sinks = [slot.attach(value, writable=True) for slot, value in zip(self._results, outputs, strict=True)]

        def call() -> None:
            self._run(sources, sinks)

        return call

    def measure(self, values: Sequence[Any], runs: int, warmup: int) -> Timing:
        """Seconds of simulation, which say nothing about a GPU."""
        spread = Spread.of(sample_calls(lambda: self.run(values), runs, warmup))
        names = [step.kernel for step in self.launches]
        return Timing(spread, spread, runs, [(n, Spread.of([s])) for n, s in zip(names, self._seconds, strict=True)])

    def count(self) -> list[tuple[str, Any]]:
        """What each launch moves and computes, at full size but without arithmetic; no host node runs."""
        frame = Frame(
            self._plan.program,
            self._arena,
            self._weights,
            [np.zeros(slot.shape, slot.dtype) for slot in self._slots],  # type: ignore[arg-type]
            [slot.empty() if slot.is_static else None for slot in self._results],
        )
        with self._lock:
            self._arena[:] = 0  # where addresses depend on values, zero is always a valid index
            return [(step.kernel, self._launch(step, frame, "count")) for step in self.launches]

    def _launch(self, step: Launch, frame: Frame, mode: str) -> Any:
        buffers = [frame.flat(ref) for ref in step.args]
        offsets = [ref.offset for ref in step.args]
        return self._kernels[step.kernel].launch(step.grid, step.block, buffers, mode=mode, offsets=offsets)

    def _run(self, inputs: list[Any], outputs: list[Any]) -> list[Any]:
        with self._lock:
            frame = Frame(self._plan.program, self._arena, self._weights, inputs, outputs)
            self.counters, self._seconds = [], []
            for step in self._plan.program.steps:
                if isinstance(step, Launch):
                    start = time.perf_counter()
                    self.counters.append((step.kernel, self._launch(step, frame, self.mode)))
                    self._seconds.append(time.perf_counter() - start)
                elif isinstance(step, HostCall):
                    self._host.run(step, frame)
                elif isinstance(step, Copy):
                    frame.copy(step)
                else:
                    raise ArtifactError("A plan for the simulator holds a CPU step; compile the model again.")
            return frame.outputs


def _kernel_class() -> Any:
    """The simulator, imported late: it is the only executor that needs MLIR, to read the kernels' text."""
    from mlirfuse.simulator import Kernel

    return Kernel


def holds_kernels_to_count(artifact: Artifact) -> bool:
    """Whether the artifact has a plan whose launches the simulator can count."""
    return any(plan.kind == "simulator" for plan in artifact.plans.values())
