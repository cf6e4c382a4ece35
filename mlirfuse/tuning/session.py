"""A tuning session: ask, compile, measure, store, until nothing is open or the budget is spent."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import mlirfuse
from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.lowering.codegen.workers import WorkerPool
from mlirfuse.lowering.profile import Measurement, ProfileDatabase
from mlirfuse.options import CompileOptions, Target, parse_target
from mlirfuse.runtime.executor import executor_class
from mlirfuse.targets import backend_for
from mlirfuse.tuning.measure import CandidateFailed, Job, compile_candidate, measure_candidate
from mlirfuse.tuning.questions import Candidate, Found, Request, find_questions

__all__ = ["Progress", "Summary", "check_chip", "tune_profile"]

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Summary:
    """What a session did.

    questions  that planning asked in its last round, `answered` of them from the database.
    measured   groups measured now; `failed` says why others could not be, by what they hold.
    rounds     of planning: an answer may raise the next question.
    complete   whether every question that can be answered is; the digest is that of the database afterwards.
    """

    questions: int
    answered: int
    measured: int
    failed: Mapping[str, str]
    rounds: int
    seconds: float
    complete: bool
    digest: str

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {**asdict(self), "failed": dict(self.failed)}


def tune_profile(
    model: str,
    target: str,
    options: CompileOptions,
    database: ProfileDatabase,
    *,
    budget: float | None = None,
    threads: int | None = None,
    progress: Progress = lambda text: None,
) -> Summary:
    """Measure every group that planning `model` (a path) asks about and `database` lacks; each is stored at once.

    `budget` is in seconds; no measurement starts after it. Raises UnsupportedTarget if `target` cannot run here.
    """
    check_chip(parse_target(target), options)
    database.store()  # makes the file
    session = _Session(model, target, replace(options, tuning=str(database.path)), database, budget, threads, progress)
    with tempfile.TemporaryDirectory(prefix="mlirfuse-tune-") as folder, WorkerPool(1) as pool:
        return session.run(Path(folder), pool)


def check_chip(target: Target, options: CompileOptions) -> None:
    """UnsupportedTarget unless this machine has the chip that kernels for `target` are made for."""
    wanted = backend_for(target).stage_options(target, options).device
    here = executor_class(target.kind).chip_here()
    if here != wanted:
        raise UnsupportedTarget(
            f"Kernels for {wanted} cannot be measured here: this machine has {here}; "
            f"give --target {target.kind}:{here}, or measure on a machine that has {wanted}."
        )


class _Session:
    def __init__(
        self,
        model: str,
        target: str,
        options: CompileOptions,
        database: ProfileDatabase,
        budget: float | None,
        threads: int | None,
        progress: Progress,
    ) -> None:
        self.model, self.target, self.options, self.database = model, target, options, database
        self.threads, self.progress = threads, progress
        self.start = time.monotonic()
        self.budget = budget
        self.measured = 0
        self.failed: dict[str, str] = {}  # by key

    @property
    def out_of_time(self) -> bool:
        return self.budget is not None and time.monotonic() - self.start >= self.budget

    def run(self, folder: Path, pool: WorkerPool) -> Summary:
        """Rounds of planning, each with the answers of those before."""
        labels: dict[str, str] = {}
        rounds = 0
        while True:
            rounds += 1
            self.progress(f"planning, round {rounds}")
            request = Request(self.model, self.target, self.options.to_dict(), str(folder))
            found: Found = pool.run(find_questions, {"the questions of planning": request})["the questions of planning"]
            labels |= {c.key: c.label for c in found.candidates}
            todo = [c for c in found.candidates if c.key not in self.failed]
            if not todo or self.out_of_time:
                break
            before = self.measured
            self._measure_all(found, todo, folder, pool)
            if self.measured == before:
                break
        return Summary(
            found.questions,
            found.answered,
            self.measured,
            {labels[key]: why for key, why in self.failed.items()},
            rounds,
            round(time.monotonic() - self.start, 3),
            all(c.key in self.failed for c in found.candidates),
            self.database.digest(),
        )

    def _measure_all(self, found: Found, todo: list[Candidate], folder: Path, pool: WorkerPool) -> None:
        for number, candidate in enumerate(todo, 1):
            if self.out_of_time:
                return
            self.progress(f"{number} of {len(todo)} groups: {candidate.label}")
            job = Job(str(folder), candidate.key, self.target, self.options.to_dict(), self.threads)
            try:
                pool.run(compile_candidate, {candidate.label: job})
                taken = pool.run(measure_candidate, {candidate.label: job})[candidate.label]
            except UnsupportedTarget:
                raise
            except (CandidateFailed, MlirfuseError) as error:
                self.failed[candidate.key] = str(error)
                continue
            finally:
                for suffix in (".mlir", ".safetensors", ".mlirfuse"):
                    (folder / f"{candidate.key}{suffix}").unlink(missing_ok=True)
            self.database.store(
                Measurement(
                    candidate.key,
                    found.device,
                    found.compiler,
                    taken.seconds,
                    taken.p10,
                    taken.p90,
                    taken.runs,
                    datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    f"mlirfuse {mlirfuse.__version__}",
                    candidate.structure,
                )
            )
            self.measured += 1
