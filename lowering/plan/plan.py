"""Decide which operations share a kernel, and write the decision on them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from mlirfuse.device import planning_device, scheduling_device
from mlirfuse.dialect import to_attribute
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.graph import main_function, nodes_of, read_graph
from mlirfuse.lowering.plan.measured import MeasuredModel
from mlirfuse.lowering.plan.plan_options import PlanOptions
from mlirfuse.lowering.plan.planner import plan_graph
from mlirfuse.lowering.plan.resources import Chooser, ResourceModel
from mlirfuse.lowering.profile import ProfileDatabase, compiler_version, device_identity
from mlirfuse.mlir import ir

__all__ = ["PlanFusion", "node_names"]


@register_pass
@dataclass(frozen=True)
class PlanFusion:
    """Write `plan = k` on every op of block k, `verdicts` on ops that read another block, `proofs` on last anchors.

    Blocks are numbered in an order in which they can run. `no-fuse` names ONNX nodes that stay alone, `force-fuse`
    sets of nodes that share a kernel: `a,b` or JSON, [["a", "b"], ["c", "d"]]. `chooser` (from Python) decides where
    the table leaves it open; the default is the analytic model of `device` (a chip, or host, which is one CPU for all
    machines), whose registers, threads and shared memory bound every block. With a profile `database`, what it measured
    on `device` (host with `threads`; 0 is every core) in `layout` decides before the model does. The module says in
    `fusion.device` what was planned for, and in `fusion.profile` which content was read.
    """

    name: ClassVar[str] = "fusion-plan"
    fusion: Literal["full", "no-cross-layer", "epilogue", "none"] = "full"
    order: Literal["predecessors", "successors"] = "predecessors"
    no_fuse: str = ""
    force_fuse: str = ""
    database: str = ""
    device: str = "host"
    threads: int = 0
    layout: str = "nhwc"
    chooser: Chooser | None = None

    def __call__(self, module_op: ir.Operation) -> None:
        function = main_function(module_op)
        ops = nodes_of(function)
        options = PlanOptions(self.fusion, self.order, node_names(self.no_fuse), _sets(self.force_fuse))
        measured = self.measured_model()
        if measured is not None:
            module_op.attributes["fusion.profile"] = to_attribute(measured.profile.digest)
        device = planning_device(self.device)
        module_op.attributes["fusion.device"] = to_attribute(self.device)
        plan = plan_graph(read_graph(function), options, self.chooser or measured, device)
        for number, block in enumerate(plan.blocks):
            for member in block:
                ops[member].attributes["plan"] = to_attribute(number)
                if "elided" in ops[member].attributes:  # a concatenation between layers of one kernel
                    del ops[member].attributes["elided"]
        for anchor, proof in plan.proofs:
            ops[anchor].attributes["proofs"] = to_attribute([proof.to_json()])
        verdicts: dict[int, list[str]] = {}
        for _, consumer, verdict in plan.verdicts:
            verdicts.setdefault(consumer, []).append(verdict.to_json())
        for consumer, lines in verdicts.items():
            ops[consumer].attributes["verdicts"] = to_attribute(lines)

    def measured_model(self) -> MeasuredModel | None:
        """The chooser that reads the database; None where none is named."""
        if not self.database:
            return None
        device = scheduling_device(self.device)
        database = ProfileDatabase(Path(self.database))
        profile = database.profile(device_identity(device, self.threads), compiler_version())
        return MeasuredModel(profile, ResourceModel.of(planning_device(self.device)), self.layout)


def node_names(text: str) -> tuple[str, ...]:
    """The names in an option: `a,b` or a JSON list."""
    if text.startswith("["):
        return tuple(json.loads(text))
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _sets(text: str) -> tuple[tuple[str, ...], ...]:
    if text.startswith("["):
        return tuple(tuple(names) for names in json.loads(text))
    return (node_names(text),) if text else ()
