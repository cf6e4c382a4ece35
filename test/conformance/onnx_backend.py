"""Run onnx's backend cases on a target, in shards that can be resumed.

    python test/conformance/onnx_backend.py --target cpu --results build/conformance/cpu.jsonl --shard 3/16
    python test/conformance/onnx_backend.py --target cpu test_relu

Each line of the results is one case: its name, category, operator, status and, unless it is native, the reason.

native      every node became kernels (or was computed by the compiler), and the outputs are as expected
parameters  so with the shapes, axes and bounds that the case gives at run time as initializers; on the host as given
fallback    some nodes run on the host, and the outputs are as expected
differs     other outputs than expected, for a known reason (see onnx_cases.DIFFERENCES)
excluded    not a network of numeric tensors (see onnx_cases.exclusion)
fail        an error, or other outputs than expected
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.runner import Runner
from onnx_cases import DIFFERENCES, Case, exclusion, frozen, load_cases, rounding

from mlirfuse.compiler import compile_here
from mlirfuse.frontend import check_model
from mlirfuse.options import CompileOptions
from mlirfuse.runtime import load

__all__ = ["Result", "read_results", "run_case", "run_shard"]

CHECKED_ELEMENTS = 20_000  # the simulator looks for races in cases up to this size


@dataclass(frozen=True)
class Result:
    """What became of one case on one target."""

    name: str
    kind: str
    operator: str
    status: str
    reason: str = ""
    seconds: float = 0.0


def run_case(case: Case, target: str) -> Result:
    """Compile, run and compare one case."""
    start = time.perf_counter()

    def result(status: str, reason: str = "") -> Result:
        return Result(case.name, case.kind, case.operator, status, reason, round(time.perf_counter() - start, 3))

    if why := exclusion(case):
        return result("excluded", why)
    try:
        on_host = False
        for inputs, outputs in case.data():
            on_host |= _agrees(case, case.model, inputs, outputs, target)
        if not on_host:
            return result("native")
        reason = _reasons(case.model, _open(case.model, inputs))
        variants = [_agrees(case, model, inputs, outputs, target) for model, inputs, outputs in frozen(case)]
        return result("parameters" if variants and not any(variants) else "fallback", reason)
    except Exception as error:  # whatever goes wrong is this case's result
        if isinstance(error, AssertionError) and case.name in DIFFERENCES:
            return result("differs", DIFFERENCES[case.name])
        return result("fail", f"{type(error).__name__}: {_first_lines(str(error))}")


def _agrees(case: Case, model: onnx.ModelProto, inputs: list[Any], outputs: list[Any], target: str) -> bool:
    """Run a model and compare; whether some of it ran on the host."""
    options = CompileOptions(cache_dir="", shapes=_open(model, inputs), workers=1)
    artifact = compile_here(model, target, options)
    executable = load(artifact, threads=1) if target == "cpu" else load(artifact)
    elements = sum(int(np.size(v)) for v in (*inputs, *outputs))
    if target != "cpu" and elements <= CHECKED_ELEMENTS:
        executable._executor.mode = "check"
    given = _given(model, inputs)
    found = executable.run({spec.name: np.asarray(given[spec.name]) for spec in executable.inputs})
    with np.errstate(all="ignore"):
        Runner.assert_similar_outputs(outputs, list(found.values()), case.rtol, rounding(case, outputs))
    return bool(artifact.report["totals"]["fallback_nodes"])


def _given(model: onnx.ModelProto, inputs: list[Any]) -> dict[str, Any]:
    """The inputs by name."""
    constant = {i.name for i in model.graph.initializer}
    return dict(zip([v.name for v in model.graph.input if v.name not in constant], inputs, strict=False))


def _open(model: onnx.ModelProto, inputs: list[Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of those inputs that the model leaves open."""
    given = _given(model, inputs)
    return {
        value.name: np.shape(given[value.name])
        for value in model.graph.input
        if value.name in given and not all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)
    }


def _reasons(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> str:
    """Why nodes of a model run on the host."""
    found = {f"{s.op_type}: {s.reason}": None for s in check_model(model, shapes) if s.status == "fallback"}
    return "; ".join(found)


def _first_lines(text: str) -> str:
    return " ".join(text.split())[:400]


# --- shards -----------------------------------------------------------------------------------------


def read_results(path: Path) -> dict[str, Result]:
    """Results by name; a case that was begun but did not end crashed the process."""
    found: dict[str, Result] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        data = json.loads(line)
        if "begun" in data:
            found[data["begun"]] = Result(data["begun"], data["kind"], data["operator"], "fail", "crashed the process")
        else:
            found[data["name"]] = Result(**data)
    return found


def run_shard(cases: Iterable[Case], target: str, path: Path) -> None:
    """Run the cases that have no result in `path` yet, adding one line each."""
    done = read_results(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as out:
        for case in cases:
            if case.name in done:
                continue
            print(json.dumps({"begun": case.name, "kind": case.kind, "operator": case.operator}), file=out, flush=True)
            print(json.dumps(asdict(run_case(case, target))), file=out, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--shard", default="1/1", help="K/N: every N-th case, beginning with the K-th")
    parser.add_argument("names", nargs="*", help="only these cases; results are printed")
    given = parser.parse_args(arguments)
    number, count = (int(part) for part in given.shard.split("/"))
    cases = load_cases()
    if given.names:
        for case in cases:
            if case.name in given.names:
                print(run_case(case, given.target))
        return 0
    run_shard(cases[number - 1 :: count], given.target, given.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
