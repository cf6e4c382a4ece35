"""`mlirfuse diff`: every group against the references of its ops, the plan unchanged; names the first wrong one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from mlirfuse.cli import arguments
from mlirfuse.cli.display import Display, count
from mlirfuse.cli.inputs import add_inputs, input_arrays
from mlirfuse.cli.model import artifact_of, model_of
from mlirfuse.cli.progress import step_progress
from mlirfuse.errors import MlirfuseError

if TYPE_CHECKING:
    from mlirfuse.cli.group_errors import GroupError

HELP = "compare every group with the reference, the plan unchanged, and name the first that is wrong"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser)
    add_inputs(parser)
    parser.add_argument(
        "--tolerance",
        metavar="X",
        type=float,
        help="largest difference allowed, relative to the largest element (default: the limit of the precision, or of "
        "the coarsest type that the group rounds to)",
    )
    parser.add_argument("--all", action="store_true", help="list every group, not only those beyond the tolerance")
    arguments.add_running(parser)


def execute(args: argparse.Namespace) -> int:
    model = model_of(args.model)
    if model.kind == "artifact":
        raise MlirfuseError(
            f"{model.text} holds no ops to compare with; "
            "give the ONNX model that it was compiled from, with the same options."
        )
    from mlirfuse.cli.group_errors import group_errors
    from mlirfuse.cli.watched import watched
    from mlirfuse.compiler import emit
    from mlirfuse.runtime import load

    artifact = artifact_of(model, args)
    executable = load(watched(artifact), threads=args.threads, device=args.device)
    inputs = input_arrays(executable.inputs, args)
    outputs = executable.run(inputs)
    text, store = emit(model.source, artifact.target, arguments.compile_options(args), "scheduled")
    with step_progress(f"comparing {model.name}") as tell:
        errors = group_errors(str(text), store, inputs, outputs, artifact.precision, tell)
    if args.tolerance is not None:
        errors = [replace(e, limit=args.tolerance) for e in errors]
    wrong = [e for e in errors if not e.error <= e.limit]
    display = Display(args.json)
    _print(display, errors, wrong, args.all)
    display.result(
        {
            "model": artifact.model,
            "target": artifact.target,
            "tolerance": args.tolerance,
            "wrong": len(wrong),
            "first": asdict(wrong[0]) if wrong else None,
            "groups": [asdict(e) for e in errors],
        }
    )
    return int(bool(wrong))


def _print(display: Display, errors: Sequence[GroupError], wrong: Sequence[GroupError], everything: bool) -> None:
    listed = errors if everything else wrong
    if listed:
        columns = ["group", "nodes", "result of", "error", "found", "expected", "at"]
        display.table(columns, [_row(e) for e in listed], left=("nodes", "result of", "at"))
    if wrong:
        first = wrong[0]
        display.line(
            f"{count(len({e.group for e in wrong}), 'group')} beyond {_limits(wrong)}; "
            f"the first is group {first.group} ({' '.join(first.nodes)}), in the result of {first.node}",
            style="bold red",
        )
        return
    worst = max(errors, key=lambda e: e.error, default=None)
    largest = (
        f"; the largest error is {worst.error:.2g}, of group {worst.group} ({' '.join(worst.nodes)})" if worst else ""
    )
    display.line(
        f"{count(len({e.group for e in errors}), 'group')} within {_limits(errors)} of the references{largest}",
        style="green",
    )


def _limits(errors: Sequence[GroupError]) -> str:
    limits = sorted({e.limit for e in errors})
    return " or ".join(f"{limit:g}" for limit in limits) or "0"


def _row(entry: GroupError) -> list[Any]:
    values = ["" if value is None else f"{value:.6g}" for value in (entry.found, entry.expected)]
    return [
        entry.group,
        " ".join(entry.nodes),
        entry.node,
        entry.note or f"{entry.error:.2g}",
        *values,
        ",".join(map(str, entry.at)),
    ]
