"""mlirfuse, ONNX Runtime and OpenVINO on the nine networks of the onnx package, batch 1, fp32.

    python benchmarks/cpu.py [--networks squeezenet,resnet50] [--threads 1,2] [--rounds 5]
    python benchmarks/cpu.py --readme          # only write the table into README.md from the results

Every measurement is a process of its own (load, warm up, run for a second), and the runtimes take turns; a figure is
the median over rounds of each process's median. Outputs are compared with ONNX Runtime's. Results go to
results/cpu.json after each network; a network whose compiled code and rounds have not changed is not measured again.
README's table leaves out what was measured with another number of launches than results/launches.json counts.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arguments import NAMES, parser_for
from measured import LIGHT_NETWORKS, README, RESULTS, Measured, machine, markdown_row, versions, write_block

from mlirfuse import zoo
from mlirfuse.artifact import Artifact
from mlirfuse.cli.accuracy import relative_error
from mlirfuse.cli.arrays import pack_arrays, read_arrays
from mlirfuse.cli.peers import PEERS as KNOWN_PEERS
from mlirfuse.cli.peers import SELF, missing
from mlirfuse.cli.race import Contestant, Lap, geometric_mean, race
from mlirfuse.compiler import compile_artifact
from mlirfuse.runtime.inputs import random_inputs

PEERS = ("onnxruntime", "openvino")
TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", SELF: "mlirfuse"}


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    results = Measured(args.results, machine())
    if not args.readme:
        peers = [peer for peer in args.peers if not _skipped(peer)]
        for network in args.networks:
            _measure_network(results, network, peers, args)
    if not results.entries:
        print(f"{args.results} holds no measurement of this machine yet.", file=sys.stderr)
        return 1
    print(table(results.entries))
    return _write_readme(results, Measured(args.launches, {}).entries) if args.readme else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_for(__doc__, "cpu.json", LIGHT_NETWORKS, page="README.md")
    parser.add_argument("--threads", type=lambda text: tuple(map(int, text.split(","))), default=(1, 2))
    parser.add_argument("--peers", default=PEERS, help="onnxruntime, openvino, torch, torch-compile", **NAMES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="shortest time of one process's runs")
    parser.add_argument("--launches", type=Path, default=RESULTS / "launches.json", help="what launches.py counted")
    return parser.parse_args(argv)


def _skipped(peer: str) -> bool:
    reason = missing(peer)
    if reason:
        print(f"skipped {peer}: {reason}", file=sys.stderr)
    return reason is not None


def _measure_network(results: Measured, network: str, peers: Sequence[str], args: argparse.Namespace) -> None:
    import onnx

    with tempfile.TemporaryDirectory(prefix="mlirfuse-bench-") as folder:
        onnx_file, own = Path(folder) / f"{network}.onnx", Path(folder) / f"{network}.mlirfuse"
        onnx.save(zoo.build(f"light/{network}"), onnx_file)
        artifact = compile_artifact(str(onnx_file), "cpu")
        artifact.save(own)
        inputs = dict(zip([s.name for s in artifact.inputs], random_inputs(artifact.inputs), strict=True))
        (Path(folder) / "inputs.npz").write_bytes(pack_arrays(inputs))
        contestants = [Contestant(SELF, str(own)), *(Contestant(peer, str(onnx_file)) for peer in peers)]
        for threads in args.threads:
            key = f"{network} {threads}"
            facts = {
                **{"code": code_digest(artifact), "rounds": args.rounds, "peers": list(peers)},
                "versions": versions(KNOWN_PEERS[peer].package for peer in peers),
            }
            if not args.force and results.is_current(key, **facts):
                continue
            print(f"{network}, {threads} threads ...", file=sys.stderr, flush=True)
            outputs = {c.peer: str(Path(folder) / f"{c.peer}.npz") for c in contestants}
            conditions = Lap(str(Path(folder) / "inputs.npz"), threads, seconds=args.seconds)
            standings = race(contestants, conditions, args.rounds, outputs=outputs)
            results.put(
                key,
                {
                    **{"network": network, "threads": threads, **facts},
                    "launches": artifact.report["totals"]["launches"],
                    "error": _error(outputs),
                    "standings": {s.peer: s.to_dict() for s in standings},
                },
            )


def code_digest(artifact: Artifact) -> str:
    """What the compiled code is, without the weights."""
    digest = hashlib.sha256()
    for plan in artifact.plans.values():
        digest.update(repr(plan.program.steps).encode())
        for name in sorted(plan.images):
            digest.update(bytes(plan.images[name].data))
    return digest.hexdigest()[:16]


def _error(outputs: Mapping[str, str]) -> float | None:
    """Largest error relative to ONNX Runtime's largest output."""
    if "onnxruntime" not in outputs:
        return None
    found, wanted = read_arrays(outputs[SELF]), read_arrays(outputs["onnxruntime"])
    return max(relative_error(found[name], array)[0] for name, array in wanted.items())


# --- the table ------------------------------------------------------------------------------------


def table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: milliseconds of each runtime, and mlirfuse's time over the others' (below 1: mlirfuse is faster)."""
    peers = list(dict.fromkeys(peer for e in entries.values() for peer in e["standings"] if peer != SELF))
    threads = sorted({e["threads"] for e in entries.values()})
    lines = []
    for count in threads:
        rows = {e["network"]: e for e in entries.values() if e["threads"] == count}
        columns = ["network", "launches", "mlirfuse ms", *(f"{TITLES.get(p, p)} ms" for p in peers)]
        columns += [*(f"÷ {TITLES.get(p, p)}" for p in peers), "error"]
        lines += [
            "",
            f"{count} thread{'s' * (count > 1)}:",
            "",
            markdown_row(columns),
            markdown_row(["---", *["--:"] * (len(columns) - 1)]),
        ]
        lines += [markdown_row(_cells(network, entry, peers)) for network, entry in sorted(rows.items())]
        means = [_mean([e for e in rows.values() if p in e["standings"]], p) for p in peers]
        lines.append(markdown_row(["geometric mean", "", "", *[""] * len(peers), *means, ""]))
    return "\n".join(lines).strip() + "\n"


def _cells(network: str, entry: Mapping[str, Any], peers: Sequence[str]) -> list[str]:
    medians = {peer: s["median"] for peer, s in entry["standings"].items()}
    times = [f"{medians[p] * 1e3:.3g}" if p in medians else "" for p in (SELF, *peers)]
    ratios = [f"{medians[SELF] / medians[p]:.2f}" if p in medians else "" for p in peers]
    error = "" if entry["error"] is None else f"{entry['error']:.0e}"
    return [network, str(entry["launches"]), *times, *ratios, error]


def _mean(entries: Sequence[Mapping[str, Any]], peer: str) -> str:
    ratios = [e["standings"][SELF]["median"] / e["standings"][peer]["median"] for e in entries]
    return f"{geometric_mean(ratios):.2f}" if ratios else ""


def stale(entries: Mapping[str, Mapping[str, Any]], counted: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Networks measured with another number of launches than were counted, and both numbers: their times are old."""
    found = {}
    for entry in entries.values():
        now = counted.get(f"{entry['network']} cpu", entry)["launches"]
        if entry["launches"] != now:
            found[entry["network"]] = f"{entry['launches']} launches, now {now}"
    return found


def _write_readme(results: Measured, counted: Mapping[str, Mapping[str, Any]]) -> int:
    """Write the rows that are not stale, and the names of those that are; 1 if none is left."""
    old = stale(results.entries, counted)
    listed = ", ".join(f"{network} ({what})" for network, what in sorted(old.items()))
    entries = {key: e for key, e in results.entries.items() if e["network"] not in old}
    if old:
        print(f"to be measured again: {listed}", file=sys.stderr)
    if not entries:
        return 1
    here = results.data["machine"]
    used = {peer: s["version"] for e in entries.values() for peer, s in e["standings"].items()}
    names = ", ".join(f"{TITLES.get(peer, peer)} {version}" for peer, version in used.items())
    dates = sorted({e["date"] for e in entries.values()})
    period = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    rounds = min(e["rounds"] for e in entries.values())
    note = (
        f"{here['cpu']}, {here['cores']} cores, {here['vector_bits']}-bit vectors; batch 1, fp32; {names}; {period}. "
        f"Every figure is the median of {rounds} processes, which took turns. "
        "Error: the largest difference from ONNX Runtime, relative to the largest output."
        f"{f' Left out until measured again: {listed}.' if old else ''}\n\n"
        "Made by `python benchmarks/cpu.py && python benchmarks/cpu.py --readme`."
    )
    write_block(README, "cpu.py", f"{table(entries)}\n{note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
