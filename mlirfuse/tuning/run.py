"""One run of the tuner: a model is planned, and its candidates are measured one after the other, within a budget."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import mlirfuse
from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.lowering.codegen.workers import WorkerPool
from mlirfuse.lowering.profile import ProfileDatabase, Row
from mlirfuse.options import CompileOptions, Target, parse_target
from mlirfuse.runtime.executor import executor_class
from mlirfuse.targets import backend_for
from mlirfuse.tuning.measure import CandidateFailed, Job, Measured, compile_candidate, measure_candidate
from mlirfuse.tuning.request import Candidate, Found, Request

__all__ = ["Progress", "Summary", "TuningRun", "tuning_run"]

Progress = Callable[[str], None]
R = TypeVar("R", bound=Row)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run did, however it went about it.

    failed    why groups could not be measured, by what they hold.
    complete  whether nothing is left to measure; the digest is that of the database afterwards.
    """

    failed: Mapping[str, str]
    seconds: float
    complete: bool
    digest: str

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {**asdict(self), "failed": dict(self.failed)}


@dataclass
class TuningRun:
    """A model (path) and the database that is filled for it; `folder` and `pool` are where candidates are measured."""

    model: str
    target: str
    options: dict[str, Any]
    database: ProfileDatabase
    budget: float | None
    threads: int | None
    progress: Progress
    folder: str
    pool: WorkerPool
    start: float = field(default_factory=time.monotonic)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)  # by key: what the group holds, and why

    def plan(self, find: Callable[[Request], Found]) -> Found:
        """What `find` finds in the model, in a process of its own."""
        request = Request(self.model, self.target, self.options, self.folder)
        found: Found = self.pool.run(find, {"planning": request})["planning"]
        return found

    def each(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """Those of the candidates that there is time for; what was written of one is gone when the next comes."""
        for number, candidate in enumerate(candidates, 1):
            if self.budget is not None and time.monotonic() - self.start >= self.budget:
                return
            self.progress(f"{number} of {len(candidates)} groups: {candidate.label}")
            yield candidate
            for path in Path(self.folder).glob(f"{candidate.key}.*"):
                path.unlink()

    def measure(self, candidate: Candidate, schedule: str | None = None) -> Measured:
        """The time of a candidate, with a schedule if it is a group; CandidateFailed if it has none."""
        job = Job(self.folder, candidate.key, self.target, self.options, self.threads, schedule)
        try:
            self.pool.run(compile_candidate, {candidate.label: job})
            taken: Measured = self.pool.run(measure_candidate, {candidate.label: job})[candidate.label]
        except UnsupportedTarget:
            raise
        except MlirfuseError as error:
            raise CandidateFailed(str(error)) from None
        return taken

    def fail(self, candidate: Candidate, why: object) -> None:
        """There is nothing to store of this one."""
        self.failed[candidate.key] = (candidate.label, str(why))

    def store(self, kind: type[R], found: Found, candidate: Candidate, **measured: Any) -> R:
        """Put what was measured of a candidate into the database."""
        row = kind(
            key=candidate.key,
            structure=candidate.structure,
            device=found.device,
            compiler=found.compiler,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            tool=f"mlirfuse {mlirfuse.__version__}",
            **measured,
        )
        self.database.store(row)
        return row

    def ending(self, complete: bool) -> dict[str, Any]:
        """The fields of Summary."""
        return {
            "failed": dict(self.failed.values()),
            "seconds": round(time.monotonic() - self.start, 3),
            "complete": complete,
            "digest": self.database.digest(),
        }


@contextmanager
def tuning_run(
    model: str,
    target: str,
    options: CompileOptions,
    database: ProfileDatabase,
    *,
    budget: float | None,
    threads: int | None,
    progress: Progress,
) -> Iterator[TuningRun]:
    """A run that measures on this machine; UnsupportedTarget if it is not the one that kernels are made for."""
    _check_chip(parse_target(target), options)
    database.store()  # makes the file
    given = replace(options, tuning=str(database.path)).to_dict()
    with tempfile.TemporaryDirectory(prefix="mlirfuse-tune-") as folder, WorkerPool(1) as pool:
        yield TuningRun(model, target, given, database, budget, threads, progress, folder, pool)


def _check_chip(target: Target, options: CompileOptions) -> None:
    """UnsupportedTarget unless this machine has the chip that kernels for `target` are made for."""
    wanted = backend_for(target).stage_options(target, options).device
    here = executor_class(target.kind).chip_here()
    if here != wanted:
        raise UnsupportedTarget(
            f"Kernels for {wanted} cannot be measured here: this machine has {here}; "
            f"give --target {target.kind}:{here}, or measure on a machine that has {wanted}."
        )
