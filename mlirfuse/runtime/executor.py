"""What runs a plan: one class for each kind of target, found by name."""

import functools
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

from mlirfuse.artifact import Artifact, Plan
from mlirfuse.errors import ArtifactError, UnsupportedTarget
from mlirfuse.runtime.timing import Timing

__all__ = ["Executor", "executor_class", "open_executor", "plan_of"]


class Executor(Protocol):
    """Holds everything one loaded network needs on its device; values come in the order of the signature."""

    @property
    def threads(self) -> int:
        """CPU threads of one inference; has a setter where they can be chosen."""

    def __init__(self, artifact: Artifact, *, threads: int | None, device: Any) -> None:
        """Load code and weights; UnsupportedTarget if this machine cannot run the artifact."""

    @classmethod
    def chip_here(cls) -> str:
        """The chip that times measured on this machine hold for, as schedules name it (host, sm_90).

        UnsupportedTarget if there is none, or its times say nothing.
        """

    def run(self, values: Sequence[Any]) -> list[Any]:
        """Check `values`, run once, and return fresh outputs."""

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[[], None]:
        """A call that reads and writes these buffers each time; it returns when the outputs are complete."""

    def measure(self, values: Sequence[Any], runs: int, warmup: int) -> Timing:
        """Time `runs` inferences of `values`."""


# kind of target -> where its executor is; imported when first asked for
_BUILT_IN = {
    "cpu": "mlirfuse.runtime.host:HostExecutor",
    "cuda": "mlirfuse.runtime.cuda:CudaExecutor",
    "simulator": "mlirfuse.runtime.simulator:SimulatorExecutor",
    "vulkan": "mlirfuse.runtime.vulkan:VulkanExecutor",
}
_EXTRAS = frozenset(("vulkan",))  # kinds whose packages an extra of this one brings


@functools.cache
def executor_class(kind: str) -> type[Executor]:
    """The executor for a kind of target: built in, or an installed entry point of `mlirfuse.executors`."""
    for point in entry_points(group="mlirfuse.executors"):
        if point.name == kind:
            return point.load()
    if kind not in _BUILT_IN:
        raise UnsupportedTarget(f"Nothing installed here can run '{kind}'; known are {', '.join(_BUILT_IN)}.")
    module, name = _BUILT_IN[kind].split(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        install = f"pip install mlirfuse[{kind}]" if kind in _EXTRAS else "Install what is missing"
        raise UnsupportedTarget(f"The target '{kind}' cannot run here: {error}. {install}.") from error


def plan_of(artifact: Artifact, kind: str) -> Plan:
    """The plan of one kind; ArtifactError if there is none."""
    for plan in artifact.plans.values():
        if plan.kind == kind:
            return plan
    raise ArtifactError(f"The artifact of '{artifact.model}' holds no plan for '{kind}'; compile it for that target.")


def open_executor(artifact: Artifact, threads: int | None, device: Any) -> Executor:
    """Load `artifact` on the machine it runs on."""
    return executor_class(artifact.target.split(":")[0])(artifact, threads=threads, device=device)
