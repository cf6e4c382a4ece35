"""Whether groups that cross layers pay on this CPU: every network with them and without, one thread and several.

    python benchmarks/cross_layer_cpu.py [--networks light/squeezenet,...] [--threads 1,2] [--rounds 7]
    python benchmarks/cross_layer_cpu.py --readme     # only write the table into docs/reuse.md from the results

A round is three processes (load, warm up, run for a second): without such groups, with them, and without again. Its
ratio is the time with them over the mean of both without. What is told is the median over the rounds and where it lies
with a confidence of 95 %; a network is slower if all of that is above 1 by more than 1 %. Exit status 1 if any is.
Results go to results/cross_layer_cpu.json. Rounds of the same code stay: more of them (--rounds) are added to them.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arguments import parser_for
from cpu import code_digest
from measured import LIGHT_NETWORKS, Measured, machine, markdown_row, versions, write_block

from mlirfuse import zoo
from mlirfuse.artifact import Artifact
from mlirfuse.cli.accuracy import relative_error
from mlirfuse.cli.arrays import pack_arrays, read_arrays
from mlirfuse.cli.peers import SELF
from mlirfuse.cli.race import Contestant, Lap, geometric_mean, lap, race
from mlirfuse.compiler import compile_artifact
from mlirfuse.options import CompileOptions
from mlirfuse.runtime.inputs import random_inputs

PAGE = Path(__file__).parent.parent / "docs" / "reuse.md"
NETWORKS = (*(f"light/{name}" for name in LIGHT_NETWORKS), "mobilenetv2")
WAYS = ("no-cross-layer", "full")
LEAST_LOSS = 0.01
DOUBT = 0.05


def main(argv: Sequence[str] | None = None) -> int:
    parser = parser_for(__doc__, "cross_layer_cpu.json", NETWORKS, page="docs/reuse.md")
    parser.add_argument("--threads", type=lambda text: tuple(map(int, text.split(","))), default=(1, 2))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="shortest time of one process's runs")
    args = parser.parse_args(argv)
    results = Measured(args.results, machine())
    if not args.readme:
        for network in args.networks:
            _measure(results, network, args)
    if not results.entries:
        print(f"{args.results} holds no measurement of this machine yet.", file=sys.stderr)
        return 1
    if args.readme:
        write_block(PAGE, "cross_layer_cpu.py", table(results.entries))
        return 0
    print(table(results.entries))
    slower = [key for key, entry in results.entries.items() if is_slower(entry)]
    if slower:
        print(f"slower with groups that cross layers: {', '.join(slower)}", file=sys.stderr)
    return 1 if slower else 0


def _measure(results: Measured, network: str, args: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="mlirfuse-bench-") as folder:
        model = zoo.build(network)
        made = {way: compile_artifact(model, "cpu", CompileOptions(fusion=way)) for way in WAYS}
        files = {way: str(Path(folder) / f"{way}.mlirfuse") for way in WAYS}
        for way, artifact in made.items():
            artifact.save(files[way])
        before, after = (made[way] for way in WAYS)
        inputs = Path(folder) / "inputs.npz"
        names = [s.name for s in before.inputs]
        inputs.write_bytes(pack_arrays(dict(zip(names, random_inputs(before.inputs), strict=True))))
        for threads in args.threads:
            key = f"{network} {threads}"
            facts = {"code": {way: code_digest(made[way]) for way in WAYS}, **versions(())}
            known: list[list[float]] = [[], [], []]
            if not args.force and results.is_current(key, **facts):
                known = results.entries[key]["seconds"]
            if (missing := args.rounds - len(known[0])) <= 0:
                continue
            print(f"{network}, {threads} threads, {missing} rounds ...", file=sys.stderr, flush=True)
            conditions = Lap(str(inputs), threads, seconds=args.seconds)
            turns = [Contestant(SELF, files[way]) for way in (*WAYS, WAYS[0])]
            seconds = [s.to_dict()["rounds"] for s in race(turns, conditions, missing)]
            entry = {"network": network, "threads": threads, **facts, "launches": launches(before, after)}
            error = _difference([files[way] for way in WAYS], conditions, Path(folder))
            results.put(key, {**entry, "seconds": [k + s for k, s in zip(known, seconds, strict=True)], "error": error})


def launches(*artifacts: Artifact) -> list[int]:
    """The launches of each."""
    return [a.report["totals"]["launches"] for a in artifacts]


def _difference(files: Sequence[str], conditions: Lap, folder: Path) -> float:
    """How far the outputs are apart, relative to the largest."""
    outputs = []
    for number, file in enumerate(files):
        outputs.append(str(folder / f"{number}.npz"))
        lap(Contestant(SELF, file), Lap(conditions.inputs, conditions.threads, 0.0, 1, 1, 0), outputs[-1])
    wanted, found = (read_arrays(o) for o in outputs)
    return max(relative_error(found[name], array)[0] for name, array in wanted.items())


# --- what the rounds say --------------------------------------------------------------------------


def ratios(entry: Mapping[str, Any]) -> list[float]:
    """The time with groups that cross layers over that without, by round."""
    return [2 * on / (off + again) for off, on, again in zip(*entry["seconds"], strict=True)]


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """Two of the samples between which the median of all there could be lies, with a confidence of 95 %.

    By their order alone (the sign test turned round): a sample is below the median as often as a coin shows heads. Of
    fewer than six, where no two are so sure, the least and the greatest.
    """
    ordered = sorted(samples)
    below, left_out = math.comb(len(ordered), 0), 0
    while 2 * below <= DOUBT * 2 ** len(ordered):
        left_out += 1
        below += math.comb(len(ordered), left_out)
    first = max(left_out - 1, 0)
    return ordered[first], ordered[-1 - first]


def is_slower(entry: Mapping[str, Any]) -> bool:
    """Whether the groups cost more than can be chance."""
    return interval(ratios(entry))[0] > 1 + LEAST_LOSS


def table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: milliseconds without and with, their ratio (below 1: such groups pay), and between what it lies."""
    counted = ("launches without", "with", "ms without", "with", "rounds", "ratio", "from", "to")
    lines = [markdown_row(("network", "threads", *counted, "")), markdown_row(["---", *["--:"] * 9, "---"])]
    for entry in sorted(entries.values(), key=lambda e: (e["threads"], e["network"])):
        off, on, again = (statistics.median(rounds) for rounds in entry["seconds"])
        cells = (
            *(entry["network"], entry["threads"], *entry["launches"]),
            *(f"{seconds * 1e3:.3g}" for seconds in ((off + again) / 2, on)),
            len(ratios(entry)),
            *(f"{r:.3f}" for r in (statistics.median(ratios(entry)), *interval(ratios(entry)))),
            "slower" if is_slower(entry) else "",
        )
        lines.append(markdown_row(cells))
    for threads in sorted({e["threads"] for e in entries.values()}):
        mean = geometric_mean([statistics.median(ratios(e)) for e in entries.values() if e["threads"] == threads])
        lines.append(markdown_row(["geometric mean", threads, *[""] * 5, f"{mean:.3f}", *[""] * 3]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
