"""`mlirfuse check`: for every node of a model, whether it has kernels, runs on the host, or is invalid."""

from __future__ import annotations

import argparse
from collections import Counter

from mlirfuse.cli import arguments
from mlirfuse.cli.display import Display, count
from mlirfuse.cli.model import model_of

HELP = "say of every node whether it compiles, runs on the host, or is invalid, and why"
_WORDS = {"native": "native", "fallback": "on the host", "invalid": "invalid"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser)
    arguments.add_shape(parser)
    parser.add_argument("--strict", action="store_true", help="exit status 1 if a node would run on the host")
    parser.add_argument("--all", action="store_true", help="list native nodes too")
    arguments.add_json(parser)


def execute(args: argparse.Namespace) -> int:
    from mlirfuse.frontend import check_model

    model = model_of(args.model)
    statuses = check_model(model.source, dict(args.shapes))
    counts = Counter(status.status for status in statuses)
    display = Display(args.json)
    listed = [s for s in statuses if args.all or s.status != "native"]
    summary = ", ".join(f"{counts[key]} {word}" for key, word in _WORDS.items())
    display.line(f"{model.name}: {count(len(statuses), 'node')}: {summary}", style="bold")
    if listed:
        rows = [(s.name, s.op_type, _WORDS.get(s.status, s.status), s.reason) for s in listed]
        display.table(["node", "operator", "status", "reason"], rows, left=("operator", "status", "reason"))
    nodes = [{"name": s.name, "op_type": s.op_type, "status": s.status, "reason": s.reason} for s in statuses]
    display.result({"model": model.name, "counts": {key: counts[key] for key in _WORDS}, "nodes": nodes})
    return int(counts["invalid"] > 0 or (args.strict and counts["fallback"] > 0))
