"""Compile one group through the ordinary pipeline, and time it. Both run in processes of their own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlirfuse.runtime.timing import Spread

__all__ = ["CandidateFailed", "Job", "Measured", "compile_candidate", "measure_candidate"]

_ROUND_RUNS = 20
_MIN_ROUNDS = 3
_MAX_ROUNDS = 15
_TOLERANCE = 1e-4  # of the largest result: schedules may add in another order
_ROUND_SECONDS = 0.3  # what measuring one group may take, beyond the least number of rounds


class CandidateFailed(Exception):
    """This group cannot be compiled or run by itself; planning goes on by the model."""


@dataclass(frozen=True)
class Job:
    """A candidate in `folder` and how to compile and run it.

    KEY.mlir holds ungrouped operations, or with a `schedule` (JSON, "" for the chosen one) the group that takes it.
    """

    folder: str
    key: str
    target: str
    options: dict[str, Any]
    threads: int | None
    schedule: str | None = None

    def __str__(self) -> str:
        return (Path(self.folder) / f"{self.key}.mlir").read_text()


@dataclass(frozen=True)
class Measured:
    """Seconds of one group: the median of `runs`, and the 10th and 90th percentile."""

    seconds: float
    p10: float
    p90: float
    runs: int


@dataclass(frozen=True)
class _Network:
    """What the end of the pipeline asks of an imported model."""

    name: str
    nodes: tuple[str, ...] = ()


def compile_candidate(job: Job) -> None:
    """KEY.mlir to KEY.mlirfuse; CandidateFailed if it does not become one kernel."""
    from mlirfuse.compiler import Compilation
    from mlirfuse.dialect import WeightStore
    from mlirfuse.errors import MlirfuseError
    from mlirfuse.lowering.passes import run_pipeline
    from mlirfuse.lowering.pipeline.stages import pipeline_for
    from mlirfuse.lowering.plan.summary import summarize_plan
    from mlirfuse.mlir import context, ir
    from mlirfuse.options import CompileOptions, parse_target
    from mlirfuse.targets import backend_for
    from mlirfuse.tuning.candidates import CANDIDATE
    from mlirfuse.tuning.groups import after_layouts, set_schedule

    folder, target = Path(job.folder), parse_target(job.target)
    options = CompileOptions.from_dict({**job.options, "workers": 1})
    compilation = Compilation(job.key, target, options)
    backend = backend_for(target)
    stage_options = backend.stage_options(target, options)
    store = WeightStore()
    store.load(folder / f"{job.key}.safetensors")
    try:
        with context(), store.active():
            module = ir.Module.parse((folder / f"{job.key}.mlir").read_text())
            scheduling = pipeline_for("scheduled", stage_options)
            if job.schedule is None:
                run_pipeline(module, ["fusion-form-groups", "fusion-fuse"])
                groups = [row for row in summarize_plan(module.operation).groups if CANDIDATE in row.onnx_nodes]
                if len(groups) != 1:
                    raise CandidateFailed(f"it makes {len(groups)} groups")
                run_pipeline(module, scheduling)
            else:
                run_pipeline(module, ["fusion-form-groups"])
                set_schedule(module, job.schedule)
                after_layouts(scheduling)[1].run(module)
            run_pipeline(module, pipeline_for("kernels", stage_options))
            artifact = backend.finish(compilation, module, store, _Network(job.key[:12]))
        artifact.save(folder / f"{job.key}.mlirfuse")
    except MlirfuseError as error:
        raise CandidateFailed(str(error)) from None


def measure_candidate(job: Job) -> Measured:
    """The time of the candidate's launch in KEY.mlirfuse: the median over rounds of the rounds' medians."""
    import numpy as np

    from mlirfuse.runtime import load
    from mlirfuse.tuning.candidates import CANDIDATE

    executable = load(Path(job.folder) / f"{job.key}.mlirfuse", threads=job.threads)
    if job.schedule is not None:
        _check_results(executable, Path(job.folder) / f"{job.key}.npz", job.schedule == "")
    launch = [row["name"] for row in executable.artifact.report["kernels"]].index(CANDIDATE)
    rounds: list[Spread] = []
    start = time.perf_counter()
    while len(rounds) < _MIN_ROUNDS or (len(rounds) < _MAX_ROUNDS and time.perf_counter() - start < _ROUND_SECONDS):
        timing = executable.benchmark(_ROUND_RUNS, warmup=3)
        if len(timing.kernels) <= launch:
            raise CandidateFailed(f"the target '{job.target}' does not time launches one by one")
        rounds.append(timing.kernels[launch][1])
    seconds = float(np.median([spread.median for spread in rounds]))
    p10, p90 = min(spread.p10 for spread in rounds), max(spread.p90 for spread in rounds)
    return Measured(seconds, p10, p90, _ROUND_RUNS * len(rounds))


def _check_results(executable: Any, path: Path, first: bool) -> None:
    """CandidateFailed unless a schedule computes what the first one did: a search prefers nothing that is wrong."""
    import numpy as np

    from mlirfuse.runtime.inputs import random_inputs

    outputs = executable.run(*random_inputs(executable.inputs))
    if first:
        np.savez(path, **outputs)
        return
    with np.load(path) as expected:
        for name, value in outputs.items():
            limit = _TOLERANCE * max(1.0, float(np.abs(expected[name]).max(initial=0)))
            if not np.allclose(value, expected[name], rtol=0, atol=limit, equal_nan=True):
                raise CandidateFailed("its results differ from those of the chosen schedule")
