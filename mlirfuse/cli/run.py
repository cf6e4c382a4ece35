"""`mlirfuse run`: compile if needed, run once, say what came out, how long it takes and whether it is right."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlirfuse.cli import arguments
from mlirfuse.cli.display import Display, count, milliseconds
from mlirfuse.cli.inputs import add_inputs, input_arrays
from mlirfuse.cli.model import Model, artifact_of, model_of
from mlirfuse.errors import MlirfuseError
from mlirfuse.files import write_file

if TYPE_CHECKING:
    from mlirfuse.cli.accuracy import Comparison
    from mlirfuse.cli.oracle import Expected
    from mlirfuse.runtime import Executable, Timing

HELP = "run a network on given or random inputs; --check compares its outputs with ONNX Runtime"
RUNS = 20
SLOW = 2.0  # seconds of one inference from which on it is not repeated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser)
    add_inputs(parser)
    check = (
        "compare the outputs with ONNX Runtime, else with onnx's reference evaluator; exit status 1 beyond the limit"
    )
    parser.add_argument("--check", action="store_true", help=check)
    reference = "the ONNX model that --check runs, where MODEL is an artifact"
    parser.add_argument("--reference", metavar="MODEL", help=reference)
    arguments.add_runs(parser, f"inferences to time (default {RUNS}, fewer for slow ones)")
    parser.add_argument("-o", "--output", metavar="FILE.npz", help="write the outputs, as numpy.load reads them")
    arguments.add_running(parser)


@dataclass(frozen=True)
class Outcome:
    """One run: `first` is the seconds of the first inference, `timing` those of more, if there were more."""

    executable: Executable
    outputs: Mapping[str, Any]
    first: float
    timing: Timing | None
    expected: Expected | None
    checked: Comparison | None


def execute(args: argparse.Namespace) -> int:
    from mlirfuse.runtime import load

    display = Display(args.json)
    model = model_of(args.model)
    reference = _reference_model(model, args) if args.check else None  # before anything takes time
    executable = load(artifact_of(model, args), threads=args.threads, device=args.device)
    outcome = _run(executable, input_arrays(executable.inputs, args), args.runs, reference)
    _print(display, outcome)
    if args.output:
        _save(args.output, outcome.outputs)
    display.result(_data(outcome))
    return int(outcome.checked is not None and not outcome.checked.ok)


def _reference_model(model: Model, args: argparse.Namespace) -> Model:
    if args.reference:
        return model_of(args.reference)
    if model.kind == "artifact":
        raise MlirfuseError(f"{model.text} holds no ONNX model to compare with; give it with --reference MODEL.")
    return model


def _run(executable: Executable, inputs: Mapping[str, Any], runs: int | None, reference: Model | None) -> Outcome:
    import numpy as np

    start = time.perf_counter()
    outputs = {name: np.asarray(value) for name, value in executable.run(inputs).items()}
    first = time.perf_counter() - start
    timing = _time(executable, inputs, first, runs)
    expected = checked = None
    if reference is not None:
        from mlirfuse.cli.accuracy import compare, rounded_types
        from mlirfuse.cli.oracle import expected_outputs

        expected = expected_outputs(reference.source, executable.artifact.options.get("shapes", {}), inputs)
        rounded = rounded_types(executable.artifact.explained())
        checked = compare(outputs, expected.outputs, executable.artifact.precision, rounded)
    return Outcome(executable, outputs, first, timing, expected, checked)


def _time(executable: Executable, inputs: Mapping[str, Any], first: float, runs: int | None) -> Timing | None:
    """A few inferences more; None where the first was slow and nobody asked for more."""
    if runs is None:
        if first > SLOW:
            return None
        runs = max(3, min(RUNS, int(SLOW / max(first, 1e-9))))
    return executable.benchmark(runs, inputs, warmup=min(3, runs))


# --- output ---------------------------------------------------------------------------------------


def _print(display: Display, outcome: Outcome) -> None:
    report = outcome.executable.report().to_dict()
    display.line(_title(outcome.executable, report.get("totals", {})), style="bold")
    if fallbacks := report.get("fallbacks"):
        display.line(f"{count(len(fallbacks), 'node')} on the host, without kernels: {', '.join(fallbacks)}", "yellow")
    columns = ["output", "type", "shape", "min", "max", "mean", *(["error"] if outcome.checked else [])]
    rows = [_output_row(name, array, outcome.checked) for name, array in outcome.outputs.items()]
    display.table(columns, rows, left=("type", "shape"))
    display.line(f"time    {_time_text(outcome)}")
    if outcome.checked is not None and outcome.expected is not None:
        checked = outcome.checked
        verdict = f"{'within' if checked.ok else 'BEYOND'} the limit of {checked.limit:g} for {checked.precision}"
        text = f"error   {checked.worst:.2g} of the largest output against {outcome.expected.by}, {verdict}"
        display.line(text, style="green" if checked.ok else "bold red")
        if outcome.expected.note:
            display.line(f"        {outcome.expected.note}")


def _title(executable: Executable, totals: Mapping[str, Any]) -> str:
    parts = [executable.target, executable.artifact.precision]
    for key, noun, plural in (
        ("groups", "group", None),
        ("launches", "launch", "launches"),
        ("kernels", "kernel", None),
    ):
        if key in totals:
            parts.append(count(totals[key], noun, plural))
    return f"{executable.artifact.model}: {', '.join(parts)}"


def _output_row(name: str, array: Any, checked: Comparison | None) -> list[str]:
    facts = _summary(array)
    shape = "x".join(map(str, facts["shape"])) or "scalar"
    row = [name, facts["dtype"], shape, *(_number(facts[key]) for key in ("min", "max", "mean"))]
    return row if checked is None else [*row, checked.notes.get(name) or _number(checked.errors.get(name))]


def _time_text(outcome: Outcome) -> str:
    executable, timing = outcome.executable, outcome.timing
    threads = f", {count(executable.threads, 'thread')}" if executable.chooses_threads else ""
    if timing is None:
        return f"{milliseconds(outcome.first)} (the first run{threads})"
    spread = f"10 % below {milliseconds(timing.p10)}, 90 % below {milliseconds(timing.p90)}"
    return f"{milliseconds(timing.median)} (median of {timing.runs}, {spread}{threads})"


def _data(outcome: Outcome) -> dict[str, Any]:
    executable, timing = outcome.executable, outcome.timing
    report = executable.report().to_dict()
    check = None
    if outcome.checked is not None and outcome.expected is not None:
        check = {"against": outcome.expected.by, "note": outcome.expected.note, **outcome.checked.to_dict()}
    return {
        "model": executable.artifact.model,
        "target": executable.target,
        "precision": executable.artifact.precision,
        "threads": executable.threads,
        "outputs": [{"name": name, **_summary(array)} for name, array in outcome.outputs.items()],
        "first_seconds": outcome.first,
        "seconds": None if timing is None else {k: v for k, v in timing.to_dict().items() if k != "kernels"},
        "check": check,
        "fallbacks": list(report.get("fallbacks", [])),
        "totals": dict(report.get("totals", {})),
    }


def _summary(array: Any) -> dict[str, Any]:
    """Shape, type and range; the range is None for what has no numbers."""
    import numpy as np

    facts: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    facts |= {"min": None, "max": None, "mean": None}
    if array.size and (array.dtype.kind in "fiub" or array.dtype.name == "bfloat16"):
        values = array.astype(np.float64)
        facts |= {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
    return facts


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _save(path: str, outputs: Mapping[str, Any]) -> None:
    from mlirfuse.cli.arrays import pack_arrays

    write_file(path, pack_arrays(outputs))
