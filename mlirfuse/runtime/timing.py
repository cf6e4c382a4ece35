"""How long an executable takes: samples reduced to a median and its spread."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Spread", "Timing", "sample_calls"]


@dataclass(frozen=True)
class Spread:
    """Median, 10th and 90th percentile in seconds."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        p10, median, p90 = np.percentile(np.asarray(samples, np.float64), [10, 50, 90])
        return cls(float(median), float(p10), float(p90))

    def to_dict(self) -> dict[str, float]:
        return {"median": self.median, "p10": self.p10, "p90": self.p90}


@dataclass(frozen=True)
class Timing:
    """Seconds per inference.

    `device` is the replay of bound buffers alone (on a GPU by its own clock), `copies` one whole `run` from
    host arrays to host arrays. `kernels` holds each launch's time in program order, where the target
    can tell them apart; a kernel launched twice is listed twice.
    """

    device: Spread
    copies: Spread
    runs: int
    kernels: Sequence[tuple[str, Spread]] = field(default_factory=tuple)

    @property
    def median(self) -> float:
        return self.device.median

    @property
    def p10(self) -> float:
        return self.device.p10

    @property
    def p90(self) -> float:
        return self.device.p90

    def to_dict(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            **self.device.to_dict(),
            "copies": self.copies.to_dict(),
            "kernels": [{"name": name, **spread.to_dict()} for name, spread in self.kernels],
        }


def sample_calls(call: Callable[[], Any], runs: int, warmup: int) -> list[float]:
    """Wall-clock seconds of each of `runs` calls, after `warmup` unmeasured ones."""
    for _ in range(warmup):
        call()
    samples = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        samples.append(time.perf_counter() - start)
    return samples
