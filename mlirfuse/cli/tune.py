"""`mlirfuse tune`: measure plans or schedules, into a database that compiling reads; list and merge databases."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

from mlirfuse.cli import arguments
from mlirfuse.cli.display import Display, count
from mlirfuse.cli.model import model_of
from mlirfuse.cli.progress import step_progress
from mlirfuse.errors import MlirfuseError
from mlirfuse.options import environment

HELP = "search schedules, or measure fusion's open questions, on this machine, into a database"
FILE = "profile.db"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", help=".onnx file or zoo:NAME")
    parser.add_argument(
        "--profile", action="store_true", help="measure whether groups pay together or apart, instead of schedules"
    )
    parser.add_argument(
        "--trials", metavar="N", type=arguments.positive, help="schedules to measure for each group (default 16)"
    )
    parser.add_argument(
        "--database", metavar="FILE", help=f"the profile database (default: {FILE} in the cache folder)"
    )
    parser.add_argument(
        "--budget", metavar="SECONDS", type=seconds, help="start no measurement after this (default: measure all)"
    )
    parser.add_argument(
        "--merge", metavar="OTHER", action="append", default=[], help="take the measurements of another database"
    )
    parser.add_argument("--list", action="store_true", dest="listing", help="show the database; takes no MODEL")
    arguments.add_compile_options(parser)
    arguments.add_threads(parser)
    arguments.add_json(parser)


def execute(args: argparse.Namespace) -> int:
    from mlirfuse.lowering.profile import ProfileDatabase

    if args.profile and (args.model is None or args.trials):
        raise MlirfuseError("--profile measures the open questions of a MODEL, and has no --trials.")
    if args.model and args.listing:
        raise MlirfuseError("--list measures nothing: name the file by --database, and leave the MODEL out.")
    if not (args.model or args.merge or args.listing):
        raise MlirfuseError(
            "tune needs to know what to do: a MODEL searches schedules, with --profile it measures what fusion leaves "
            "open, --merge OTHER joins databases, --list shows one."
        )
    database = ProfileDatabase(Path(args.database) if args.database else environment().cache_dir / FILE)
    display = Display(args.json)
    result: dict[str, Any] = {"database": str(database.path)}
    for other in args.merge:
        came = database.merge(ProfileDatabase(Path(other)))
        display.line(f"{count(came, 'measurement')} from {other} into {database.path}")
        result.setdefault("merged", {})[other] = came
    if args.model:
        result |= _tune(args, database, display)
    if args.listing:
        result |= _list(database, display)
    display.result(result)
    return 0


def _tune(args: argparse.Namespace, database: Any, display: Display) -> dict[str, Any]:
    from mlirfuse.options import parse_target
    from mlirfuse.tuning import TRIALS, tune_profile, tune_schedules

    if args.tuning:
        raise MlirfuseError("tune reads the database that it writes: name it by --database, and leave --tuning out.")
    if args.threads:  # planning looks measurements up by it, in processes of its own too
        os.environ["MLIRFUSE_THREADS"] = str(args.threads)
    target = args.target or arguments.DEFAULT_TARGET
    parse_target(target)
    model = model_of(args.model)
    options = arguments.compile_options(args)
    settings: dict[str, Any] = {"budget": args.budget, "threads": args.threads}
    with step_progress(f"tuning {model.name}") as progress:
        if args.profile:
            summary: Any = tune_profile(model.source, target, options, database, progress=progress, **settings)
            done = (
                f"{count(summary.measured, 'group')} measured in {summary.seconds:.1f} s, "
                f"{summary.answered} of {count(summary.questions, 'question')} of planning answered by {database.path}"
            )
        else:
            trials = args.trials or TRIALS
            summary = tune_schedules(
                model.source, target, options, database, trials=trials, progress=progress, **settings
            )
            done = (
                f"{count(summary.searched, 'group')} searched in {summary.seconds:.1f} s, {summary.improved} of them "
                f"have a faster schedule in {database.path}; together they take {1 / summary.gain:.0%} of the time"
            )
    display.line(f"{model.name} for {target}: {done}")
    for label, why in summary.failed.items():
        display.line(f"not measured: {label}: {why}")
    if not summary.complete:
        display.line("The budget is spent; the same command goes on where this one ended.")
    return {"model": model.name, "target": target, **summary.to_dict()}


def _list(database: Any, display: Display) -> dict[str, Any]:
    rows = database.measurements()
    digest = database.digest()
    display.line(f"{database.path}: {count(len(rows), 'measurement')}, digest {digest[:16]}", style="bold")
    cells = []
    for m in rows:
        spread = (m.p90 - m.p10) / m.seconds
        cells.append(
            [m.key[:12], _operators(m), _micro(m.seconds), f"{spread:.0%}", m.runs, m.device, m.compiler, m.date]
        )
    if cells:
        display.table(
            ["group", "operators", "median", "spread", "runs", "device", "compiler", "measured"],
            cells,
            left=("operators", "device", "compiler", "measured"),
        )
    found = database.schedules()
    if found:
        display.line(f"{count(len(found), 'schedule')} found", style="bold")
        display.table(
            ["group", "operators", "median", "chosen before", "trials", "device", "compiler", "schedule"],
            [
                [s.key[:12], _operators(s), _micro(s.seconds), _micro(s.chosen_seconds), s.trials, s.device, s.compiler,
                 s.schedule or "as chosen"]
                for s in found
            ],
            left=("operators", "device", "compiler", "schedule"),
        )  # fmt: skip
    names = ("key", "device", "compiler", "seconds", "p10", "p90", "runs", "date", "tool")
    kept = ("key", "device", "compiler", "schedule", "seconds", "chosen_seconds", "trials", "date", "tool")
    return {
        "digest": digest,
        "measurements": [{name: getattr(m, name) for name in names} for m in rows],
        "schedules": [{name: getattr(s, name) for name in kept} for s in found],
    }


def _operators(row: Any) -> str:
    return " ".join(_operator(text) for text, *_ in json.loads(row.structure)["ops"])


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us"


def _operator(text: list[Any]) -> str:
    """binary.add 8x16x16: the op, its kind and the shape of its result."""
    op, attributes, _, result = text
    kind = attributes.get("kind")
    return f"{op}{f'.{kind}' if isinstance(kind, str) else ''}:{result}"


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, found '{text}'")
    return value
