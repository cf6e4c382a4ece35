"""Racing runtimes fairly: each measurement is a process of its own, and the runtimes take turns.

Two runtimes in one process disturb each other: worker threads spin for a while after a call and take the cores of the
next one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlirfuse
from mlirfuse.errors import MlirfuseError

__all__ = ["Contestant", "Lap", "Standing", "environment", "geometric_mean", "lap", "race"]


@dataclass(frozen=True)
class Contestant:
    """A runtime and the file that it loads."""

    peer: str
    model: str


@dataclass(frozen=True)
class Lap:
    """One process: load, warm up, run for at least `seconds` and `least_runs`. `inputs` is a .npz file."""

    inputs: str
    threads: int
    seconds: float = 1.0
    least_runs: int = 10
    most_runs: int = 1000
    warmup: int = 5
    timeout: float = 600.0


@dataclass
class Standing:
    """What one contestant did over all rounds; `median` is the median of its processes' medians, in seconds."""

    peer: str
    version: str = ""
    rounds: list[dict[str, float]] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(r["median"] for r in self.rounds)

    def to_dict(self) -> dict[str, Any]:
        spread = {
            key: statistics.median(r[key] for r in self.rounds) for key in ("median", "p10", "p90", "load_seconds")
        }
        return {"peer": self.peer, "version": self.version, **spread, "rounds": [r["median"] for r in self.rounds]}


def race(
    contestants: Sequence[Contestant],
    conditions: Lap,
    rounds: int,
    tell: Callable[[str], None] = lambda text: None,
    outputs: Mapping[str, str] | None = None,
) -> list[Standing]:
    """`rounds` turns of every contestant. `outputs` names a .npz file for those whose results are wanted."""
    standings = [Standing(c.peer) for c in contestants]
    for number in range(rounds):
        for contestant, standing in zip(contestants, standings, strict=True):
            tell(f"round {number + 1} of {rounds}, {contestant.peer}")
            wanted = (outputs or {}).get(contestant.peer) if number == 0 else None
            result = lap(contestant, conditions, wanted)
            standing.version = result.pop("version")
            standing.rounds.append(result)
    return standings


def lap(contestant: Contestant, conditions: Lap, outputs: str | None = None) -> dict[str, Any]:
    """One process of one contestant: version, load_seconds, median, p10, p90, runs."""
    job = json.dumps({**asdict(conditions), **asdict(contestant), "outputs": outputs})
    command = [sys.executable, "-m", "mlirfuse.cli.race_process"]
    try:
        done = subprocess.run(
            command, input=job, capture_output=True, text=True, timeout=conditions.timeout, env=environment()
        )
    except subprocess.TimeoutExpired:
        raise MlirfuseError(
            f"{contestant.peer} did not finish {contestant.model} in {conditions.timeout:.0f} s."
        ) from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise MlirfuseError(f"{contestant.peer} cannot run {contestant.model}: {said[-1][:500]}")
    return json.loads(done.stdout.splitlines()[-1])


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean of ratios."""
    return statistics.geometric_mean(ratios)


def environment(**variables: str) -> dict[str, str]:
    """With which a child finds this very package, wherever the parent got it from; and with more variables."""
    home = str(Path(mlirfuse.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, **variables}
