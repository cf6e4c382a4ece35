"""`mlirfuse run`: compile if needed, run once, say what came out, how long it takes and whether it is right."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlirfuse.cli import arguments
from mlirfuse.cli.display import Display, count, milliseconds
from mlirfuse.cli.inputs import add_inputs, input_arrays
from mlirfuse.cli.model import Model, artifact_of, model_of
from mlirfuse.errors import MlirfuseError

if TYPE_CHECKING:
    from mlirfuse.cli.accuracy import Comparison
    from mlirfuse.runtime import Executable, Timing

HELP = "run a network on given or random inputs; --check compares its outputs with ONNX Runtime"
RUNS = 20
SLOW = 2.0  # seconds of one inference from which on it is not repeated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser)
    add_inputs(parser)
    parser.add_argument("--check", action="store_true", help="compare every output with ONNX Runtime, or else onnx's reference evaluator; exit status 1 beyond the limit")
    parser.add_argument("--reference", metavar="MODEL", help="the ONNX model that --check runs, where MODEL is an artifact")
    arguments.add_runs(parser, f"inferences to time (default {RUNS}, fewer for slow ones)")
    parser.add_argument("-o", "--output", metavar="FILE.npz", help="write the outputs, as NumPy's savez does")
    arguments.add_threads(parser)
    arguments.add_compile_options(parser)
    arguments.add_json(parser)


def execute(args: argparse.Namespace) -> int:
    from mlirfuse.runtime import load

    display = Display(args.json)
    model = model_of(args.model)
    if args.check:
        _reference_model(model, args)  # before anything takes time
    executable = load(artifact_of(model, args), threads=args.threads)
    inputs = input_arrays(executable.inputs, args)
    start = time.perf_counter()
    outputs = {name: _on_host(value) for name, value in executable.run(inputs).items()}
    first = time.perf_counter() - start
    timing = _time(executable, inputs, first, args.runs)

    report = executable.report().to_dict()
    checked, by, note = _check(model, args, executable, inputs, outputs) if args.check else (None, "", "")
    _print(display, executable, report, outputs, first, timing, checked, by, note)
    if args.output:
        _save(args.output, outputs)
    display.result(_data(executable, report, outputs, first, timing, checked, by, note))
    return int(checked is not None and not checked.ok)


def _time(executable: Executable, inputs: Mapping[str, Any], first: float, runs: int | None) -> Timing | None:
    """A few inferences more; None where the first was slow and nobody asked for more."""
    if runs is None:
        if first > SLOW:
            return None
        runs = max(3, min(RUNS, int(SLOW / max(first, 1e-9))))
    return executable.benchmark(runs, inputs, warmup=min(3, runs))


def _on_host(value: Any) -> Any:
    import numpy as np

    return np.asarray(value)


# --- check ----------------------------------------------------------------------------------------


def _reference_model(model: Model, args: argparse.Namespace) -> Model:
    if args.reference:
        return model_of(args.reference)
    if model.kind == "artifact":
        raise MlirfuseError(f"{model.text} holds no ONNX model to compare with; give it with --reference MODEL.")
    return model


def _check(model: Model, args: argparse.Namespace, executable: Executable, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> tuple[Comparison, str, str]:
    from mlirfuse.cli.accuracy import compare
    from mlirfuse.cli.oracle import expected_outputs

    shapes = executable.artifact.options.get("shapes", {})
    expected = expected_outputs(_reference_model(model, args).source, shapes, inputs)
    return compare(outputs, expected.outputs, executable.artifact.precision), expected.by, expected.note


# --- output ---------------------------------------------------------------------------------------


def _print(
    display: Display, executable: Executable, report: Mapping[str, Any], outputs: Mapping[str, Any], first: float,
    timing: Timing | None, checked: Comparison | None, by: str, note: str,
) -> None:  # fmt: skip
    totals = report.get("totals", {})
    parts = [executable.target, executable.artifact.precision]
    if "launches" in totals:
        parts += [count(totals["groups"], "group"), count(totals["launches"], "launch", "launches"), count(totals["kernels"], "kernel")]
    display.line(f"{executable.artifact.model}: {', '.join(parts)}", style="bold")
    if fallbacks := report.get("fallbacks"):
        display.line(f"{count(len(fallbacks), 'node')} on the host, without kernels: {', '.join(fallbacks)}", style="yellow")
    columns = ["output", "type", "shape", "min", "max", "mean"] + (["error"] if checked else [])
    rows = []
    for name, array in outputs.items():
        facts = _summary(array)
        row = [name, facts["dtype"], "x".join(map(str, facts["shape"])) or "scalar", *(_number(facts[k]) for k in ("min", "max", "mean"))]
        if checked:
            row.append(checked.notes.get(name) or _number(checked.errors.get(name)))
        rows.append(row)
    display.table(columns, rows, left=("type", "shape"))
    threads = f", {count(executable.threads, 'thread')}" if executable.target == "cpu" else ""
    if timing is None:
        display.line(f"time    {milliseconds(first)} (the first run{threads})")
    else:
        spread = f"median of {timing.runs}, 10 % below {milliseconds(timing.p10)}, 90 % below {milliseconds(timing.p90)}{threads}"
        display.line(f"time    {milliseconds(timing.median)} ({spread})")
    if checked is not None:
        verdict = "within" if checked.ok else "BEYOND"
        display.line(
            f"error   {checked.worst:.2g} of the largest output against {by}, {verdict} the limit of {checked.limit:g} for {executable.artifact.precision}",
            style="green" if checked.ok else "bold red",
        )
        if note:
            display.line(f"        {note}")


def _data(
    executable: Executable, report: Mapping[str, Any], outputs: Mapping[str, Any], first: float,
    timing: Timing | None, checked: Comparison | None, by: str, note: str,
) -> dict[str, Any]:  # fmt: skip
    return {
        "model": executable.artifact.model,
        "target": executable.target,
        "precision": executable.artifact.precision,
        "threads": executable.threads,
        "outputs": [{"name": name, **_summary(array)} for name, array in outputs.items()],
        "first_seconds": first,
        "seconds": None if timing is None else {k: v for k, v in timing.to_dict().items() if k != "kernels"},
        "check": None if checked is None else {"against": by, "note": note, **checked.to_dict()},
        "fallbacks": list(report.get("fallbacks", [])),
        "totals": dict(report.get("totals", {})),
    }


def _summary(array: Any) -> dict[str, Any]:
    """Shape, type and range; the range is None for what has no numbers."""
    import numpy as np

    facts: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape), "min": None, "max": None, "mean": None}
    if array.size and array.dtype.kind in "fiub" or array.dtype.name == "bfloat16":
        values = array.astype(np.float64)
        facts |= {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
    return facts


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _save(path: str, outputs: Mapping[str, Any]) -> None:
    import io

    import numpy as np

    from mlirfuse.cli.display import write_file

    buffer = io.BytesIO()
    np.savez(buffer, **outputs)
    write_file(path, buffer.getvalue())
