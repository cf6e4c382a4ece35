"""`mlirfuse report`: what every launch is and moves, and the totals; of several models, the totals side by side."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from mlirfuse.cli import arguments
from mlirfuse.cli.counting import count_traffic
from mlirfuse.cli.display import Display, amount, count, milliseconds, size
from mlirfuse.cli.model import artifact_of, model_of
from mlirfuse.cli.overrides import print_overrides
from mlirfuse.errors import MlirfuseError

HELP = "list every launch with its work and traffic, and the totals"

_TOTALS = (
    ("nodes imported", "nodes_imported", None),
    ("operations", "ops", None),
    ("groups", "groups", None),
    ("launches", "launches", None),
    ("distinct kernels", "kernels", None),
    ("copies", "copies", None),
    ("nodes on the host", "fallback_nodes", None),
    ("  values copied for them", "host_copies", None),
    ("  of bytes", "host_copy_bytes", "B"),
    ("work", "flops", "FLOP"),
    ("work done again", "recomputed_flops", "FLOP"),
    ("memory traffic", "dram_bytes", "B"),
    ("  of it weights", "dram_weight_bytes", "B"),
    ("  of it inputs", "dram_input_bytes", "B"),
    ("  of it outputs", "dram_output_bytes", "B"),
    ("  of it intermediates", "dram_intermediate_bytes", "B"),
    ("  no program could move less than", "compulsory_bytes", "B"),
    ("all requests to memory", "global_bytes", "B"),
    ("intermediates stored", "intermediate_bytes", "B"),
    ("intermediates stored without fusion", "intermediate_bytes_unfused", "B"),
    ("weights", "weight_bytes", "B"),
    ("arena", "arena_bytes", "B"),
)


_COLUMNS = (
    ("launches", "launches", str),
    ("kernels", "kernels", str),
    ("groups", "groups", str),
    ("on the host", "fallback_nodes", str),
    ("work", "flops", lambda n: amount(n, "FLOP")),
    ("traffic", "dram_bytes", size),
    ("intermediates", "intermediate_bytes", size),
    ("without fusion", "intermediate_bytes_unfused", size),
    ("arena", "arena_bytes", size),
    ("weights", "weight_bytes", size),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help=".onnx file, .mlirfuse artifact or zoo:NAME; several give a table"
    )
    arguments.add_compile_options(parser)
    arguments.add_json(parser)


def execute(args: argparse.Namespace) -> int:
    display = Display(args.json)
    if len(args.models) == 1:
        report = _report(args.models[0], args)
        _print(display, report)
        display.result(report)
        return 0
    return _several(display, args)


def _several(display: Display, args: argparse.Namespace) -> int:
    """One line for each model: one that fails does not stop the others, and makes the status 1."""
    rows: list[dict[str, Any]] = []
    for text in args.models:
        try:
            rows.append({"given": text, "report": _report(text, args), "error": None})
        except (MlirfuseError, OSError) as error:
            message = " ".join(str(error).split())
            rows.append({"given": text, "report": None, "error": message})
            print(f"mlirfuse: error: {text}: {message}", file=sys.stderr, flush=True)
    display.table(["model", *(label for label, _, _ in _COLUMNS), "compiled in"], map(_line, rows))
    failed = [row["given"] for row in rows if row["error"] is not None]
    if failed:
        display.line(f"{len(failed)} of {count(len(rows), 'model')} failed: {', '.join(failed)}", style="red")
    display.result({"reports": rows, "failed": len(failed)})
    return 1 if failed else 0


def _line(row: Mapping[str, Any]) -> list[Any]:
    if row["report"] is None:
        return [row["given"], "failed", *[None] * len(_COLUMNS)]
    totals = row["report"].get("totals", {})
    cells = [None if totals.get(key) is None else show(totals[key]) for _, key, show in _COLUMNS]
    seconds = row["report"].get("compile_seconds")
    return [row["given"], *cells, milliseconds(sum(seconds.values())) if seconds else None]


def _report(text: str, args: argparse.Namespace) -> Mapping[str, Any]:
    model = model_of(text)
    try:
        artifact = artifact_of(model, args)
        return count_traffic(artifact)
    finally:
        model.discard()


def _print(display: Display, report: Mapping[str, Any]) -> None:
    kernels = report.get("kernels", ())
    assembled = any(kernel.get("registers") is not None for kernel in kernels)
    resident = any(kernel.get("occupancy") is not None for kernel in kernels)
    display.line(
        f"{report.get('model', '?')}: {report.get('target', '?')}, {report.get('precision', '?')}", style="bold"
    )
    columns = ["launch", "operators", "mode", "mapping", "grid", "block", "work", "read", "written"]
    columns += ["shared", "registers", "spilled"] if assembled else []
    columns += ["blocks", "occupancy"] if resident else []
    rows = [_row(kernel, assembled, resident) for kernel in kernels]
    display.table(columns, rows, left=("operators", "mode", "mapping", "grid", "block"))
    totals = report.get("totals", {})
    listed = [
        (label, totals[key] if unit is None else amount(totals[key], unit))
        for label, key, unit in _TOTALS
        if totals.get(key) is not None
    ]
    display.table(["total", ""], listed)
    if fallbacks := report.get("fallbacks"):
        display.line(
            f"{count(len(fallbacks), 'node')} on the host, without kernels: {', '.join(fallbacks)}", style="yellow"
        )
    print_overrides(display, report.get("overrides", ()))
    seconds = report.get("compile_seconds", {})
    if seconds:
        stages = ", ".join(f"{stage} {milliseconds(s)}" for stage, s in seconds.items())
        display.line(f"compiled in {milliseconds(sum(seconds.values()))}: {stages}")


def _row(kernel: Mapping[str, Any], assembled: bool, resident: bool) -> list[Any]:
    row = [kernel["name"], " ".join(kernel["ops"]), kernel.get("mode"), kernel.get("mapping")]
    row += [_extents(kernel.get("grid")), _extents(kernel.get("block"))]
    row += [amount(kernel["flops"], "FLOP") if kernel.get("flops") else None]
    row += [size(kernel.get("dram_read_bytes")), size(kernel.get("dram_write_bytes"))]
    row += [size(kernel.get("shared_bytes")), kernel.get("registers"), kernel.get("spill_bytes")] * assembled
    return [*row, *([kernel.get("blocks"), _occupancy(kernel)] * resident)]


def _occupancy(kernel: Mapping[str, Any]) -> str | None:
    """The share of a multiprocessor's threads that a kernel keeps, and what limits it."""
    share = kernel.get("occupancy")
    return None if share is None else f"{share:.0%} ({kernel['occupancy_limit']})"


def _extents(sizes: Any) -> str:
    """49x2 for a grid of 49 by 2 by 1."""
    known = [n for n in sizes or () if n is not None]
    while len(known) > 1 and known[-1] == 1:
        known.pop()
    return "x".join(map(str, known))
