"""Whether groups that cross layers pay on this CPU: every network with them and without, one thread and several.

    python benchmarks/cross_layer_cpu.py [--networks light/squeezenet,...] [--threads 1,2] [--rounds 7]
    python benchmarks/cross_layer_cpu.py --readme     # only write the table into docs/reuse.md from the results

A round is three processes (load, warm up, run for a second): without such groups, with them, and without again. Its
ratio is the time with them over the mean of both without; how far these two are apart is the noise. A network is slower
if the median ratio of its rounds is above 1 by more than the third quartile of the noise, and by more than 1 %. Exit
status 1 if any is. Results go to results/cross_layer_cpu.json; what has not changed is not measured again.
"""

from __future__ import annotations

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
LEAST_NOISE = 0.01


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
            facts = {"code": {way: code_digest(made[way]) for way in WAYS}, "rounds": args.rounds, **versions(())}
            if not args.force and results.is_current(key, **facts):
                continue
            print(f"{network}, {threads} threads ...", file=sys.stderr, flush=True)
            conditions = Lap(str(inputs), threads, seconds=args.seconds)
            turns = [Contestant(SELF, files[way]) for way in (*WAYS, WAYS[0])]
            rounds = [s.to_dict()["rounds"] for s in race(turns, conditions, args.rounds)]
            entry = {"network": network, "threads": threads, **facts, "launches": launches(before, after)}
            error = _difference([files[way] for way in WAYS], conditions, Path(folder))
            results.put(key, {**entry, "seconds": rounds, "error": error})


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


def ratio(entry: Mapping[str, Any]) -> float:
    """The median over rounds of the time with groups that cross layers over that without."""
    return statistics.median(2 * on / (off + again) for off, on, again in zip(*entry["seconds"], strict=True))


def noise(entry: Mapping[str, Any]) -> float:
    """How far two processes of the same code are apart in three rounds of four, as a part of their time."""
    apart = sorted(abs(off - again) / min(off, again) for off, _, again in zip(*entry["seconds"], strict=True))
    return max(LEAST_NOISE, apart[(3 * len(apart) - 1) // 4])


def is_slower(entry: Mapping[str, Any]) -> bool:
    """Whether the groups cost more than noise."""
    return ratio(entry) > 1 + noise(entry)


def table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: milliseconds without and with, their ratio (below 1: such groups pay), and the noise."""
    columns = ("network", "threads", "launches without", "with", "ms without", "with", "ratio", "noise", "")
    lines = [markdown_row(columns), markdown_row(["---", *["--:"] * 7, "---"])]
    for entry in sorted(entries.values(), key=lambda e: (e["threads"], e["network"])):
        off, on, again = (statistics.median(rounds) for rounds in entry["seconds"])
        cells = (
            *(entry["network"], entry["threads"], *entry["launches"]),
            *(f"{seconds * 1e3:.3g}" for seconds in ((off + again) / 2, on)),
            *(f"{ratio(entry):.3f}", f"{noise(entry):.3f}", "slower" if is_slower(entry) else ""),
        )
        lines.append(markdown_row(cells))
    for threads in sorted({e["threads"] for e in entries.values()}):
        mean = geometric_mean([ratio(e) for e in entries.values() if e["threads"] == threads])
        lines.append(markdown_row(["geometric mean", threads, "", "", "", "", f"{mean:.3f}", "", ""]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
