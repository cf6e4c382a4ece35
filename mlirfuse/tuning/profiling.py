"""Measure what planning asks, and plan again, until nothing is open or the budget is spent."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from mlirfuse.lowering.profile import Measurement, ProfileDatabase
from mlirfuse.options import CompileOptions
from mlirfuse.tuning.measure import CandidateFailed
from mlirfuse.tuning.questions import find_questions
from mlirfuse.tuning.run import Progress, Summary, tuning_run

__all__ = ["ProfileSummary", "tune_profile"]


@dataclass(frozen=True, kw_only=True)
class ProfileSummary(Summary):
    """What measuring a model's open questions did.

    questions  that planning asked in its last round, `answered` of them from the database.
    measured   groups measured now.
    rounds     of planning: an answer may raise the next question.
    """

    questions: int
    answered: int
    measured: int
    rounds: int


def tune_profile(
    model: str,
    target: str,
    options: CompileOptions,
    database: ProfileDatabase,
    *,
    budget: float | None = None,
    threads: int | None = None,
    progress: Progress = lambda text: None,
) -> ProfileSummary:
    """Measure every group that planning `model` (a path) asks about and `database` lacks; each is stored at once.

    `budget` is in seconds; no measurement starts after it. Raises UnsupportedTarget if `target` cannot run here.
    """
    measured = rounds = 0
    with tuning_run(model, target, options, database, budget=budget, threads=threads, progress=progress) as run:
        before = -1
        while measured > before:
            before, rounds = measured, rounds + 1
            progress(f"planning, round {rounds}")
            found = run.plan(find_questions)
            for candidate in run.each([c for c in found.candidates if c.key not in run.failed]):
                try:
                    taken = run.measure(candidate)
                except CandidateFailed as error:
                    run.fail(candidate, error)
                else:
                    run.store(Measurement, found, candidate, **asdict(taken))
                    measured += 1
        return ProfileSummary(
            questions=found.asked,
            answered=found.answered,
            measured=measured,
            rounds=rounds,
            **run.ending(all(c.key in run.failed for c in found.candidates)),
        )
