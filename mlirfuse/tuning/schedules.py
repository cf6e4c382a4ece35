"""A search session: for every group of a model, measure schedules and store the fastest."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import mlirfuse
from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.lowering.codegen.workers import WorkerPool
from mlirfuse.lowering.profile import FoundSchedule, ProfileDatabase
from mlirfuse.options import CompileOptions, parse_target
from mlirfuse.tuning.groups import GroupCandidate, find_groups
from mlirfuse.tuning.measure import CandidateFailed, Job, compile_candidate, measure_candidate
from mlirfuse.tuning.questions import Request
from mlirfuse.tuning.search import search
from mlirfuse.tuning.session import Progress, check_chip

__all__ = ["TRIALS", "ScheduleSummary", "tune_schedules"]

TRIALS = 16


@dataclass(frozen=True)
class ScheduleSummary:
    """What a session did.

    groups    distinct groups of the model; `answered` of them have a choice that is made, or none to make.
    searched  groups searched now, of which `improved` have a faster schedule than the chosen one; `failed` says why
              others could not be.
    gain      the searched groups' seconds with the schedules that are chosen without the database, over those with it.
    """

    groups: int
    answered: int
    searched: int
    improved: int
    gain: float
    failed: Mapping[str, str]
    seconds: float
    complete: bool
    digest: str

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {**asdict(self), "failed": dict(self.failed)}


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
    start = time.monotonic()
    check_chip(parse_target(target), options)
    database.store()  # makes the file
    given = replace(options, tuning=str(database.path)).to_dict()
    failed: dict[str, str] = {}
    rows: list[FoundSchedule] = []
    with tempfile.TemporaryDirectory(prefix="mlirfuse-tune-") as folder, WorkerPool(1) as pool:
        progress("planning")
        found = pool.run(find_groups, {"the groups": Request(model, target, given, folder)})["the groups"]
        for number, candidate in enumerate(found.candidates, 1):
            if budget is not None and time.monotonic() - start >= budget:
                break
            progress(f"{number} of {len(found.candidates)} groups: {candidate.label}")
            job = Job(folder, candidate.key, target, given, threads, "")
            row = _search(candidate, job, found.device, found.compiler, trials, pool, failed)
            if row is not None:
                database.store(row)
                rows.append(row)
    before, after = sum(r.chosen_seconds for r in rows), sum(r.seconds for r in rows)
    return ScheduleSummary(
        found.groups,
        found.answered + len(rows),
        len(rows),
        sum(bool(r.schedule) for r in rows),
        before / after if rows else 1.0,
        failed,
        round(time.monotonic() - start, 3),
        len(rows) + len(failed) == len(found.candidates),
        database.digest(),
    )


def _search(
    candidate: GroupCandidate,
    job: Job,
    device: str,
    compiler: str,
    trials: int,
    pool: WorkerPool,
    failed: dict[str, str],
) -> FoundSchedule | None:
    """The row of one group; None, with the reason in `failed`, if the chosen schedule cannot be measured."""
    reasons = []

    def measure(schedule: str) -> float | None:
        try:
            tried = replace(job, schedule=schedule)
            pool.run(compile_candidate, {candidate.label: tried})
            return pool.run(measure_candidate, {candidate.label: tried})[candidate.label].seconds
        except UnsupportedTarget:
            raise
        except (CandidateFailed, MlirfuseError) as error:
            reasons.append(str(error))
            return None

    outcome = search(candidate.alternatives, measure, trials)
    if outcome is None:
        failed[candidate.label] = reasons[0]
        return None
    return FoundSchedule(
        candidate.key,
        device,
        compiler,
        outcome.schedule,
        outcome.seconds,
        outcome.chosen_seconds,
        outcome.trials,
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        f"mlirfuse {mlirfuse.__version__}",
        candidate.structure,
    )
