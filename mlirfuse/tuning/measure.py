"""Compile one group through the ordinary pipeline, and time it. Both run in processes of their own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CandidateFailed", "Job", "Measured", "compile_candidate", "measure_candidate"]

_ROUND_RUNS = 20
_MIN_ROUNDS = 3
_MAX_ROUNDS = 15
_ROUND_SECONDS = 0.3  # what measuring one group may take, beyond the least number of rounds


class CandidateFailed(Exception):
    """This group cannot be compiled or run by itself; planning goes on by the model."""


@dataclass(frozen=True)
class Job:
    """A candidate in `folder` and how to compile and run it."""

    folder: str
    key: str
    target: str
    options: dict[str, Any]
    threads: int | None

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
            run_pipeline(module, ["fusion-form-groups", "fusion-fuse"])
            if (launches := summarize_plan(module.operation).launches) != 1:
                raise CandidateFailed(f"it makes {launches} groups")
            for stage in ("scheduled", "kernels"):
                run_pipeline(module, pipeline_for(stage, stage_options))
            artifact = backend.finish(compilation, module, store, _Network(job.key[:12]))
        artifact.save(folder / f"{job.key}.mlirfuse")
    except MlirfuseError as error:
        raise CandidateFailed(str(error)) from None


def measure_candidate(job: Job) -> Measured:
    """The time of the only launch of KEY.mlirfuse: the median over rounds of the rounds' medians."""
    import numpy as np

    from mlirfuse.runtime import load

    executable = load(Path(job.folder) / f"{job.key}.mlirfuse", threads=job.threads)
    rounds: list[tuple[float, Any]] = []
    start = time.perf_counter()
    while len(rounds) < _MIN_ROUNDS or (len(rounds) < _MAX_ROUNDS and time.perf_counter() - start < _ROUND_SECONDS):
        timing = executable.benchmark(_ROUND_RUNS, warmup=3)
        kernels = timing.by_kernel()
        rounds.append((sum(kernels.values()), timing) if kernels else (timing.median, timing))
    seconds = float(np.median([median for median, _ in rounds]))
    spreads = [[spread for _, spread in timing.kernels] or [timing.device] for _, timing in rounds]
    p10 = min(sum(s.p10 for s in spread) for spread in spreads)
    p90 = max(sum(s.p90 for s in spread) for spread in spreads)
    return Measured(seconds, p10, p90, _ROUND_RUNS * len(rounds))
