"""A network that is one block, as one group: what the planner would have to take for one kernel."""

from __future__ import annotations

from typing import Any

from mlirfuse.dialect import WeightStore
from mlirfuse.frontend import import_model, load_model
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.passes import run_pipeline
from mlirfuse.lowering.pipeline.stages import pipeline_for
from mlirfuse.lowering.plan.cross_layer import group_of_nodes
from mlirfuse.lowering.plan.graph import main_function, read_graph
from mlirfuse.mlir import context
from mlirfuse.options import CompileOptions, parse_target
from mlirfuse.targets import backend_for

__all__ = ["group_of_model"]


def group_of_model(model: Any, target: str) -> Group:
    """All operators of a model, rewritten, as one group."""
    parsed, store = parse_target(target), WeightStore()
    options = backend_for(parsed).stage_options(parsed, CompileOptions())
    rewriting, _ = pipeline_for("planned", options).split(",fusion-plan")
    with context(), store.active():
        module = import_model(load_model(model, {}), store, {})
        run_pipeline(module, f"{rewriting})")
        graph = read_graph(main_function(module.operation))
        return group_of_nodes(graph, range(len(graph)))
