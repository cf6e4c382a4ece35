"""One inference as a list of device actions and host calls; runs of device actions become CUDA graphs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlirfuse.artifact import Launch
from mlirfuse.runtime.cuda.code import LoadedKernel
from mlirfuse.runtime.cuda.context import Context

__all__ = ["Action", "Flow", "copy_action", "launch_action"]


@dataclass(frozen=True)
class Action:
    """Something to put on a stream; `kernel` is the name for a launch."""

    issue: Callable[[Any], None]
    kernel: str | None = None


def launch_action(context: Context, step: Launch, kernel: LoadedKernel, addresses: Sequence[int]) -> Action:
    """Launch with every argument a device address. `shared_bytes` not declared statically is dynamic.

    A kernel of thread-block clusters is launched like any other: its code declares the size of a cluster, which the
    driver keeps to, in graphs too (CUDA C++ Programming Guide, "Thread Block Clusters", on compile-time sizes).
    """
    values = np.array(addresses, np.uint64)
    pointers = values.ctypes.data + np.arange(len(values), dtype=np.uint64) * np.uint64(values.itemsize)
    dynamic = max(0, step.shared_bytes - kernel.static_shared_bytes)
    driver, function, grid, block = context.driver, kernel.function, step.grid, step.block

    def issue(stream: Any) -> None:
        parameters = pointers.ctypes.data if values.size else 0
        (status,) = driver.api.cuLaunchKernel(function, *grid, *block, dynamic, stream, parameters, 0)
        if status:
            raise driver.error("cuLaunchKernel", status, f"Kernel '{step.kernel}', grid {grid}, block {block}.")

    return Action(issue, step.kernel)


def copy_action(context: Context, kind: str, destination: int, source: int, size: int, keep: Any = None) -> Action:
    """An asynchronous copy; `kind` is "HtoD", "DtoH" or "DtoD", and `keep` is held as long as the action."""

    def issue(stream: Any, _keep: Any = keep) -> None:
        if size:
            context.driver.call(f"cuMemcpy{kind}Async", destination, source, size, stream)

    return Action(issue)


class Flow:
    """Actions and host calls in order. Host calls find all earlier actions done.

    The context must be current for every method.
    """

    def __init__(self, context: Context, items: Sequence[Action | Callable[[], None]]) -> None:
        self.context = context
        self.items = list(items)
        self._replay: list[_Graph | Callable[[], None]] | None = None

    def start(self) -> None:
        """Replay the graphs on the stream; returns before the last one is done."""
        if self._replay is None:
            self._replay = self._capture()
        for part in self._replay:
            if isinstance(part, _Graph):
                part.launch()
            else:
                self.context.synchronize()
                part()

    def issue(self, before: Callable[[Action], None] = lambda action: None) -> None:
        """Put the items on the stream one by one, without graphs; `before` is called ahead of each action."""
        for item in self.items:
            if isinstance(item, Action):
                before(item)
                item.issue(self.context.stream)
            else:
                self.context.synchronize()
                item()

    def _capture(self) -> "list[_Graph | Callable[[], None]]":
        parts: list[_Graph | Callable[[], None]] = []
        run: list[Action] = []
        for item in [*self.items, None]:
            if isinstance(item, Action):
                run.append(item)
                continue
            if run:
                parts.append(_Graph(self.context, run))
                run = []
            if item is not None:
                parts.append(item)
        return parts


class _Graph:
    """Actions captured once, launched with one call."""

    def __init__(self, context: Context, actions: list[Action]) -> None:
        self.context = context
        self.actions = actions  # their argument arrays and buffers must outlive the graph
        driver, stream = context.driver, context.capture_stream
        # Relaxed: a buffer that the garbage collector frees meanwhile, or another thread, must not break the capture.
        driver.call("cuStreamBeginCapture", stream, driver.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED)
        try:
            for action in actions:
                action.issue(stream)
        except BaseException:
            driver.api.cuStreamEndCapture(stream)  # leave capture mode; the first error is the one to report
            raise
        graph = driver.call("cuStreamEndCapture", stream)
        try:
            self.handle = driver.call("cuGraphInstantiate", graph, 0)
        finally:
            driver.call("cuGraphDestroy", graph)
        context.on_collect(self, "cuGraphExecDestroy", self.handle)
        driver.call("cuGraphUpload", self.handle, context.stream)

    def launch(self) -> None:
        (status,) = self.context.driver.api.cuGraphLaunch(self.handle, self.context.stream)
        if status:
            raise self.context.driver.error("cuGraphLaunch", status)
