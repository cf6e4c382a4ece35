"""Small models compiled for a target and run, and what ONNX Runtime answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime

from mlirfuse.artifact import Artifact
from mlirfuse.compiler import compile_here
from mlirfuse.options import CompileOptions
from mlirfuse.runtime import load

__all__ = ["Case", "RandomModel", "compare", "compiled", "expected_of", "outputs_of"]

LIMIT = 1e-4  # of the largest element, or of one


class Case(Protocol):
    """A model, and an array for each of its inputs."""

    model: onnx.ModelProto
    arrays: dict[str, Any]


@dataclass(repr=False)
class RandomModel:
    """A case that hypothesis shows as the text of its graph."""

    model: onnx.ModelProto
    arrays: dict[str, Any]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def __repr__(self) -> str:
        return onnx.printer.to_text(self.model.graph)


def compiled(case: Case, target: str, cache: str, **options: Any) -> Artifact:
    """The case compiled without any fallback, its kernels kept in the folder `cache`."""
    return compile_here(case.model, target, CompileOptions(cache_dir=cache, workers=1, strict=True, **options))


def outputs_of(artifact: Artifact, case: Case, *, threads: int | None = 1) -> dict[str, Any]:
    """What the compiled case gives; on the simulator, races and accesses out of bounds are errors."""
    executable = load(artifact, threads=threads) if artifact.target == "cpu" else load(artifact)
    if artifact.target.partition(":")[0] == "simulator":
        executable._executor.mode = "check"
    return executable.run(case.arrays)


def expected_of(case: Case) -> Sequence[Any]:
    """ONNX Runtime's answers: the reference evaluator normalises only the first channels in LRN."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(case.model.SerializeToString(), options).run(None, case.arrays)


def compare(found: Mapping[str, Any], expected: Sequence[Any], way: object = "") -> None:
    """AssertionError that names the way of compiling, if an output is not what is expected."""
    for (name, got), wanted in zip(found.items(), expected, strict=True):
        assert got.shape == wanted.shape, f"{way}: {name} is {got.shape}"
        error = float(np.abs(got.astype(np.float64) - wanted).max(initial=0))
        assert error <= LIMIT * max(1.0, float(np.abs(wanted).max(initial=0))), f"{way}: {name} is off by {error}"
