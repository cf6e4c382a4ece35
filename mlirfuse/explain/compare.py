"""One network planned for several devices: what the devices have, what the plans are, and where and why they differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlirfuse.device import Device
from mlirfuse.explain.facts import Explanation, GroupFacts

__all__ = ["FUSED", "Difference", "Plan", "device_facts", "differences", "kernels", "to_dict", "totals"]

FUSED = "fused"
_ABSENT = "no such edge"

Table = list[tuple[str, list[Any]]]


@dataclass(frozen=True)
class Plan:
    """The plan for one target, with the device that it was made for."""

    device: Device
    explanation: Explanation

    @property
    def target(self) -> str:
        return self.explanation.target


@dataclass(frozen=True)
class Difference:
    """An edge between ONNX nodes that some plans fuse and others do not.

    `states` has for each plan "fused", or the kind of check that refused; `reasons` why, empty where it is fused.
    """

    producer: tuple[str, ...]
    consumer: tuple[str, ...]
    states: tuple[str, ...]
    reasons: tuple[str, ...]


def device_facts(plans: Sequence[Plan]) -> Table:
    """What plans follow from, by name: a list with an entry for each plan."""
    devices = [plan.device for plan in plans]
    return [
        ("device", [d.name for d in devices]),
        ("multiprocessors", [d.multiprocessors for d in devices]),
        ("TFLOP/s in fp32", [f"{d.fp32_flops / 1e12:.3g}" for d in devices]),
        ("GB/s of memory", [f"{d.dram_bandwidth / 1e9:.4g}" for d in devices]),
        ("FLOP a byte", [f"{d.machine_balance:.3g}" for d in devices]),
        ("KiB of last cache", [max(d.l2_bytes, d.l3_bytes) // 1024 for d in devices]),
        ("us a launch", [f"{d.launch_seconds * 1e6:.3g}" for d in devices]),
        ("KiB of shared memory in a block", [d.shared_bytes_per_block // 1024 or None for d in devices]),
        ("threads in a block", [d.max_threads_per_block or None for d in devices]),
        ("registers in a thread", [d.registers_per_thread for d in devices]),
        ("blocks in a cluster", [d.cluster_blocks for d in devices]),
        ("GB/s from the host", ["one memory" if d.shares_memory else f"{d.host_bandwidth / 1e9:.3g}" for d in devices]),
    ]


def totals(plans: Sequence[Plan]) -> Table:
    """The figures of the plans, by name."""
    found = [plan.explanation.totals for plan in plans]
    return [
        ("launches", [t.launches for t in found]),
        ("edges fused", [t.edges_fused for t in found]),
        ("edges not fused", [t.edges_not_fused for t in found]),
        ("kernels of several anchors", [sum(len(g.anchors) > 1 for g in p.explanation.groups) for p in plans]),
        ("MB stored between launches", [f"{t.intermediate_bytes / 1e6:.4g}" for t in found]),
        ("MB moved", [f"{t.bytes_moved / 1e6:.4g}" for t in found]),
        ("MFLOP computed again", [f"{t.flops_added / 1e6:.4g}" for t in found]),
        ("ms by the cost model", [f"{t.predicted_seconds * 1e3:.4g}" for t in found]),
    ]


def kernels(plans: Sequence[Plan]) -> Table:
    """How many groups have each kind of kernel, with its tile."""
    counts = [Counter(map(_shape_of, plan.explanation.groups)) for plan in plans]
    shapes = sorted(set().union(*counts))
    return [(shape, [count.get(shape) for count in counts]) for shape in shapes]


def _shape_of(group: GroupFacts) -> str:
    """The kind of a group's kernel, with its tile where all groups of a kind do not have the same."""
    schedule = dict(group.schedule or {})
    if group.kernel is None:
        return "not scheduled"
    if "block_m" in schedule:
        tile = "x".join(str(schedule[name]) for name in ("block_m", "block_n", "block_k"))
        groups = f", {schedule['k_groups']} groups" if schedule["k_groups"] > 1 else ""
        return f"{group.kernel} {tile}, {schedule['thread_m']}x{schedule['thread_n']} a thread{groups}"
    if "stages" in schedule:
        kinds = [json.loads(stage)["kind"] for stage in schedule["stages"]]
        clusters = f", clusters of {schedule['cluster']}" if schedule.get("cluster", 1) > 1 else ""
        walks = f", walks of {schedule['walk']} tiles" if schedule.get("walk", 1) > 1 else ""
        return f"{group.kernel} of {len(kinds)} stages, {schedule.get('threads', 1)} threads{clusters}{walks}"
    numbers = [f"{name} {schedule[name]}" for name in ("team", "vector") if schedule.get(name, 1) != 1]
    return ", ".join([group.kernel, *numbers])


def differences(plans: Sequence[Plan]) -> list[Difference]:
    """The edges on which the plans differ, in the order of the first plan."""
    states = [_states(plan.explanation) for plan in plans]
    edges = list(dict.fromkeys(edge for state in states for edge in state))
    found = []
    for producer, consumer in edges:
        told = [state.get((producer, consumer), (_ABSENT, "")) for state in states]
        kinds = tuple(kind for kind, _ in told)
        if FUSED in kinds and set(kinds) - {FUSED, _ABSENT}:
            found.append(Difference(producer, consumer, kinds, tuple(reason for _, reason in told)))
    return found


def _states(plan: Explanation) -> dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[str, str]]:
    """For each edge between ONNX nodes whether it is fused, or which check refused it and why."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[str, str]] = {}
    for joined in plan.joined:
        if joined.producer != joined.consumer:
            found[joined.producer, joined.consumer] = (FUSED, "")
    for edge in plan.edges:
        found[edge.producer, edge.consumer] = (edge.kind, edge.reason)
    return found


def to_dict(plans: Sequence[Plan]) -> dict[str, Any]:
    """The comparison as plain data: tables as objects by target."""

    def by_target(table: Table) -> dict[str, Mapping[str, Any]]:
        return {name: dict(zip((p.target for p in plans), values, strict=True)) for name, values in table}

    return {
        "model": plans[0].explanation.model,
        "targets": [plan.target for plan in plans],
        "devices": by_target(device_facts(plans)),
        "totals": {plan.target: asdict(plan.explanation.totals) for plan in plans},
        "kernels": by_target(kernels(plans)),
        "differences": [asdict(difference) for difference in differences(plans)],
        "plans": {plan.target: plan.explanation.to_dict() for plan in plans},
    }
