"""`mlirfuse bench`: latency and throughput, alone or against other runtimes in alternating processes."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlirfuse.cli import arguments
from mlirfuse.cli.display import Display, amount, count, milliseconds
from mlirfuse.cli.model import Model, artifact_of, model_of
from mlirfuse.cli.progress import step_progress
from mlirfuse.device import usable_cores
from mlirfuse.errors import MlirfuseError

if TYPE_CHECKING:
    from mlirfuse.artifact import Artifact
    from mlirfuse.cli.race import Standing

HELP = "measure latency and throughput, with --against those of other runtimes too"
RUNS = 100
ROUNDS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser)
    parser.add_argument(
        "--against",
        metavar="PEER,...",
        type=arguments.names,
        default=(),
        help="race onnxruntime, openvino, torch, torch-compile, each in processes of its own that take turns",
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=arguments.positive,
        default=ROUNDS,
        help=f"turns of each runtime (default {ROUNDS})",
    )
    arguments.add_runs(parser, f"inferences, in a race at least so many in each turn (default {RUNS}, in a race 10)")
    parser.add_argument("--kernels", action="store_true", help="list the time of every launch, without --against")
    parser.add_argument("--seed", metavar="N", type=arguments.seed, default=0, help="seed of random inputs (default 0)")
    arguments.add_running(parser)


def execute(args: argparse.Namespace) -> int:
    from mlirfuse.cli.peers import missing

    model = model_of(args.model)
    skipped = {name: reason for name in args.against if (reason := missing(name))}
    if args.against and model.kind == "artifact":
        raise MlirfuseError(
            f"{model.text} holds no ONNX model for other runtimes; give the model that it was compiled from."
        )
    artifact = artifact_of(model, args)
    display = Display(args.json)
    peers = [name for name in args.against if name not in skipped]
    data = _race(display, model, artifact, peers, args) if args.against else _alone(display, artifact, args)
    for name, reason in skipped.items():
        display.line(f"skipped {name}: {reason}", style="yellow")
    display.result(
        {
            "model": artifact.model,
            "target": artifact.target,
            "precision": artifact.precision,
            "skipped": skipped,
            **data,
        }
    )
    return 0


# --- alone ----------------------------------------------------------------------------------------


def _alone(display: Display, artifact: Artifact, args: argparse.Namespace) -> dict[str, Any]:
    from mlirfuse.runtime import load
    from mlirfuse.runtime.inputs import random_inputs

    executable = load(artifact, threads=args.threads, device=args.device)
    timing = executable.benchmark(args.runs or RUNS, random_inputs(executable.inputs, args.seed))
    batch = _batch(artifact)
    threads = f", {count(executable.threads, 'thread')}" if executable.chooses_threads else ""
    display.line(
        f"{artifact.model}: {artifact.target}, {artifact.precision}{threads}, {count(timing.runs, 'run')}", style="bold"
    )
    rows = [
        (label, milliseconds(s.median), milliseconds(s.p10), milliseconds(s.p90), amount(batch / s.median, "/s"))
        for label, s in (("bound buffers", timing.device), ("with copies", timing.copies))
    ]
    display.table(["", "median", "10 %", "90 %", "inferences"], rows)
    if args.kernels:
        total = sum(spread.median for _, spread in timing.kernels) or 1.0
        launches = [(name, milliseconds(s.median), f"{s.median / total:.1%}") for name, s in timing.kernels]
        display.table(["launch", "median", "share"], launches)
        if not launches:
            display.line("no launch was timed by itself: the device tells no times", style="yellow")
    return {
        "threads": executable.threads,
        "batch": batch,
        "throughput": batch / timing.median,
        "seconds": timing.to_dict(),
    }


def _batch(artifact: Artifact) -> int:
    """Inferences in one run: the leading extent that all inputs share, else 1."""
    leading = {spec.shape[0] if spec.shape else 1 for spec in artifact.inputs}
    first = leading.pop() if len(leading) == 1 else 1
    return first or 1


# --- a race ---------------------------------------------------------------------------------------


def _race(
    display: Display, model: Model, artifact: Artifact, peers: Sequence[str], args: argparse.Namespace
) -> dict[str, Any]:
    from mlirfuse.cli.arrays import pack_arrays
    from mlirfuse.cli.peers import SELF
    from mlirfuse.cli.race import Contestant, Lap, race
    from mlirfuse.runtime.inputs import random_inputs

    threads = args.threads or usable_cores()
    with tempfile.TemporaryDirectory(prefix="mlirfuse-bench-") as folder, step_progress(f"racing {model.name}") as tell:
        own = Path(folder) / "own.mlirfuse"
        artifact.save(own)
        inputs = dict(zip([s.name for s in artifact.inputs], random_inputs(artifact.inputs, args.seed), strict=True))
        (Path(folder) / "inputs.npz").write_bytes(pack_arrays(inputs))
        onnx_file = _onnx_file(model, artifact, Path(folder)) if peers else ""
        contestants = [Contestant(SELF, str(own)), *(Contestant(p, onnx_file) for p in peers)]
        conditions = Lap(str(Path(folder) / "inputs.npz"), threads, least_runs=args.runs or 10)
        standings = race(contestants, conditions, args.rounds, tell)
    batch = _batch(artifact)
    conditions_text = f"{count(threads, 'thread')}, {count(args.rounds, 'round')}"
    display.line(f"{artifact.model}: {artifact.target}, {artifact.precision}, {conditions_text}", style="bold")
    rows = [_row(s, standings[0], batch) for s in standings]
    display.table(
        ["runtime", "version", "median", "10 %", "90 %", "inferences", "load", "ratio"], rows, left=("version",)
    )
    ratios = {s.peer: standings[0].median / s.median for s in standings[1:]}
    return {
        "threads": threads,
        "batch": batch,
        "rounds": args.rounds,
        "standings": [s.to_dict() for s in standings],
        "ratios": ratios,
    }


def _row(standing: Standing, own: Standing, batch: int) -> list[Any]:
    facts = standing.to_dict()
    times = [milliseconds(facts[key]) for key in ("median", "p10", "p90")]
    ratio = None if standing is own else f"{own.median / standing.median:.2f}"
    return [
        standing.peer,
        standing.version,
        *times,
        amount(batch / standing.median, "/s"),
        milliseconds(facts["load_seconds"]),
        ratio,
    ]


def _onnx_file(model: Model, artifact: Artifact, folder: Path) -> str:
    """A file that every runtime can read: the model's own, or one with the shapes that were asked for."""
    shapes = artifact.options.get("shapes", {})
    if not shapes:
        return str(Path(model.source).absolute())
    import onnx

    from mlirfuse.cli.oracle import bound_model

    path = folder / "model.onnx"
    onnx.save(bound_model(model.source, shapes), path)
    return str(path)
