"""What planning asks about a model that no measurement answers yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlirfuse.lowering.plan.graph import Graph
from mlirfuse.lowering.plan.measured import MeasuredModel, block_structure
from mlirfuse.lowering.plan.resources import Finding
from mlirfuse.lowering.profile import structure_key

__all__ = ["Candidate", "Found", "Request", "find_questions", "write_candidate"]

Members = Collection[int]


@dataclass(frozen=True)
class Request:
    """A model (path), how it is compiled, and the folder that candidates are written to."""

    model: str
    target: str
    options: dict[str, Any]
    folder: str


@dataclass(frozen=True)
class Candidate:
    """A group to be measured: KEY.mlir in the folder, its weights in KEY.safetensors."""

    key: str
    structure: str
    label: str


@dataclass(frozen=True)
class Found:
    """The questions of one planning: how many there are, how many the database answers, and what answers the rest."""

    questions: int
    answered: int
    device: str
    compiler: str
    candidates: tuple[Candidate, ...]


@dataclass
class _Recorder:
    """Answers as the measured model does, and keeps what was asked."""

    model: MeasuredModel
    asked: dict[tuple[frozenset[int], frozenset[int]], None] = field(default_factory=dict)
    graph: Graph | None = None

    def why_separate(self, graph: Graph, first: Members, second: Members) -> Finding | None:
        self.graph = graph
        self.asked[frozenset(first), frozenset(second)] = None
        return self.model.why_separate(graph, first, second)

    def why_together(self, graph: Graph, first: Members, second: Members) -> Finding | None:
        return self.model.why_together(graph, first, second)


def find_questions(request: Request) -> Found:
    """Plan the model as the compiler would, and write down each group that a question needs and the database lacks.

    Runs in a process of its own. `options.tuning` names the database.
    """
    from mlirfuse.compiler import Compilation
    from mlirfuse.dialect import WeightStore
    from mlirfuse.frontend import import_model, load_model
    from mlirfuse.lowering.pipeline.stages import pipeline_for
    from mlirfuse.lowering.plan.graph import main_function
    from mlirfuse.mlir import context
    from mlirfuse.options import CompileOptions, parse_target
    from mlirfuse.targets import backend_for

    options = CompileOptions.from_dict(request.options)
    target = parse_target(request.target)
    compilation = Compilation(request.model, target, options)
    stage_options = backend_for(target).stage_options(target, options)
    store = WeightStore()
    with context(), store.active():
        imported = load_model(compilation.model, options.shapes)
        module = import_model(imported, store, options.shapes, strict=options.strict)
        before, plan = _split_at_plan(pipeline_for("planned", stage_options))
        before.run(module)
        model = plan.measured_model()
        assert model is not None, "the options of a tuning session name a database"
        recorder = _Recorder(model)
        function = main_function(module.operation)
        blocks: dict[str, tuple[str, frozenset[int]]] = {}
        dataclasses.replace(plan, chooser=recorder)(module.operation)
        answered = 0
        for first, second in recorder.asked:
            assert recorder.graph is not None
            needed = {}
            for members in (first, second, first | second):
                text = block_structure(recorder.graph, members, model.layout)
                needed[structure_key(text)] = (text, members)
            missing = {k: v for k, v in needed.items() if k not in model.profile.seconds}
            answered += not missing
            blocks = {**missing, **blocks}
        candidates = [
            _write(Path(request.folder), key, text, members, recorder.graph, function, store)
            for key, (text, members) in blocks.items()
        ]
        return Found(len(recorder.asked), answered, model.profile.device, model.profile.compiler, tuple(candidates))


def _split_at_plan(pipeline: str) -> tuple[Any, Any]:
    """The passes before planning, and the planning pass itself."""
    from mlirfuse.lowering.passes import PassPipeline
    from mlirfuse.lowering.plan.plan import PlanFusion

    steps = PassPipeline.parse(pipeline).steps
    at = next(i for i, step in enumerate(steps) if isinstance(step.work, PlanFusion))
    return PassPipeline(steps[:at]), steps[at].work


def _write(folder: Path, key: str, text: str, members: Members, graph: Any, function: Any, store: Any) -> Candidate:
    from mlirfuse.tuning.candidates import extract_block

    write_candidate(folder, key, extract_block(function, members), store)
    labels = [graph[m].label for m in sorted(members)]
    label = " ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
    return Candidate(key, text, label)


def write_candidate(folder: Path, key: str, module: Any, store: Any) -> None:
    """Write KEY.mlir, and the weights that it names."""
    from mlirfuse.dialect import WeightStore
    from mlirfuse.tuning.candidates import weight_keys

    (folder / f"{key}.mlir").write_text(str(module))
    weights = WeightStore()
    for weight in weight_keys(module):
        weights.put(store.get(weight))
    weights.save(folder / f"{key}.safetensors")
