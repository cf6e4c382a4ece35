"""A pass that pretends to have measured: a group of n operations takes n * n microseconds."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import ClassVar

from mlirfuse.device import scheduling_device
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.graph import main_function, read_graph
from mlirfuse.lowering.plan.measured import block_structure
from mlirfuse.lowering.profile import (
    Measurement,
    ProfileDatabase,
    compiler_version,
    device_identity,
    structure_key,
)


@register_pass
@dataclass(frozen=True)
class PlantProfile:
    """Store a time for every set of operations of the module."""

    name: ClassVar[str] = "plant-profile"
    file: str = ""
    device: str = "host"

    def __call__(self, module_op):
        graph = read_graph(main_function(module_op))
        device = scheduling_device(self.device)
        sets = [s for n in range(1, len(graph) + 1) for s in combinations(range(len(graph)), n)]
        texts = {block_structure(graph, s, "nhwc"): len(s) ** 2 * 1e-6 for s in sets}
        where = {"device": device_identity(device), "compiler": compiler_version(), "date": "", "tool": ""}
        ProfileDatabase(Path(self.file)).store(
            *(
                Measurement(key=structure_key(t), structure=t, seconds=s, p10=s, p90=s, runs=1, **where)
                for t, s in texts.items()
            )
        )
