"""The groups of a planned model, and the schedules that each of them may have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlirfuse.lowering.profile import structure_key
from mlirfuse.tuning.questions import Request, write_candidate

__all__ = ["FoundGroups", "GroupCandidate", "after_layouts", "find_groups", "set_schedule"]


@dataclass(frozen=True)
class GroupCandidate:
    """A group in KEY.mlir of the folder, and its alternatives as JSON, the most promising first."""

    key: str
    structure: str
    label: str
    alternatives: tuple[str, ...]


@dataclass(frozen=True)
class FoundGroups:
    """The distinct groups of a model: how many, how many have been searched or have no choice, and the rest."""

    groups: int
    answered: int
    device: str
    compiler: str
    candidates: tuple[GroupCandidate, ...]


def find_groups(request: Request) -> FoundGroups:
    """Compile up to the memory order of values, and write down each group that the database has no schedule for.

    Runs in a process of its own. `options.tuning` names the database.
    """
    from mlirfuse.compiler import Compilation
    from mlirfuse.device import device_for, host_device
    from mlirfuse.dialect import WeightStore
    from mlirfuse.frontend import import_model, load_model
    from mlirfuse.lowering.groups.group import group_of
    from mlirfuse.lowering.passes import run_pipeline
    from mlirfuse.lowering.pipeline.stages import pipeline_for
    from mlirfuse.lowering.plan.graph import main_function
    from mlirfuse.lowering.profile import ProfileDatabase, compiler_version, device_identity
    from mlirfuse.lowering.schedule import assign  # noqa: F401  it knows all families
    from mlirfuse.lowering.schedule.families import family_of
    from mlirfuse.lowering.schedule.tuned import group_structure, schedule_to_json
    from mlirfuse.mlir import context
    from mlirfuse.options import CompileOptions, parse_target
    from mlirfuse.targets import backend_for
    from mlirfuse.tuning.candidates import extract_group

    options = CompileOptions.from_dict(request.options)
    target = parse_target(request.target)
    compilation = Compilation(request.model, target, options)
    stage_options = backend_for(target).stage_options(target, options)
    device = host_device() if stage_options.device == "host" else device_for(stage_options.device)
    family, identity = family_of(device), device_identity(device, stage_options.threads)
    known = ProfileDatabase(Path(str(options.tuning))).profile(identity, compiler_version()).schedules
    store = WeightStore()
    with context(), store.active():
        imported = load_model(compilation.model, options.shapes)
        module = import_model(imported, store, options.shapes, strict=options.strict)
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
                write_candidate(Path(request.folder), key, extract_group(view.operation), store)
                label = " ".join(name for m in group.members[:3] for name in m.onnx_nodes[:1])
                found.append(GroupCandidate(key, text, label or key[:12], alternatives))
        return FoundGroups(len(seen), len(seen) - len(found), identity, compiler_version(), tuple(found))


def after_layouts(pipeline: str) -> tuple[Any, Any]:
    """A scheduling pipeline in two: up to the memory order of values, and the rest."""
    from mlirfuse.lowering.passes import PassPipeline
    from mlirfuse.lowering.schedule.assign import AssignSchedules

    steps = PassPipeline.parse(pipeline).steps
    at = next(i for i, step in enumerate(steps) if isinstance(step.work, AssignSchedules))
    return PassPipeline(steps[:at]), PassPipeline(steps[at:])


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
