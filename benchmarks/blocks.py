"""Blocks of networks as the planner cuts them, for an older GPU and a recent one: kernels, bytes, predicted time.

    python benchmarks/blocks.py [--networks blocks/fire,...] [--devices titan-xp,h200] [--force]
    python benchmarks/blocks.py --readme     # only write the table into docs/reuse.md from the results

Each block of the zoo is compiled three ways: without groups that cross layers, as the planner decides, and, on paper,
as one kernel with the tile that the cost model likes best. Bytes are counted by the simulator (those of the one kernel
are predicted); times are the cost model's. Exit status 1 if a predicted byte differs from a counted one, or if a
plan takes longer than its parts by the cost model. Results go to results/blocks.json. What a GPU takes, `gpu.py`
measures.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arguments import NAMES, parser_for
from block_group import group_of_model
from measured import Measured, markdown_row, source_digest, write_block

from mlirfuse import zoo
from mlirfuse.cli.counting import count_traffic
from mlirfuse.cli.race import geometric_mean
from mlirfuse.compiler import compile_artifact
from mlirfuse.device import device_for
from mlirfuse.lowering.groups.boxes import frame_of
from mlirfuse.lowering.groups.cost import cheapest_tile
from mlirfuse.lowering.groups.stages import stages_of
from mlirfuse.lowering.groups.traffic import launch_traffic
from mlirfuse.options import CompileOptions

PAGE = Path(__file__).parent.parent / "docs" / "reuse.md"
DEVICES = ("titan-xp", "h200")
WAYS = ("no-cross-layer", "full")
MB = 1e6
ROUNDING = 1e-9


def main(argv: Sequence[str] | None = None) -> int:
    parser = parser_for(__doc__, "blocks.json", zoo.blocks(), page="docs/reuse.md")
    parser.add_argument("--devices", default=DEVICES, **NAMES)
    args = parser.parse_args(argv)
    results = Measured(args.results, {})
    if args.readme:
        write_block(PAGE, "blocks.py", table(results.entries))
        return 0
    source, wrong = source_digest(), 0
    for block in args.networks:
        for device in args.devices:
            key = f"{block} {device}"
            if args.force or not results.is_current(key, source=source):
                results.put(key, {**measure(block, device), "source": source})
            entry = results.entries[key]
            complaints = complaints_about(entry)
            wrong += bool(complaints)
            before, after = (entry[way] for way in WAYS)
            told = f"{before['launches']} -> {after['launches']} kernels ({', '.join(after['modes'])})"
            told += f", {before['dram_bytes'] / MB:.2f} -> {after['dram_bytes'] / MB:.2f} MB"
            told += f", {before['seconds'] * 1e6:.1f} -> {after['seconds'] * 1e6:.1f} us"
            print(f"{key:34}{told}{''.join(f'; {c}' for c in complaints)}", flush=True)
    return int(wrong > 0)


def measure(block: str, device: str) -> dict[str, Any]:
    """One block for one device: both plans, and the block as one kernel."""
    model = zoo.build(block)
    return {
        "block": block,
        "device": device,
        **{way: _plan(model, f"simulator:{device}", way) for way in WAYS},
        "whole": _whole(model, device),
    }


def _plan(model: Any, target: str, way: str) -> dict[str, Any]:
    artifact = compile_artifact(model, target, CompileOptions(fusion=way, strict=True))
    totals, counted = artifact.report["totals"], count_traffic(artifact)["totals"]
    return {
        "launches": totals["launches"],
        "modes": [row["mode"] for row in artifact.report["kernels"]],
        "seconds": totals["predicted_seconds"],
        "recomputed": totals["recomputed_flops"] / totals["flops"],
        "dram_bytes": counted["dram_bytes"],
        "intermediate_bytes": counted["dram_intermediate_bytes"],
        "predicted_bytes": totals["dram_bytes"],
    }


def _whole(model: Any, chip: str) -> dict[str, Any]:
    """The block as one kernel, as the analysis and the cost model see it; {"reason": ...} where it cannot be one."""
    device, group = device_for(chip), group_of_model(model, f"simulator:{chip}")
    stages = stages_of(group)
    frame = stages if isinstance(stages, str) else frame_of(stages)
    if isinstance(stages, str) or isinstance(frame, str):
        return {"reason": str(frame)}
    cost = cheapest_tile(stages, device)
    if cost is None:
        return {"reason": f"no tile of it fits in a block of {device.name}"}
    return {
        "seconds": cost.seconds,
        "tile": list(cost.tile),
        "tiles": cost.tiles,
        "walk": cost.walk,
        "shared_bytes": cost.shared_bytes,
        "recomputed": cost.recomputed_flops / group.flops,
        "dram_bytes": launch_traffic(group, None, cost.tile, cost.walk).bytes,
    }


def complaints_about(entry: Mapping[str, Any]) -> list[str]:
    """What is not as it should be."""
    found = [
        f"{entry[way]['predicted_bytes']} bytes predicted and {entry[way]['dram_bytes']} counted with fusion={way}"
        for way in WAYS
        if entry[way]["predicted_bytes"] != entry[way]["dram_bytes"]
    ]
    if entry["full"]["seconds"] > entry["no-cross-layer"]["seconds"] + ROUNDING:
        found.append("slower than its parts by the cost model")
    return found


def table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: each block on each device."""
    head = ["block", "device", "kernels", "modes", "MB", "less", "us", "faster", "computed again", "one kernel: MB, us"]
    rows: list[list[object]] = [list(head), ["---", "---", "--:", "---", *["--:"] * (len(head) - 4)]]
    gains: dict[str, list[float]] = {}
    for entry in entries.values():
        before, after, whole = entry["no-cross-layer"], entry["full"], entry["whole"]
        faster = before["seconds"] / after["seconds"]
        gains.setdefault(entry["device"], []).append(faster)
        name, moved = entry["block"].removeprefix("blocks/"), f"{before['dram_bytes'] / MB:.2f} -> "
        moved += f"{after['dram_bytes'] / MB:.2f}"
        one = f"{whole['dram_bytes'] / MB:.2f}, {whole['seconds'] * 1e6:.1f}" if "seconds" in whole else whole["reason"]
        cells = [name, entry["device"], f"{before['launches']} -> {after['launches']}"]
        cells += [", ".join(after["modes"]), moved, f"{1 - after['dram_bytes'] / before['dram_bytes']:.0%}"]
        cells += [f"{before['seconds'] * 1e6:.1f} -> {after['seconds'] * 1e6:.1f}", f"{faster:.2f}"]
        rows.append([*cells, f"{after['recomputed']:.0%}", one])
    means = "; ".join(f"{geometric_mean(found):.2f} on {device}" for device, found in gains.items())
    about = f"Geometric mean of the predicted gains: {means}. Counted by `python benchmarks/blocks.py`."
    return "\n".join(map(markdown_row, rows)) + f"\n\n{about}"


if __name__ == "__main__":
    sys.exit(main())
