"""Run many random blocks once, and write down what they were made of and how many were right.

PYTHONPATH=.:test/unit:test/unit/cpu python test/conformance/block_counts.py [--shards 58] [--size 100]
    [--results build/random_blocks] [--part 0/1]

Shard n draws its cases from seed n; a shard that has a file in the results' folder is not run again. `--part i/k` runs
every k-th shard, for several processes at once. With all there, `random_blocks.md` and `.json` are written beside this
file.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from block_runs import gpu_schedule, host_schedule, refusal
from group_runs import run_gpu, run_host
from random_blocks import RandomBlock, random_blocks
from random_cases import each_of

SUMMARY = Path(__file__).with_name("random_blocks.json")
COMMAND = "PYTHONPATH=.:test/unit:test/unit/cpu python test/conformance/block_counts.py"
EVERY = 5  # one block in so many is compiled for the CPU too
LEGEND = """\
Random acyclic groups of convolutions, pools, sums, concatenations, shuffles and more, cut into random tiles
(`random_blocks.py`). Each is compiled as one kernel and run on the simulator with its checks of races and bounds, every
fifth as native code too, and compared with the ops' definitions. Half the schedules are the compiler's, half are drawn.
"""


def run_shard(shard: int, size: int) -> dict[str, Any]:
    """What was drawn from one seed, and what came of it."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("cases", "steps", "stages", "refused", "runs")}
    failures: list[str] = []

    def check(block: RandomBlock) -> None:
        counts["cases"]["drawn"] += 1
        if why := refusal(block):
            counts["refused"][why if "not cut" not in why else "outputs are not cut into tiles together"] += 1
            return
        assert not isinstance(block.stages, str)
        counts["steps"] += Counter(dict.fromkeys(block.kinds, 1))
        counts["stages"][str(len(block.stages))] += 1
        counts["cases"]["one kernel"] += 1
        on_host = counts["cases"]["one kernel"] % EVERY == 0
        for target, schedule, run in (("simulator", gpu_schedule, run_gpu), ("cpu", host_schedule, _native))[
            : 1 + on_host
        ]:
            counts["runs"][f"{target}, {_outcome(block, schedule, run, failures)}"] += 1

    each_of(random_blocks(), size, check, shard)
    return {"shard": shard, **{name: dict(found) for name, found in counts.items()}, "failures": failures}


def _native(block: RandomBlock, schedule: Any) -> str | None:
    return next(iter(run_host(block, [schedule]).values()))


def _outcome(
    block: RandomBlock,
    choose: Callable[[RandomBlock], Any],
    run: Callable[[RandomBlock, Any], str | None],
    failures: list[str],
) -> str:
    how = "drawn" if block.seed % 2 else "chosen"
    try:
        schedule = choose(block)
        if schedule is None:
            return f"{how} schedule: not legal"
        wrong = run(block, schedule)
    except Exception:
        wrong = traceback.format_exc(limit=-3)
    if wrong is None:
        walks = getattr(schedule, "walk", 1) > 1
        return f"{how} schedule{', in walks' if walks else ''}: equal"
    failures.append(f"{block!r}\n{wrong}")
    return "different"


# --- summary ------------------------------------------------------------------------------------------


def merged(shards: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The sums over all shards."""
    found: dict[str, Any] = {
        "command": COMMAND,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "hypothesis": hypothesis.__version__,
        },
        "seeds": [],
    }
    totals: dict[str, Counter[str]] = {}
    failures: list[str] = []
    for shard in shards:
        found["seeds"].append(shard["shard"])
        failures += shard["failures"]
        for name in ("cases", "runs", "stages", "steps", "refused"):
            totals.setdefault(name, Counter()).update(shard[name])
    found |= {name: dict(sorted(counts.items(), key=lambda c: (-c[1], c[0]))) for name, counts in totals.items()}
    return found | {"failures": failures}


def table(found: dict[str, Any]) -> str:
    """The summary for people."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    seeds = f"{found['seeds'][0]} to {found['seeds'][-1]}"
    lines = ["# Random blocks", "", LEGEND, f"`{found['command']}`, seeds {seeds}; {versions}.", ""]
    for name, title in (
        ("cases", "Cases"),
        ("runs", "Runs"),
        ("stages", "Stages of a kernel"),
        ("steps", "Kernels that have a step of a kind"),
        ("refused", "Groups that are not one kernel, and why"),
    ):
        rows = found[name].items()
        if name == "stages":
            rows = sorted(rows, key=lambda row: int(row[0]))
        lines += [f"## {title}", "", "| | |", "|---|---|", *(f"| {what} | {count} |" for what, count in rows), ""]
    lines += [f"{len(found['failures'])} failures."]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=58)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--results", type=Path, default=Path("build/random_blocks"))
    parser.add_argument("--part", default="0/1")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    arguments.results.mkdir(parents=True, exist_ok=True)
    files = [arguments.results / f"{shard}.json" for shard in range(arguments.shards)]
    for shard, file in enumerate(files):
        if shard % parts == part and not file.exists():
            found = run_shard(shard, arguments.size)
            file.write_text(json.dumps(found, indent=1) + "\n")
            print(f"shard {shard}: {found['cases']}, {len(found['failures'])} failures", flush=True)
    if all(file.exists() for file in files):
        found = merged(json.loads(file.read_text()) for file in files)
        SUMMARY.write_text(json.dumps(found, indent=1) + "\n")
        SUMMARY.with_suffix(".md").write_text(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
