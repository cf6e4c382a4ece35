"""Groups that cross layers against their parts, on the GPU: the same network compiled with them and without."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlirfuse.artifact import Artifact
from mlirfuse.runtime import load
from mlirfuse.runtime.inputs import random_inputs

__all__ = ["apart_file", "measure_race", "paired", "slower_than_parts"]

ROUNDS = 5  # the two take turns: clocks and temperatures drift
RUNS, WARMUP = 100, 10
NOISE = 1.03  # a group counts as slower than its parts from here on


def apart_file(network: str) -> str:
    """The artifact without groups that cross layers."""
    return f"{network.replace('/', '_')}.apart.mlirfuse"


def measure_race(network: str, folder: Path, joined_file: str) -> dict[str, Any]:
    """Times of both, of every launch and in all, in turns; and which groups are slower than their parts."""
    both = {"joined": load(folder / joined_file), "apart": load(folder / apart_file(network))}
    is_gpu = both["joined"].target.startswith("cuda")
    rounds, runs, warmup = (ROUNDS, RUNS, WARMUP) if is_gpu else (1, 1, 0)
    whole: dict[str, list[float]] = {way: [] for way in both}
    launches: dict[str, list[list[float]]] = {way: [] for way in both}
    for _ in range(rounds):
        for way, executable in both.items():
            timing = executable.benchmark(runs, random_inputs(executable.inputs), warmup=warmup)
            whole[way].append(timing.device.median)
            launches[way].append([spread.median for _, spread in timing.kernels])
    totals = {way: statistics.median(found) for way, found in whole.items()}
    seconds = {way: [statistics.median(found) for found in zip(*each, strict=True)] for way, each in launches.items()}
    pairs = paired(*(_named(executable.artifact, seconds[way]) for way, executable in both.items()))
    return {
        **{way: {"median": found} for way, found in totals.items()},
        "speedup": totals["apart"] / totals["joined"],
        "groups": pairs,
        "slower": slower_than_parts(pairs),
    }


def _named(artifact: Artifact, seconds: Sequence[float]) -> list[tuple[frozenset[str], float]]:
    """The ONNX nodes of every launch, and its seconds."""
    rows = artifact.report["kernels"]
    return [(frozenset(row["name"].split("+")), s) for row, s in zip(rows, seconds, strict=True)]


def paired(
    joined: Sequence[tuple[frozenset[str], float]], apart: Sequence[tuple[frozenset[str], float]]
) -> list[dict[str, Any]]:
    """Launches of one that share nodes with launches of the other, where these are not the same on both sides.

    Each entry has the nodes, how many launches either has, and their seconds together.
    """
    found: list[tuple[set[str], dict[str, list[float]]]] = []
    for way, launches in (("joined", joined), ("apart", apart)):
        for nodes, seconds in launches:
            mine: tuple[set[str], dict[str, list[float]]] = (set(nodes), {"joined": [], "apart": []})
            mine[1][way].append(seconds)
            for other in [f for f in found if f[0] & nodes]:
                found.remove(other)
                mine[0].update(other[0])
                for side, values in other[1].items():
                    mine[1][side][:0] = values
            found.append(mine)
    return [
        {
            "nodes": sorted(nodes),
            "launches": [len(sides["joined"]), len(sides["apart"])],
            "joined": sum(sides["joined"]),
            "apart": sum(sides["apart"]),
        }
        for nodes, sides in found
        if len(sides["joined"]) != len(sides["apart"])
    ]


def slower_than_parts(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to say of each group that takes longer than its parts, beyond noise."""
    return [
        f"{'+'.join(p['nodes'])}: {p['joined'] * 1e6:.1f} us, its parts {p['apart'] * 1e6:.1f} us"
        for p in pairs
        if p["joined"] > NOISE * p["apart"]
    ]
