"""For every group of a model, measure schedules and store the fastest."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from mlirfuse.lowering.profile import FoundSchedule, ProfileDatabase
from mlirfuse.options import CompileOptions
from mlirfuse.tuning.groups import find_groups
from mlirfuse.tuning.measure import CandidateFailed
from mlirfuse.tuning.request import Candidate
from mlirfuse.tuning.run import Progress, Summary, TuningRun, tuning_run
from mlirfuse.tuning.search import Outcome, search

__all__ = ["TRIALS", "ScheduleSummary", "tune_schedules"]

TRIALS = 16


@dataclass(frozen=True, kw_only=True)
class ScheduleSummary(Summary):
    """What a search of schedules did.

    groups    distinct groups of the model; `answered` of them have a choice that is made, or none to make.
    searched  groups searched now, of which `improved` have a faster schedule than the chosen one.
    gain      the searched groups' seconds with the schedules that are chosen without the database, over those with it.
    """

    groups: int
    answered: int
    searched: int
    improved: int
    gain: float


def tune_schedules(
    model: str,
    target: str,
    options: CompileOptions,
    database: ProfileDatabase,
    *,
    budget: float | None = None,
    threads: int | None = None,
    trials: int = TRIALS,
    progress: Progress = lambda text: None,
) -> ScheduleSummary:
    """Search schedules for every group of `model` (a path) that `database` has none for; each is stored at once.

    `budget` is in seconds; no search of a group starts after it. Raises UnsupportedTarget if `target` cannot run here.
    """
    rows: list[FoundSchedule] = []
    with tuning_run(model, target, options, database, budget=budget, threads=threads, progress=progress) as run:
        progress("planning")
        found = run.plan(find_groups)
        for candidate in run.each(found.candidates):
            outcome = _search(run, candidate, trials)
            if outcome is not None:
                rows.append(run.store(FoundSchedule, found, candidate, **asdict(outcome)))
        before, after = sum(r.chosen_seconds for r in rows), sum(r.seconds for r in rows)
        return ScheduleSummary(
            groups=found.asked,
            answered=found.answered + len(rows),
            searched=len(rows),
            improved=sum(bool(r.schedule) for r in rows),
            gain=before / after if rows else 1.0,
            **run.ending(len(rows) + len(run.failed) == len(found.candidates)),
        )


def _search(run: TuningRun, candidate: Candidate, trials: int) -> Outcome | None:
    """What a search of one group finds; None if the schedule that is chosen for it cannot be measured."""
    reasons = []

    def measure(schedule: str) -> float | None:
        try:
            return run.measure(candidate, schedule).seconds
        except CandidateFailed as error:
            reasons.append(error)
            return None

    outcome = search(candidate.alternatives, measure, trials)
    if outcome is None:
        run.fail(candidate, reasons[0])
    return outcome
