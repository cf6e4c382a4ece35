"""The tasks of `gpu.py run`, each on the files that `prepare` left. None of them needs the compiler."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gpu_race import measure_race

from mlirfuse.cli.accuracy import LIMITS, relative_error
from mlirfuse.cli.arrays import read_arrays
from mlirfuse.runtime import Spread, load
from mlirfuse.runtime.inputs import random_inputs

__all__ = ["MANIFEST", "TASKS", "Skipped", "device_facts", "file_names"]

MANIFEST = "manifest.json"
RUNS, WARMUP = 200, 20
NCU_METRICS = "dram__bytes_read.sum,dram__bytes_write.sum,gpu__time_duration.sum"


class Skipped(Exception):
    """Why a task cannot be done on this machine."""


def file_names(network: str) -> tuple[str, str, str]:
    """Artifact, expected outputs and graph of a network."""
    name = network.replace("/", "_")
    return f"{name}.mlirfuse", f"{name}.expected.npz", f"{name}.graph.json"


def device_facts(target: str) -> dict[str, Any]:
    """The GPU and its driver. Where the target is no GPU (a rehearsal), the results say so."""
    if not target.startswith("cuda"):
        return {"device": f"{target}: no GPU, a rehearsal"}
    query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm,clocks.max.memory", "--format=csv,noheader"]
    if shutil.which(query[0]) is None:
        raise SystemExit("There is no nvidia-smi here: run this step on a machine with an NVIDIA GPU.")
    said = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    name, driver, core, memory = (part.strip() for part in said.split(","))
    return {"device": name, "driver": driver, "max_core_clock": core, "max_memory_clock": memory}


# --- mlirfuse -------------------------------------------------------------------------------------


def measure_mlirfuse(network: str, folder: Path) -> dict[str, Any]:
    """Outputs against the expected ones, and times."""
    executable, inputs, error = _checked(network, folder)
    slow = executable.target.split(":")[0] != "cuda"
    timing = executable.benchmark(1 if slow else RUNS, inputs, warmup=0 if slow else WARMUP)
    return {
        "error": error,
        "device": timing.device.to_dict(),
        "copies": timing.copies.to_dict(),
        "kernels": [{"name": name, **spread.to_dict()} for name, spread in timing.kernels],
        "kernels_total": sum(spread.median for _, spread in timing.kernels),
    }


def race(network: str, folder: Path) -> dict[str, Any]:
    """The network with groups that cross layers and without, in turns, after a check of its outputs."""
    _checked(network, folder)
    return measure_race(network, folder, file_names(network)[0])


def _checked(network: str, folder: Path) -> tuple[Any, list[Any], float]:
    """The loaded network, its inputs, and its error; an error beyond the limit fails the task."""
    artifact_file, expected_file, _ = file_names(network)
    executable = load(folder / artifact_file)
    inputs = random_inputs(executable.inputs)
    found = {name: np.asarray(value) for name, value in executable.run(*inputs).items()}
    expected = read_arrays(str(folder / expected_file))
    error = max(relative_error(found.get(name), array)[0] for name, array in expected.items())
    limit = LIMITS[executable.artifact.precision]
    if not error <= limit:
        raise SystemExit(
            f"{network}: the error is {error:.2g}, beyond the limit of {limit:g}; times would mean nothing"
        )
    return executable, inputs, error


# --- torch ----------------------------------------------------------------------------------------


def measure_torch(network: str, folder: Path) -> dict[str, Any]:
    """Eager, and the same recorded as a CUDA graph; fp32 without and with TF32."""
    torch, model, inputs = _torch_network(network, folder)
    found: dict[str, Any] = {"version": torch.__version__}
    for name, tf32 in (("fp32", False), ("tf32", True)):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        with torch.inference_mode():
            found[f"eager_{name}"] = _torch_times(torch, lambda: model(*inputs))
            found[f"graph_{name}"] = _torch_times(torch, _recorded(torch, model, inputs))
    return found


def measure_torch_compile(network: str, folder: Path) -> dict[str, Any]:
    """torch.compile with CUDA graphs (mode reduce-overhead), fp32."""
    torch, model, inputs = _torch_network(network, folder)
    compiled = torch.compile(model, mode="reduce-overhead")
    start = time.perf_counter()
    with torch.inference_mode():
        try:
            compiled(*inputs)
        except Exception as error:  # whatever torch's compilers raise where a tool of theirs is missing
            raise Skipped(f"torch.compile: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
        seconds = time.perf_counter() - start
        times = _torch_times(torch, lambda: compiled(*inputs))
    return {"version": torch.__version__, "compile_seconds": seconds, "compiled_fp32": times}


def _torch_network(network: str, folder: Path) -> tuple[Any, Any, list[Any]]:
    if importlib.util.find_spec("torch") is None:
        raise Skipped("torch is not installed")
    import torch

    from mlirfuse.cli.torch_network import Graph, network_of

    if not torch.cuda.is_available():
        raise Skipped("torch sees no GPU")
    data = json.loads((folder / file_names(network)[2]).read_text())
    if "refused" in data:
        raise Skipped(data["refused"])
    rng = np.random.default_rng(0)
    weights = {name: _weight(facts, rng) for name, facts in data["weights"].items()}
    model = network_of(Graph.from_dict(data["graph"]), weights).eval().cuda()
    executable_inputs = random_inputs(load_specs(network, folder))
    return torch, model, [torch.from_numpy(array).cuda() for array in executable_inputs]


def load_specs(network: str, folder: Path) -> Any:
    """The inputs of the artifact, without loading it on a device."""
    from mlirfuse.artifact import Artifact

    return Artifact.load(folder / file_names(network)[0]).inputs


def _weight(facts: dict[str, Any], rng: Any) -> Any:
    if "values" in facts:
        return np.array(facts["values"], facts["dtype"])
    return (rng.standard_normal(facts["shape"], np.float32) * facts["std"] + facts["mean"]).astype(np.float32)


def _recorded(torch: Any, model: Any, inputs: list[Any]) -> Callable[[], None]:
    """The network as a CUDA graph."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            model(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model(*inputs)
    return graph.replay


def _torch_times(torch: Any, call: Callable[[], Any]) -> dict[str, float]:
    """Seconds of single calls by the GPU's clock."""
    for _ in range(WARMUP):
        call()
    torch.cuda.synchronize()
    samples = []
    for _ in range(RUNS):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        samples.append(start.elapsed_time(stop) * 1e-3)
    return Spread.of(samples).to_dict()


# --- NVIDIA's tools -------------------------------------------------------------------------------


def run_once(network: str, folder: Path) -> dict[str, Any]:
    """One checked inference: what the tools below look at."""
    return {"error": _checked(network, folder)[2]}


def measure_sanitizer(network: str, folder: Path) -> dict[str, Any]:
    """One inference under memcheck; any fault fails the task."""
    done = _under(["compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9"], network, folder)
    tail = done.stdout.strip().splitlines()[-4:]
    if done.returncode == 9:
        raise SystemExit(f"memcheck found faults: {' | '.join(tail)}")
    if done.returncode != 0:
        raise Skipped(f"compute-sanitizer does not work here: {' | '.join(tail)}")
    return {"memcheck": "no faults"}


def measure_ncu(network: str, folder: Path) -> dict[str, Any]:
    """DRAM bytes and time of every launch of one inference, by the hardware's counters."""
    command = ["ncu", "--csv", "--page", "raw", "--metrics", NCU_METRICS, "--clock-control", "none"]
    done = _under(command, network, folder)
    table = [line for line in done.stdout.splitlines() if line.startswith('"')]
    if done.returncode != 0 or len(table) < 3:
        said = (done.stderr or done.stdout).strip().splitlines()[-2:]
        raise Skipped(f"ncu does not work here: {' | '.join(said)}")
    rows = list(csv.DictReader(io.StringIO("\n".join(table))))[1:]  # the first row holds the units
    names = NCU_METRICS.split(",")
    return {
        "units": dict(zip(names, _units(table, names), strict=True)),
        "launches": [_ncu_row(row, names) for row in rows],
    }


def _units(table: list[str], names: list[str]) -> list[str]:
    first = next(csv.DictReader(io.StringIO("\n".join(table))))
    return [first[name] for name in names]


def _ncu_row(row: dict[str, str], names: list[str]) -> dict[str, Any]:
    return {"kernel": row["Kernel Name"], **{name: float(row[name].replace(",", "")) for name in names}}


def _under(tool: list[str], network: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("gpu.py")
    command = [*tool, sys.executable, str(script), "task", "once", network, "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


TASKS: dict[str, Callable[[str, Path], dict[str, Any]]] = {
    "mlirfuse": measure_mlirfuse,
    "race": race,
    "torch": measure_torch,
    "compile": measure_torch_compile,
    "sanitizer": measure_sanitizer,
    "ncu": measure_ncu,
    "once": run_once,
}
