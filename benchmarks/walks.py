"""What line buffers are worth: blocks of networks as one kernel each, in tiles by themselves and in walks over several.

    python benchmarks/walks.py [--networks blocks/fire,...] [--devices titan-xp,h200] [--force]
    python benchmarks/walks.py --readme     # only write the table into docs/reuse.md from the results

For each device, the time by the cost model of the best tile alone and of the best walk. For the CPU of this machine,
one thread, both are compiled and timed in turns. How many times faster a walk is, is the median over the turns; half of
what lies between their first and third quartile is the noise. Exit status 1 if a walk that was preferred is slower by
more than that. Results go to results/walks.json.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arguments import NAMES, parser_for
from block_group import group_of_model
from kernels_cpu import CHANNELS_LAST, measure
from measured import Measured, machine, markdown_row, source_digest, write_block

from mlirfuse import zoo
from mlirfuse.device import Device, device_for, host_device
from mlirfuse.lowering.groups.boxes import frame_of
from mlirfuse.lowering.groups.cost import ranked_tiles
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.kernel_cost import KernelCost
from mlirfuse.lowering.groups.stages import Stages, stages_of
from mlirfuse.lowering.schedule.host import host_weight_layouts
from mlirfuse.lowering.schedule.host_cross_layer import CrossLayerLoops, HostCrossLayerPlan, ranked_schedules

PAGE = Path(__file__).parent.parent / "docs" / "reuse.md"
DEVICES = ("h200", "titan-xp", "intel-xe-lp", "mali-g710")
CPU = "cpu"
ROUNDS = 9
ONE_CORE = 1.0  # operations a second: `measure` repeats nothing for one thread


def main(argv: Sequence[str] | None = None) -> int:
    parser = parser_for(__doc__, "walks.json", zoo.blocks(), page="docs/reuse.md")
    parser.add_argument("--devices", default=(*DEVICES, CPU), **NAMES)
    args = parser.parse_args(argv)
    results = Measured(args.results, machine())
    if args.readme:
        write_block(PAGE, "walks.py", table(results.entries))
        return 0
    source, slower = source_digest(), 0
    for block in args.networks:
        for device in args.devices:
            key = f"{block} {device}"
            if args.force or not results.is_current(key, source=source):
                found = timed(block) if device == CPU else predicted(block, device_for(device))
                results.put(key, {"block": block, "device": device, **found, "source": source})
            entry = results.entries[key]
            slower += is_slower(entry)
            print(f"{key:34}{_told(entry)}", flush=True)
    return int(slower > 0)


def predicted(block: str, device: Device) -> dict[str, Any]:
    """The best tile alone and the best of all, by the cost model; {"reason": ...} where there is no kernel."""
    stages = stages_of(group_of_model(zoo.build(block), "simulator"))
    if isinstance(stages, str) or isinstance(frame_of(stages), str):
        return {"reason": "no stages that tiles cut together"}
    costs = list(ranked_tiles(stages, device))
    alone = next((c for c in costs if c.walk == 1), None)
    return {"reason": "no tile of it fits"} if alone is None else _both(stages, alone, costs[0])


def _both(stages: Stages, alone: KernelCost, best: KernelCost) -> dict[str, Any]:
    return {
        way: {
            "tile": list(cost.tile),
            "walk": cost.walk,
            "seconds": cost.seconds,
            "again": cost.recomputed_flops / stages.group.flops,
        }
        for way, cost in (("alone", alone), ("best", best))
    }


def timed(block: str) -> dict[str, Any]:
    """Both on this CPU, in one thread."""
    device, group = host_device(), _channels_last(group_of_model(zoo.build(block), CPU))
    if isinstance(stages_of(group), str):
        return {"reason": "no stages that tiles cut together"}
    schedules = list(ranked_schedules(group, device))
    alone = next((s for s in schedules if s.walk == 1), None)
    if alone is None:
        return {"reason": "no tile of it fits"}
    ways = {"alone": alone, "best": schedules[0]}
    turns = [[_seconds(group, s, device) for s in ways.values()] for _ in range(ROUNDS if alone != schedules[0] else 1)]
    found: dict[str, Any] = {
        way: {
            "tile": list(schedule.tile),
            "walk": schedule.walk,
            "seconds": statistics.median(seconds),
            "again": HostCrossLayerPlan(group, schedule).boxes.recomputed_flops / group.flops,
        }
        for (way, schedule), seconds in zip(ways.items(), zip(*turns, strict=True), strict=True)
    }
    return {**found, "turns": turns}


def _seconds(group: Group, schedule: CrossLayerLoops, device: Device) -> float:
    layouts = host_weight_layouts(group, schedule)
    types = tuple(dataclasses.replace(t, layout=layouts.get(v, t.layout)) for v, t in enumerate(group.types))
    found = measure("walk", dataclasses.replace(group, types=types), device, 1, ONE_CORE, schedule=schedule)
    return found.microseconds / 1e6


def _channels_last(group: Group) -> Group:
    """Operands and results of four dimensions, as the CPU has them."""
    types = list(group.types)
    for v in (*group.inputs, *group.outputs):
        constant = any(v in m.operands and m.node.constant[m.operands.index(v)] for m in group.members)
        if types[v].rank == len(CHANNELS_LAST) and not constant:
            types[v] = dataclasses.replace(types[v], layout=CHANNELS_LAST)
    return dataclasses.replace(group, types=tuple(types))


def is_slower(entry: Mapping[str, Any]) -> bool:
    """Whether what was preferred takes longer than the tile alone, beyond noise."""
    if "reason" in entry:
        return False
    return bool(entry["best"]["walk"] > 1 and faster(entry) * (1 + noise(entry)) < 1)


def faster(entry: Mapping[str, Any]) -> float:
    """How many times faster than the tile alone what was preferred is."""
    turns = entry.get("turns") or [[entry[way]["seconds"] for way in ("alone", "best")]]
    return statistics.median(alone / best for alone, best in turns)


def noise(entry: Mapping[str, Any]) -> float:
    """Half of how far apart the quartiles of that are over the turns; 0 of what was predicted."""
    ratios = [alone / best for alone, best in entry.get("turns", ())]
    if len(ratios) < 2:
        return 0.0
    first, _, third = statistics.quantiles(ratios, n=4)
    return (third - first) / 2


def _told(entry: Mapping[str, Any]) -> str:
    if "reason" in entry:
        return str(entry["reason"])
    alone, best = entry["alone"], entry["best"]
    if best["walk"] == 1:
        return f"{alone['seconds'] * 1e6:.1f} us, {alone['again']:.1%} again; no walk takes less"
    found = f"{alone['seconds'] * 1e6:.1f} -> {best['seconds'] * 1e6:.1f} us, walks of {best['walk']}"
    return f"{found}, {alone['again']:.1%} -> {best['again']:.1%} again"


def table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The blocks that are computed in walks somewhere, and a line about the rest."""
    rows: list[Sequence[object]] = [
        ("block", "device", "tile alone", "us", "again", "tile", "walk", "us", "again", "faster", "noise"),
        ("---", "---", "---", "--:", "--:", "---", "--:", "--:", "--:", "--:", "--:"),
    ]
    walked = [e for e in entries.values() if "reason" not in e and e["best"]["walk"] > 1]
    for entry in walked:
        alone, best = entry["alone"], entry["best"]
        name = entry["block"].removeprefix("blocks/")
        before = ["x".join(map(str, alone["tile"])), f"{alone['seconds'] * 1e6:.1f}", f"{alone['again']:.1%}"]
        after = ["x".join(map(str, best["tile"])), best["walk"], f"{best['seconds'] * 1e6:.1f}", f"{best['again']:.1%}"]
        apart = f"{noise(entry):.3f}" if "turns" in entry else ""
        rows.append([name, entry["device"], *before, *after, f"{faster(entry):.3f}", apart])
    kernels = sum("reason" not in e for e in entries.values())
    about = f"Of {kernels} pairs of a block and a device, these {len(walked)}; for the others no walk tried takes less."
    return "\n".join(map(markdown_row, rows)) + f"\n\n{about} Made by `python benchmarks/walks.py`."


if __name__ == "__main__":
    sys.exit(main())
