"""What planning asks about a model that no measurement answers yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field

from mlirfuse.lowering.plan.graph import Graph
from mlirfuse.lowering.plan.measured import MeasuredModel, block_structure
from mlirfuse.lowering.plan.resources import Finding
from mlirfuse.lowering.profile import structure_key
from mlirfuse.tuning.request import Candidate, Found, Request, imported, label_of, write_candidate

__all__ = ["find_questions"]

Members = Collection[int]


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

    Runs in a process of its own. What is asked is whether two groups are faster as one.
    """
    from mlirfuse.lowering.passes import PassPipeline
    from mlirfuse.lowering.pipeline.stages import pipeline_for
    from mlirfuse.lowering.plan.graph import main_function
    from mlirfuse.lowering.plan.plan import PlanFusion
    from mlirfuse.tuning.candidates import extract_block

    with imported(request) as (module, store, stage_options):
        before, rest = PassPipeline.parse(pipeline_for("planned", stage_options)).split_at(PlanFusion)
        before.run(module)
        plan = rest.steps[0].work
        assert isinstance(plan, PlanFusion)
        model = plan.measured_model()
        assert model is not None, "the options of a tuning run name a database"
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
        candidates = []
        for key, (text, members) in blocks.items():
            assert recorder.graph is not None
            candidate = Candidate(key, text, label_of([recorder.graph[m].label for m in sorted(members)]))
            write_candidate(request, candidate, extract_block(function, members), store)
            candidates.append(candidate)
        return Found(len(recorder.asked), answered, model.profile.device, model.profile.compiler, tuple(candidates))
