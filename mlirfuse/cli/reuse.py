"""What `mlirfuse explain` prints of a kernel of several layers: why it is one, tile by tile and value by value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlirfuse.cli.display import Display, amount, count, microseconds, size

if TYPE_CHECKING:
    from mlirfuse.explain.facts import Explanation, GroupFacts, Proof, Reuse
    from mlirfuse.lowering.groups.reuse import PartReuse, SideBySideReuse, StageReuse, ValueReuse
    from mlirfuse.lowering.plan.verdict import Launch

__all__ = ["print_group_reuse", "print_reuse_summary"]


def print_reuse_summary(display: Display, explanation: Explanation) -> None:
    """One row for each kernel of several layers."""
    rows = [_summary(g, g.reuse) for g in explanation.groups if g.reuse is not None]
    if not rows:
        return
    display.line(f"{count(len(rows), 'group')} of several layers, computed tile by tile (--group N tells all)", "bold")
    columns = ("group", "mode", "tile", "memory", "stages")
    numbers = ("tiles", "at once", "computed", "kernel", "its parts", "runner-up", "saved")
    display.table([*columns, *numbers], rows, left=columns)


def _summary(group: GroupFacts, reuse: Reuse) -> list[Any]:
    proof = group.proof
    parts = () if proof is None else proof.parts
    return [
        group.number,
        group.mode,
        _by(reuse.tile),
        f"{size(reuse.memory_bytes)} of {size(reuse.memory_limit)}",
        " ".join(f"{s.op}:{s.kind}" for s in reuse.stages),
        math.prod(reuse.tiles),
        reuse.at_once,
        f"{reuse.factor:.2f}x",
        microseconds(_planned(group, reuse)),
        microseconds(_seconds(parts)) if parts else None,
        microseconds(_seconds(proof.runner_up)) if proof is not None and proof.runner_up else None,
        size(_saved(proof, reuse)) if parts else None,
    ]


def _planned(group: GroupFacts, reuse: Reuse) -> float:
    """What the planner compared with the parts; else the price of the schedule."""
    proof = group.proof
    return float(proof.numbers["seconds_together"]) if proof is not None and proof.parts else reuse.seconds


def print_group_reuse(display: Display, group: GroupFacts) -> None:
    """Everything about one kernel: its tile, its stages, where values live, and what else it could have been."""
    if group.reuse is not None:
        _print_tiles(display, group.reuse, group.proof)
    if group.side_by_side is not None:
        _print_parts(display, group.side_by_side)
    if group.proof is not None:
        _print_proof(display, group.proof)


def _print_tiles(display: Display, reuse: Reuse, proof: Proof | None) -> None:
    display.line(f"\ncomputed tile by tile, {count(len(reuse.stages), 'stage')} for each tile", "bold")
    display.table(["tile", ""], _facts(reuse, proof), left=("",))
    columns = ("stage", "op", "nodes", "result", "box of a tile", "halo", "how")
    numbers = ("work", "computed", "compute", "latency", "from L2", "own memory")
    display.table([*columns, *numbers], map(_stage_row, reuse.stages), left=columns)
    columns = ("value", "op", "shape", "lives in", "stages", "box of a tile", "halo")
    rows = [_value_row(v, on_gpu=reuse.threads > 1) for v in reuse.values]
    display.table([*columns, "bytes of the box", "DRAM bytes"], rows, left=columns)


def _print_parts(display: Display, beside: SideBySideReuse) -> None:
    """What parts side by side take and move; then the tiles of those that hold several layers."""
    blocks = f"{count(beside.tiles, 'block')} of {beside.threads} threads"
    display.line(f"\n{count(len(beside.parts), 'part')} that share no value, side by side in {blocks}", "bold")
    columns = ("part", "nodes", "how")
    numbers = ("blocks", "shared memory", "work", "computed again", "DRAM bytes")
    display.table([*columns, *numbers], map(_part_row, range(len(beside.parts)), beside.parts), left=columns)
    shared = f"a block takes {size(beside.shared_bytes)} of {size(beside.memory_limit)} of shared memory"
    together = f"{size(beside.bytes_read_together)} that several parts read are moved once"
    display.line(f"{shared}; the launch moves {size(beside.dram_bytes)}: {together}")
    for part in beside.parts:
        if part.reuse is not None:
            _print_tiles(display, part.reuse, None)


def _part_row(number: int, part: PartReuse) -> list[Any]:
    how = f"{part.kind} {_tile(part)}".strip() if part.reuse is None else f"{part.kind} {_by(part.reuse.tile)}"
    return [
        number,
        " ".join(part.nodes),
        how,
        part.tiles,
        size(part.shared_bytes) if part.shared_bytes else None,
        amount(part.flops, "FLOP"),
        amount(part.flops_added, "FLOP") if part.flops_added else None,
        size(part.dram_bytes),
    ]


def _facts(reuse: Reuse, proof: Proof | None) -> list[tuple[str, str]]:
    on_gpu = reuse.threads > 1
    workers = f"blocks of {reuse.threads} threads" if on_gpu else "tiles, one a thread"
    processors = "multiprocessors" if on_gpu else "cores"
    room = f"{reuse.device} has room for {reuse.most_at_once} on {reuse.multiprocessors} {processors}"
    memory = f"{size(reuse.memory_bytes)} by liveness, {size(reuse.kept_bytes)} of it between stages"
    once = f"{amount(round(reuse.flops - reuse.flops_added), 'FLOP')} of the layers"
    fixed = reuse.seconds - max(reuse.busiest_seconds, reuse.dram_seconds)
    facts = [
        ("size", f"{_by(reuse.tile)} of {_by(reuse.frame)}"),
        ("tiles", f"{math.prod(reuse.tiles)} ({_by(reuse.tiles)}){_walks(reuse)}"),
        ("in flight", f"{reuse.at_once} {workers}; {room}, by {reuse.limited_by}: {count(reuse.rounds, 'round')}"),
        ("shared memory" if on_gpu else "scratch", f"{memory}; limit {size(reuse.memory_limit)}"),
        ("registers", f"{reuse.registers} for a thread" if reuse.registers else ""),
        ("operations", f"{amount(round(reuse.flops), 'FLOP')}, {reuse.factor:.2f} times the {once}"),
        ("from L2", size(round(reuse.l2_bytes)) if on_gpu else ""),
        ("DRAM", size(reuse.dram_bytes)),
    ]
    if proof is not None and proof.parts:
        parts = f"{size(_moved(proof.parts))} that its parts move"
        facts.append(("DRAM saved", f"{size(_saved(proof, reuse))} of the {parts}"))
    busiest = f"{microseconds(reuse.busiest_seconds)} in the busiest of the {processors}"
    meanwhile = f"{microseconds(reuse.dram_seconds)} of DRAM traffic meanwhile"
    first = f"{microseconds(fixed)} of launch and latency"
    facts.append(("time", f"{microseconds(reuse.seconds)}: {first}, {busiest}, {meanwhile}"))
    return [(name, text) for name, text in facts if text]


def _walks(reuse: Reuse) -> str:
    worker = "block" if reuse.threads > 1 else "thread"
    return f", {reuse.walk} one after the other in a {worker}" if reuse.walk > 1 else ""


def _stage_row(stage: StageReuse) -> list[Any]:
    return [
        stage.number,
        stage.op,
        " ".join(stage.nodes),
        _by(stage.shape),
        _by(stage.box),
        _halo(stage.halo),
        f"{stage.kind} {_tile(stage)}".strip(),
        amount(round(stage.flops), "FLOP"),
        f"{stage.factor:.2f}x",
        microseconds(stage.compute_seconds),
        microseconds(stage.latency_seconds),
        size(round(stage.l2_bytes)),
        size(stage.array_bytes) if stage.array_bytes else None,
    ]


def _tile(stage: StageReuse | PartReuse) -> str:
    """The register tile of a stage or part, where the schedule has one."""
    s = stage.schedule
    if {"block_m", "thread_m"} <= set(s):
        groups = f", {s['k_groups']} groups" if s["k_groups"] > 1 else ""
        return f"{s['block_m']}x{s['block_n']}x{s['block_k']}, {s['thread_m']}x{s['thread_n']} a thread{groups}"
    if {"rows", "columns", "lanes"} <= set(s):
        return f"{s['rows']}x{s['columns']} vectors of {s['lanes']}"
    return ""


def _value_row(value: ValueReuse, on_gpu: bool) -> list[Any]:
    places = {
        "read": "DRAM, read",
        "written": "DRAM, written",
        "kept": "shared memory" if on_gpu else "scratch",
        "line": "line buffer, in shared memory" if on_gpu else "line buffer, in scratch",
        "register": "registers",
        "inline": "nowhere: computed where it is read",
    }
    stages = str(value.first) if value.first == value.last else f"{value.first}-{value.last}"
    return [
        value.name, value.op, _by(value.shape), places[value.place], stages, _by(value.box), _halo(value.halo),
        size(value.box_bytes) if value.box_bytes else None, size(value.dram_bytes) if value.dram_bytes else None,
    ]  # fmt: skip


def _print_proof(display: Display, proof: Proof) -> None:
    """What the kernel was compared with."""
    display.line(f"why it is one kernel: {proof.reason}", "bold")
    rows = [["alone", *_launch_row(part)] for part in proof.parts]
    rows += [["runner-up", *_launch_row(part)] for part in proof.runner_up]
    if proof.larger is not None:
        rows.append(["with neighbours", *_launch_row(proof.larger)])
    if rows:
        columns = ("beside it", "nodes", "tile")
        display.table([*columns, "seconds", "DRAM bytes"], rows, left=columns)
    if proof.parts:
        taken = float(proof.numbers["seconds_together"])
        runner_up = f"the next best way to run them {microseconds(_seconds(proof.runner_up))}, "
        display.line(
            f"its {len(proof.parts)} parts take {microseconds(_seconds(proof.parts))} in all, "
            f"{runner_up if proof.runner_up else ''}it takes {microseconds(taken)}"
        )
    if proof.larger is not None:
        display.line(
            f"with the kernel that takes in neighbours, the network takes {microseconds(proof.larger_adds)} more"
        )


def _launch_row(launch: Launch) -> list[Any]:
    return [" ".join(launch.nodes), _by(launch.tile), microseconds(launch.seconds), size(launch.dram_bytes)]


def _seconds(launches: Sequence[Launch]) -> float:
    return sum(launch.seconds for launch in launches)


def _moved(launches: Sequence[Launch]) -> int:
    return sum(launch.dram_bytes for launch in launches)


def _saved(proof: Proof | None, reuse: Reuse) -> int:
    return 0 if proof is None else _moved(proof.parts) - reuse.dram_bytes


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _halo(sizes: Sequence[int]) -> str:
    return _by(sizes) if any(sizes) else ""
