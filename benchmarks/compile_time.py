"""How long compiling takes, with an empty kernel cache and again with a full one.

    python benchmarks/compile_time.py [--networks squeezenet,densenet121] [--targets cpu,cuda:sm_90]

Each compilation is a process of its own, its cache a folder that is removed. The time is from the start of `mlirfuse
compile` to its end, by the clock; stages are those of the report. Results go to results/compile_time.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measured import RESULTS, Measured, machine, versions

import mlirfuse
from mlirfuse import zoo

NETWORKS = ("squeezenet", "densenet121")
TARGETS = ("cuda:sm_90", "cpu")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=lambda text: tuple(text.split(",")), default=NETWORKS)
    parser.add_argument("--targets", type=lambda text: tuple(text.split(",")), default=TARGETS)
    parser.add_argument("--results", type=Path, default=RESULTS / "compile_time.json")
    args = parser.parse_args(argv)
    results = Measured(args.results, machine())
    print(f"{'network':14}{'target':12}{'launches':>9}{'kernels':>9}{'cold s':>9}{'warm s':>9}")
    for network in args.networks:
        for target in args.targets:
            entry = measure(network, target)
            results.put(f"{network} {target}", entry)
            counts = f"{entry['launches']:>9}{entry['kernels']:>9}"
            print(
                f"{network:14}{target:12}{counts}{entry['cold_seconds']:>9.2f}{entry['warm_seconds']:>9.2f}", flush=True
            )
    return 0


def measure(network: str, target: str) -> dict[str, Any]:
    """One network for one target: a cold and a warm compilation."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="mlirfuse-bench-") as folder:
        model = Path(folder) / f"{network}.onnx"
        onnx.save(zoo.build(f"light/{network}"), model)
        cold, report = _compile(model, target, Path(folder))
        warm, again = _compile(model, target, Path(folder))
    totals = report["totals"]
    return {
        "network": network,
        "target": target,
        "launches": totals["launches"],
        "kernels": totals["kernels"],
        "cold_seconds": round(cold, 3),
        "warm_seconds": round(warm, 3),
        "cold_stages": report["compile_seconds"],
        "warm_stages": again["compile_seconds"],
        "versions": versions(["torch-mlir", "llvmlite"]),
    }


def _compile(model: Path, target: str, folder: Path) -> tuple[float, dict[str, Any]]:
    """Seconds of `mlirfuse compile` from its start to its end, and what it says of its work."""
    home = str(Path(mlirfuse.__file__).parent.parent)
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "MLIRFUSE_CACHE_DIR": str(folder / "cache")}
    made, facts = folder / "made.mlirfuse", folder / "facts.json"
    command = [sys.executable, "-m", "mlirfuse", "compile", str(model), "--target", target, "-o", str(made)]
    start = time.perf_counter()
    subprocess.run([*command, "--json", str(facts)], check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, json.loads(facts.read_text())


if __name__ == "__main__":
    sys.exit(main())
