"""Everything worth doing on a GPU machine, in two steps and in shards.

    python benchmarks/gpu.py prepare [--networks light/squeezenet,...] [--folder build/gpu]     # where the compiler is
    python benchmarks/gpu.py run [--folder build/gpu] [--minutes 9]                          # where the GPU is

`prepare` compiles and packs: artifacts with their PTX, but with seeded weights in place of the real ones (so that all
of it stays small), what the outputs have to be, and each network's graph for torch. `run` needs numpy and
cuda-bindings, and torch where it is to be raced. Each task is a process of its own:

    mlirfuse    outputs against the expected ones; latency of the replayed graph, with copies, and of every kernel
    race        groups that cross layers against their parts: the network compiled both ways, in turns; groups that are
                slower are named, and the exit status is then 1
    torch       the same network in torch: eager, and replayed as a CUDA graph
    compile     the same network by torch.compile
    sanitizer   one inference under compute-sanitizer's memcheck
    ncu         DRAM bytes of every kernel by Nsight Compute

A task that cannot be done here is skipped with its reason. Results are merged after each task; a task whose artifact
has not changed is not done again, so the same command goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if importlib.util.find_spec("mlirfuse") is None:  # a machine with the checkout alone
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from arguments import NAMES
from gpu_tasks import MANIFEST, TASKS, Skipped, device_facts
from measured import LIGHT_NETWORKS, RESULTS, Measured
from processes import entry_of, tell

DEFAULT_TASKS = tuple(task for task in TASKS if task != "once")  # what the tools look at


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    return args.step(args)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(required=True, metavar="STEP")
    folder = Path("build/gpu")

    step = steps.add_parser("prepare", help="compile and pack, where the compiler is")
    step.add_argument("--networks", default=None, help="default: light/* and the zoo's blocks", **NAMES)
    step.add_argument("--target", default="cuda:sm_90")
    step.add_argument("--folder", type=Path, default=folder)
    step.set_defaults(step=_prepare)

    step = steps.add_parser("run", help="measure, where the GPU is")
    step.add_argument("--networks", default=None, help="some of those that were prepared", **NAMES)
    step.add_argument("--tasks", default=DEFAULT_TASKS, help=", ".join(DEFAULT_TASKS), **NAMES)
    step.add_argument("--minutes", type=float, default=9.0, help="start no task after so long")
    step.add_argument("--folder", type=Path, default=folder)
    step.add_argument("--results", type=Path, default=RESULTS / "gpu.json")
    step.add_argument("--force", action="store_true", help="do again what has not changed")
    step.set_defaults(step=_run)

    step = steps.add_parser("task", help="one task, in this process")
    step.add_argument("task", choices=tuple(TASKS))
    step.add_argument("network")
    step.add_argument("--folder", type=Path, default=folder)
    step.set_defaults(step=_task)
    return parser.parse_args(argv)


def _prepare(args: argparse.Namespace) -> int:
    from gpu_prepare import prepare

    from mlirfuse import zoo

    networks = args.networks or (*(f"light/{name}" for name in LIGHT_NETWORKS), *zoo.blocks())
    manifest: dict[str, Any] = {"target": args.target, "networks": {}}
    args.folder.mkdir(parents=True, exist_ok=True)
    for network in networks:
        manifest["networks"][network] = entry = prepare(network, args.target, args.folder)
        sizes = ", ".join(f"{path} {(args.folder / path).stat().st_size / 1e6:.2f} MB" for path in entry["files"])
        print(f"{network}: {entry['launches']} launches of {entry['kernels']} kernels; {sizes}", flush=True)
    (args.folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    total = sum(path.stat().st_size for path in args.folder.iterdir())
    print(f"{args.folder}: {total / 1e6:.1f} MB in all")
    return 0


def _run(args: argparse.Namespace) -> int:
    manifest = json.loads((args.folder / MANIFEST).read_text())
    device = device_facts(manifest["target"])
    results = Measured(args.results, device)
    deadline = time.monotonic() + 60 * args.minutes
    left = 0
    # Task by task: whatever happens later, the first shard has every network's own figures.
    for task in args.tasks:
        for network in args.networks or manifest["networks"]:
            key, digest = f"{network} {task}", manifest["networks"][network]["digest"]
            if not args.force and results.is_current(key, digest=digest):
                continue
            if time.monotonic() > deadline:
                left += 1
                continue
            entry = _in_process(task, network, args.folder, max(60.0, deadline - time.monotonic()))
            results.put(key, {"network": network, "task": task, "digest": digest, **entry})
            print(f"{key}: {_summary(entry)}", flush=True)
    print(f"{args.results}: {len(results.entries)} tasks done on {device['device']}, {left} left for the next shard")
    slower = 0
    for network in (args.networks or manifest["networks"]) if "race" in args.tasks else ():
        for complaint in results.entries.get(f"{network} race", {}).get("slower", ()):
            print(f"{network}: slower than its parts: {complaint}")
            slower += 1
    return int(slower > 0)


def _in_process(task: str, network: str, folder: Path, timeout: float) -> dict[str, Any]:
    """The result of one task, {"skipped": reason} or {"failed": reason}."""
    command = [sys.executable, __file__, "task", task, network, "--folder", str(folder)]
    if task in ("sanitizer", "ncu"):
        tool = {"sanitizer": "compute-sanitizer", "ncu": "ncu"}[task]
        if shutil.which(tool) is None:
            return {"skipped": f"{tool} is not on the PATH"}
    return entry_of(command, timeout)


def _task(args: argparse.Namespace) -> int:
    try:
        entry = TASKS[args.task](args.network, args.folder)
    except Skipped as reason:
        entry = {"skipped": str(reason)}
    tell(entry)
    return 0


def _summary(entry: dict[str, Any]) -> str:
    for word in ("skipped", "failed"):
        if word in entry:
            return f"{word}: {entry[word]}"
    figures = [
        f"{name} {s['median'] * 1e6:.1f} us" for name, s in entry.items() if isinstance(s, dict) and "median" in s
    ]
    figures += [f"error {entry['error']:.1e}"] if "error" in entry else []
    return ", ".join(figures) or "done"


if __name__ == "__main__":
    sys.exit(main())
