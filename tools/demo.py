"""`make demo`: compile a network once, check it, list its launches, and sum up what was seen in one table.

python tools/demo.py [MODEL]        # default zoo:light/squeezenet
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlirfuse.cli.display import Display, count, milliseconds, size
from mlirfuse.cli.main import main as mlirfuse

MODEL = "zoo:light/squeezenet"


def main(argv: Sequence[str]) -> int:
    """The exit status of the first step that fails, else 0."""
    model = argv[0] if argv else MODEL
    with tempfile.TemporaryDirectory(prefix="mlirfuse-demo-") as folder:
        artifact, facts = str(Path(folder) / "network.mlirfuse"), Path(folder) / "run.json"
        for step in (
            ["compile", model, "--strict", "-o", artifact],
            ["report", artifact],
            ["run", artifact, "--check", "--reference", model, "--json", str(facts)],
        ):
            status = mlirfuse(step)
            if status != 0:
                return status
        summary(model, json.loads(facts.read_text()))
    return 0


def summary(model: str, run: dict[str, Any]) -> None:
    """The last table: groups, kernels, time and error."""
    totals, check = run["totals"], run["check"]
    seconds = (run["seconds"] or {"median": run["first_seconds"]})["median"]
    rows = [
        ("nodes of the model", totals["nodes_imported"]),
        ("groups", totals["groups"]),
        ("launches", totals["launches"]),
        ("distinct kernels", totals["kernels"]),
        ("nodes on the host", totals["fallback_nodes"]),
        ("memory traffic", size(totals["dram_bytes"])),
        (f"time, {count(run['threads'], 'thread')}", milliseconds(seconds)),
        (f"error against {check['against']}", f"{check['error']:.1e} (limit {check['limit']:g})"),
    ]
    Display().table([model, run["target"]], rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
