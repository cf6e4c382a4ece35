"""What groups that cross layers save: bytes from DRAM and launches, with them and without.

    python benchmarks/reuse.py [--networks light/squeezenet,...] [--target simulator:sm_90] [--force]
    python benchmarks/reuse.py --readme     # only write the tables into docs/reuse.md from the results

Every network is compiled with fusion=full and with fusion=no-cross-layer, which already fuses all that is no second
anchor and writes concatenations in place. Bytes are those of distinct sectors of each launch (an ideal cache within a
launch, none between launches), by what they are of: weights, inputs, outputs, and the intermediates between launches.
They are there twice: as the reuse analysis predicts them, and as the simulator counts them from the addresses of the
kernels at full size. Exit status 1 if these differ for any launch. Results go to results/reuse.json.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arguments import parser_for
from measured import LIGHT_NETWORKS, Measured, markdown_row, source_digest, write_block
from network_blocks import blocks_of

from mlirfuse import zoo
from mlirfuse.artifact.explanation import read_explanation
from mlirfuse.cli.counting import count_traffic
from mlirfuse.compiler import compile_artifact
from mlirfuse.options import CompileOptions

PAGE = Path(__file__).parent.parent / "docs" / "reuse.md"
NETWORKS = (*(f"light/{name}" for name in LIGHT_NETWORKS), "mobilenetv2")
BLOCK_BY_BLOCK = ("light/resnet50",)
WAYS = ("no-cross-layer", "full")
PARTS = ("weight", "input", "output", "intermediate")
LAUNCH_GOALS = {
    **{"light/squeezenet": 14, "light/resnet50": 40, "light/shufflenet": 40, "light/inception_v1": 40},
    **{"light/densenet121": 75, "mobilenetv2": 30},
}
MB = 1e6


def main(argv: Sequence[str] | None = None) -> int:
    parser = parser_for(__doc__, "reuse.json", NETWORKS, page="docs/reuse.md")
    parser.add_argument("--target", default="simulator", help="simulator, or simulator:CHIP")
    args = parser.parse_args(argv)
    results = Measured(args.results, {})
    if args.readme:
        write_block(PAGE, "reuse.py", tables(results.entries))
        return 0
    source, unequal = source_digest(), 0
    print(f"{'network':22}{'launches':>12}{'intermediates, MB':>22}{'less':>7}{'of compulsory':>15}")
    for network in args.networks:
        for way in WAYS:
            key = f"{network} {way}"
            if args.force or not results.is_current(key, source=source, target=args.target):
                results.put(key, {**measure(network, way, args.target), "source": source})
        before, after = (results.entries[f"{network} {way}"] for way in WAYS)
        for entry in (before, after):
            unequal += len(entry["unequal"])
            for complaint in entry["unequal"]:
                print(f"{network}, {entry['fusion']}: {complaint}", file=sys.stderr)
        launches = f"{before['launches']} -> {after['launches']}"
        moved = f"{_between(before) / MB:.2f} -> {_between(after) / MB:.2f}"
        print(f"{network:22}{launches:>12}{moved:>22}{_less(before, after):>7.1%}{_ratio(after):>15.2f}", flush=True)
    return int(unequal > 0)


def measure(network: str, way: str, target: str) -> dict[str, Any]:
    """The bytes of one network, both ways, and its launches."""
    artifact = compile_artifact(zoo.build(network), target, CompileOptions(fusion=way, strict=True))
    counted = count_traffic(artifact)
    said, found = artifact.report, counted
    return {
        "network": network,
        "target": target,
        "fusion": way,
        "launches": said["totals"]["launches"],
        "flops": said["totals"]["flops"],
        "recomputed_flops": said["totals"]["recomputed_flops"],
        "predicted_seconds": said["totals"]["predicted_seconds"],
        "compulsory": said["totals"]["compulsory_bytes"],
        "predicted": _moved(said["totals"]),
        "counted": _moved(found["totals"]),
        "unequal": [
            f"{a['name']}: {_row_bytes(a)} bytes read and written as predicted, {_row_bytes(b)} as counted"
            for a, b in zip(said["kernels"], found["kernels"], strict=True)
            if _row_bytes(a) != _row_bytes(b)
        ],
        **({"blocks": _blocks(artifact, found)} if network in BLOCK_BY_BLOCK else {}),
    }


def _moved(totals: Mapping[str, int]) -> dict[str, int]:
    return {**{part: totals[f"dram_{part}_bytes"] for part in PARTS}, "total": totals["dram_bytes"]}


def _row_bytes(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["dram_read_bytes"], row["dram_write_bytes"]


def _blocks(artifact: Any, counted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Launches, bytes and predicted seconds of each block of a network; a launch is of the block in which it ends."""
    explanation = read_explanation(artifact.explanation)
    blocks = blocks_of(explanation["operators"])
    home = {operator: number for number, block in enumerate(blocks) for operator in block}
    found = [
        {"nodes": [explanation["operators"][block[0]]["nodes"][0], explanation["operators"][block[-1]]["nodes"][-1]],
         "launches": 0, "intermediate": 0, "seconds": 0.0, "apart": []}
        for block in blocks
    ]  # fmt: skip
    rows = {row["name"]: row for row in counted["kernels"]}
    for group in explanation["groups"]:
        row = rows["+".join(group["nodes"])]
        block = found[home[max(group["operators"])]]
        block["launches"] += group["launches"]
        block["intermediate"] += row["dram_intermediate_bytes"]
        block["seconds"] += row["predicted_seconds"]
    for edge in explanation["edges"]:
        numbers = edge["numbers"]
        if "seconds_together" in numbers:
            seconds = numbers["seconds_together"], numbers["seconds_apart"]
            found[home[edge["consumer_number"]]]["apart"].append(seconds)
    return found


def _between(entry: Mapping[str, Any]) -> int:
    return entry["counted"]["intermediate"]


def _less(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    return 1 - _between(after) / _between(before)


def _ratio(entry: Mapping[str, Any]) -> float:
    return entry["counted"]["total"] / entry["compulsory"]


def tables(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: bytes of every network, launches, and the networks block by block."""
    parts = [_bytes_table(entries), _launch_table(entries)]
    parts += [_block_table(entries, network) for network in BLOCK_BY_BLOCK if f"{network} full" in entries]
    return "\n\n".join([*parts, "Counted by `python benchmarks/reuse.py`."])


def _pairs(entries: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Networks with their entries without and with groups that cross layers."""
    keys = [(network, *(f"{network} {way}" for way in WAYS)) for network in NETWORKS]
    return [(network, entries[a], entries[b]) for network, a, b in keys if a in entries and b in entries]


def _bytes_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    head = ["network", "fusion", "weights", "inputs", "outputs", "intermediates", "less", "all", "predicted"]
    rows = [[*head, "of compulsory"], ["---", "---", *["--:"] * (len(head) - 1)]]
    saved = []
    for network, *pair in _pairs(entries):
        for entry in pair:
            counted = [f"{entry['counted'][part] / MB:.3f}" for part in PARTS]
            less = f"{_less(*pair):.1%}" if entry is pair[1] else ""
            totals = [f"{entry[how]['total'] / MB:.3f}" for how in ("counted", "predicted")]
            rows.append([network, entry["fusion"], *counted, less, *totals, f"{_ratio(entry):.2f}"])
        if network.startswith("light/"):
            saved.append(_less(*pair))
    text = "MB from and to DRAM:\n\n" + "\n".join(map(markdown_row, rows))
    if not saved:
        return text
    about = f"On average over the networks of the onnx package, intermediates are {statistics.fmean(saved):.1%} less."
    return f"{text}\n\n{about}"


def _launch_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    rows: list[list[object]] = [["network", *WAYS, "goal", "computed again"], ["---", *["--:"] * 4]]
    for network, before, after in _pairs(entries):
        again = f"{after['recomputed_flops'] / after['flops']:.1%}"
        rows.append([network, before["launches"], after["launches"], LAUNCH_GOALS.get(network, ""), again])
    return "Launches, and the part of the network's operations that tiles compute again:\n\n" + "\n".join(
        map(markdown_row, rows)
    )


def _block_table(entries: Mapping[str, Mapping[str, Any]], network: str) -> str:
    """Block by block: what is between launches, and what one kernel more would cost."""
    before, after = (entries[f"{network} {way}"]["blocks"] for way in WAYS)
    head = ["nodes", "launches", "MB before", "MB after", "less", "us before", "us after", "not joined"]
    rows: list[list[object]] = [list(head), ["---", *["--:"] * (len(head) - 1)]]
    for one, two in zip(before, after, strict=True):
        a, b = one["intermediate"], two["intermediate"]
        apart = sorted(set(map(tuple, two["apart"])))
        cells = [" to ".join(dict.fromkeys(two["nodes"])), f"{one['launches']} -> {two['launches']}"]
        cells += [f"{a / MB:.2f}", f"{b / MB:.2f}", f"{1 - b / a:.0%}" if a else ""]
        cells += [f"{entry['seconds'] * 1e6:.1f}" for entry in (one, two)]
        rows.append([*cells, "; ".join(_compared(*seconds) for seconds in apart)])
    about = (
        f"{network}, block by block; a launch is counted where it ends. Microseconds are the cost model's. *Not "
        "joined* are kernels that were refused, with the time of their parts: some take longer (>), "
        "some would take less (<), but kernels that overlap them save more:"
    )
    return about + "\n\n" + "\n".join(map(markdown_row, rows))


def _compared(together: float, apart: float) -> str:
    """Microseconds of one kernel and of its parts."""
    return f"{together * 1e6:.1f} {'>' if together > apart else '<'} {apart * 1e6:.1f}"


if __name__ == "__main__":
    sys.exit(main())
