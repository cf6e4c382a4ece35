"""One module for each target: which stages it has and how its code gets into an artifact.

Nothing outside a target's own module asks which target it is. Out-of-tree targets register a `Backend` under the entry
point group `mlirfuse.targets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

from mlirfuse.errors import UnsupportedTarget
from mlirfuse.options import CompileOptions, Target

__all__ = ["Backend", "backend_for"]


class Finish(Protocol):
    """From the module at the kernels stage to the artifact."""

    def __call__(self, compilation: Any, module: Any, store: Any, imported: Any, /) -> Any: ...


@dataclass(frozen=True)
class Backend:
    """`stage_options` configures the passes up to the kernels stage, `finish` makes the artifact from there.

    `late_stages` are the stages that only this target has, each a function from (compilation, module) to text or bytes.
    With `lowers_again`, the compilation keeps the graph for `finish` to lower for a second device.
    """

    stage_options: Callable[[Target, CompileOptions], Any]
    finish: Finish
    late_stages: Mapping[str, Callable[[Any, Any], str | bytes]]
    lowers_again: bool = False


_BUILT_IN = {kind: f"mlirfuse.targets.{kind}" for kind in ("cpu", "cuda", "simulator", "vulkan")}


def backend_for(target: Target) -> Backend:
    """The backend of a target; UnsupportedTarget if there is none."""
    for point in entry_points(group="mlirfuse.targets"):
        if point.name == target.kind:
            return point.load()
    if target.kind not in _BUILT_IN:
        raise UnsupportedTarget(
            f"There is no compiler for the target '{target}'; there is one for {', '.join(_BUILT_IN)}."
        )
    return import_module(_BUILT_IN[target.kind]).BACKEND
