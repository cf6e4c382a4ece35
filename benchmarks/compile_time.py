"""How long compiling takes, with an empty kernel cache and again with a full one.

    python benchmarks/compile_time.py [--networks light/squeezenet,mobilebert-s384] [--targets cpu,cuda:sm_90]

Each compilation is a process of its own, its cache a folder that is removed. The time is from the start of `mlirfuse
compile` to its end, by the clock and by what the processors did for it and its workers; stages are those of the report,
`planned` being graph rewriting and planning together. Results go to results/compile_time.json.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arguments import NAMES, parser_for
from measured import Measured, machine, versions

from mlirfuse import zoo
from mlirfuse.cli.race import environment

NETWORKS = ("light/squeezenet", "light/densenet121", "mobilebert-s384", "gpt2-s384-fine", "yolov4", "maskrcnn")
TARGETS = ("cuda:sm_90", "cpu")


def main(argv: Sequence[str] | None = None) -> int:
    parser = parser_for(__doc__, "compile_time.json", NETWORKS, force=False)
    parser.add_argument("--targets", default=TARGETS, **NAMES)
    args = parser.parse_args(argv)
    results = Measured(args.results, machine())
    titles = ("launches", "kernels", "cold s", "CPU s", "warm s", "CPU s", "planning")
    print(f"{'network':20}{'target':12}{''.join(f'{title:>9}' for title in titles)}")
    for network in args.networks:
        for target in args.targets:
            entry = measure(network, target)
            results.put(f"{network} {target}", entry)
            times = [entry[f"{run}_{kind}"] for run in ("cold", "warm") for kind in ("seconds", "cpu_seconds")]
            shown = "".join(f"{seconds:>9.2f}" for seconds in (*times, entry["warm_stages"]["planned"]))
            print(f"{network:20}{target:12}{entry['launches']:>9}{entry['kernels']:>9}{shown}", flush=True)
    return 0


def measure(network: str, target: str) -> dict[str, Any]:
    """One network for one target: a cold and a warm compilation."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="mlirfuse-bench-") as folder:
        model = Path(folder) / "model.onnx"
        onnx.save(zoo.build(network), model)
        cold, report = _compile(model, target, Path(folder))
        warm, again = _compile(model, target, Path(folder))
    totals = report["totals"]
    return {
        "network": network,
        "target": target,
        "launches": totals["launches"],
        "kernels": totals["kernels"],
        **{f"cold_{name}": value for name, value in cold.items()},
        **{f"warm_{name}": value for name, value in warm.items()},
        "cold_stages": report["compile_seconds"],
        "warm_stages": again["compile_seconds"],
        "versions": versions(["torch-mlir", "llvmlite"]),
    }


def _compile(model: Path, target: str, folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds of `mlirfuse compile` from its start to its end, and what it says of its work."""
    where = environment(MLIRFUSE_CACHE_DIR=str(folder / "cache"))
    made, facts = folder / "made.mlirfuse", folder / "facts.json"
    command = [sys.executable, "-m", "mlirfuse", "compile", str(model), "--target", target, "-o", str(made)]
    start, before = time.perf_counter(), _cpu_seconds()
    subprocess.run([*command, "--json", str(facts)], check=True, env=where, stdout=subprocess.DEVNULL)
    taken = {"seconds": time.perf_counter() - start, "cpu_seconds": _cpu_seconds() - before}
    return {name: round(seconds, 3) for name, seconds in taken.items()}, json.loads(facts.read_text())


def _cpu_seconds() -> float:
    """What processors did, for this process's children and theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
