"""The groups of a planned model, and the schedules that each of them may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlirfuse.lowering.profile import structure_key
from mlirfuse.tuning.request import Candidate, Found, Request, imported, label_of, write_candidate

__all__ = ["after_layouts", "find_groups", "set_schedule"]


def find_groups(request: Request) -> Found:
    """Compile up to the memory order of values, and write down each group that the database has no schedule for.

    Runs in a process of its own. What is asked is the fastest schedule of a distinct group; one that has no choice is
    answered.
    """
    from mlirfuse.device import scheduling_device
    from mlirfuse.lowering.groups.group import group_of
    from mlirfuse.lowering.passes import run_pipeline
    from mlirfuse.lowering.pipeline.stages import pipeline_for
    from mlirfuse.lowering.plan.graph import main_function
    from mlirfuse.lowering.profile import ProfileDatabase, compiler_version, device_identity
    from mlirfuse.lowering.schedule import assign  # noqa: F401  it knows all families
    from mlirfuse.lowering.schedule.families import family_of
    from mlirfuse.lowering.schedule.tuned import group_structure, schedule_to_json
    from mlirfuse.tuning.candidates import extract_group

    with imported(request) as (module, store, stage_options):
        device = scheduling_device(stage_options.device)
        family, identity = family_of(device), device_identity(device, stage_options.threads)
        known = ProfileDatabase(Path(request.options["tuning"])).profile(identity, compiler_version()).schedules
        run_pipeline(module, pipeline_for("planned", stage_options))
        after_layouts(pipeline_for("scheduled", stage_options))[0].run(module)
        seen: set[str] = set()
        found = []
        for view in main_function(module.operation).regions[0].blocks[0].operations:
            if view.operation.name != "fusion.group":
                continue
            group = group_of(view.operation)
            text = group_structure(group)
            key = structure_key(text)
            first = key not in seen
            seen.add(key)
            if not first or key in known:
                continue
            chosen = schedule_to_json(family.choose(group, device), family)
            others = (schedule_to_json(s, family) for s in family.alternatives(group, device))
            alternatives = tuple(s for s in others if s != chosen)
            if alternatives:
                label = label_of([name for m in group.members for name in m.onnx_nodes[:1]])
                candidate = Candidate(key, text, label or key[:12], alternatives)
                write_candidate(request, candidate, extract_group(view.operation), store)
                found.append(candidate)
        return Found(len(seen), len(seen) - len(found), identity, compiler_version(), tuple(found))


def after_layouts(pipeline: str) -> tuple[Any, Any]:
    """A scheduling pipeline in two: up to the memory order of values, and the rest."""
    from mlirfuse.lowering.passes import PassPipeline
    from mlirfuse.lowering.schedule.assign import AssignSchedules

    return PassPipeline.parse(pipeline).split_at(AssignSchedules)


def set_schedule(module: Any, schedule: str) -> None:
    """Let the candidate of a module have a schedule (JSON)."""
    import json

    from mlirfuse.dialect import onnx_nodes
    from mlirfuse.lowering.plan.graph import main_function
    from mlirfuse.lowering.schedule.assign import schedule_attribute
    from mlirfuse.tuning.candidates import CANDIDATE

    if not schedule:
        return
    data = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(schedule).items()}
    with module.context:
        for view in main_function(module.operation).regions[0].blocks[0].operations:
            if view.operation.name == "fusion.group" and CANDIDATE in onnx_nodes(view.operation):
                view.operation.attributes["schedule"] = schedule_attribute(data)
