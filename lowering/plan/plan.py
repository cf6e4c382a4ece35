"""Decide which operations share a kernel, and write the decision on them."""

import json
from dataclasses import dataclass
from typing import ClassVar, Literal

from mlirfuse.dialect import to_attribute
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.graph import main_function, nodes_of, read_graph
from mlirfuse.lowering.plan.planner import PlanOptions, plan_graph
from mlirfuse.lowering.plan.resources import Chooser
from mlirfuse.mlir import ir

__all__ = ["PlanFusion"]


@register_pass
@dataclass(frozen=True)
class PlanFusion:
    """Write `plan = k` on every op of block k, and `verdicts` on ops that read from another block.

    Blocks are numbered in an order in which they can run. `no-fuse` names ONNX nodes that stay alone, `force-fuse`
    sets of nodes that share a kernel: `a,b` or JSON, [["a", "b"], ["c", "d"]]. `chooser` (from Python) decides where
    the table leaves it open; the default is the analytic model.
    """

    name: ClassVar[str] = "fusion-plan"
    fusion: Literal["full", "no-cross-layer", "epilogue", "none"] = "full"
    order: Literal["predecessors", "successors"] = "predecessors"
    no_fuse: str = ""
    force_fuse: str = ""
    chooser: Chooser | None = None

    def __call__(self, module_op: ir.Operation) -> None:
        function = main_function(module_op)
        ops = nodes_of(function)
        options = PlanOptions(self.fusion, self.order, _names(self.no_fuse), _sets(self.force_fuse))
        plan = plan_graph(read_graph(function), options, self.chooser)
        for number, block in enumerate(plan.blocks):
            for member in block:
                ops[member].attributes["plan"] = to_attribute(number)
        verdicts: dict[int, list[str]] = {}
        for _, consumer, verdict in plan.verdicts:
            verdicts.setdefault(consumer, []).append(verdict.to_json())
        for consumer, lines in verdicts.items():
            ops[consumer].attributes["verdicts"] = to_attribute(lines)


def _names(text: str) -> tuple[str, ...]:
    if text.startswith("["):
        return tuple(json.loads(text))
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _sets(text: str) -> tuple[tuple[str, ...], ...]:
    if text.startswith("["):
        return tuple(tuple(names) for names in json.loads(text))
    return (_names(text),) if text else ()
