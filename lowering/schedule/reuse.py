"""What the kernel of a group of several stages reuses under the schedule that it has, in numbers.

Boxes come from the reuse analysis (`groups.boxes`), seconds from the cost model (`groups.cost`), for the tile and the
stages' schedules that were chosen, whoever chose them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mlirfuse.device import Device, occupancy
from mlirfuse.dialect.indexing import Expr, Var
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.cost import scheduled_cost
from mlirfuse.lowering.groups.extents import extents_of
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.groups.kernel_cost import StageCost
from mlirfuse.lowering.groups.register_tile import RegisterTile
from mlirfuse.lowering.groups.reuse import Reuse, StageReuse, ValueReuse
from mlirfuse.lowering.groups.stages import Stage
from mlirfuse.lowering.schedule.host_contract import STAGED_LIMIT
from mlirfuse.lowering.schedule.host_contract import ContractTiles as HostContractTiles
from mlirfuse.lowering.schedule.host_cross_layer import CrossLayerLoops, HostCrossLayerPlan
from mlirfuse.lowering.schedule.simt import ContractTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles, SimtCrossLayerPlan

__all__ = ["reuse_of"]

NEIGHBOURS = 4  # pairs of tiles in the middle of an axis by which its step is found


def reuse_of(
    group: Group, schedule: Any, device: Device, names: Sequence[str], dram_bytes: Mapping[int, int]
) -> Reuse | None:
    """The reuse of a group with a schedule of several stages; None with any other.

    `names` are those of the group's operands, in order, "" for constants; `dram_bytes` is what the launch moves of each
    operand and output.
    """
    match schedule:
        case CrossLayerTiles():
            plan = SimtCrossLayerPlan(group, schedule)
            arrays = [4 * sum(rows * columns for rows, columns in shapes) for shapes in plan.shapes]
            limit = device.shared_bytes_per_block
            return _Reader(plan, arrays, schedule.threads, plan.shared_bytes, limit, device).reuse(names, dram_bytes)
        case CrossLayerLoops():
            host = HostCrossLayerPlan(group, schedule)
            arrays = [0] * len(host.stages)
            return _Reader(host, arrays, 1, host.scratch_bytes, STAGED_LIMIT, device).reuse(names, dram_bytes)
    return None


class _Reader:
    """Reads a plan; `arrays` are the bytes that each stage needs for itself."""

    def __init__(
        self,
        plan: SimtCrossLayerPlan | HostCrossLayerPlan,
        arrays: Sequence[int],
        threads: int,
        memory: int,
        limit: int,
        device: Device,
    ) -> None:
        self.plan, self.arrays, self.threads, self.memory, self.limit = plan, arrays, threads, memory, limit
        self.device = device
        self.group, self.stages, self.boxes = plan.group, plan.stages, plan.boxes
        self.extents = extents_of(plan.boxes)[0]
        self.walk = self.extents.walk

    def reuse(self, names: Sequence[str], dram_bytes: Mapping[int, int]) -> Reuse:
        schedules = self.plan.schedule.stages
        ways = [_way(s) for s in schedules]
        cluster = self.boxes.cluster
        cost = scheduled_cost(self.stages, self.extents, ways, self.threads, self.memory, self.device, cluster)
        stages = tuple(
            self._stage(stage, schedule, part)
            for stage, schedule, part in zip(self.stages, schedules, cost.stages, strict=True)
        )
        walks = math.prod(self.plan.walks)
        multiprocessors = self.device.multiprocessors_of_clusters(cluster)
        tiled = [s.registers for s in schedules if isinstance(s, ContractTiles)]
        registers = min(max(tiled, default=cost.registers), self.device.registers_per_thread)
        held = occupancy(self.device, self.threads, self.memory, registers)
        room = (1 if held is None else held.blocks) * multiprocessors
        return Reuse(
            device=self.device.name,
            tile=self.boxes.tile,
            frame=tuple(self.boxes.frame),
            tiles=self.boxes.tiles,
            threads=self.threads,
            multiprocessors=self.device.multiprocessors,
            at_once=min(walks * cluster, room),
            most_at_once=room,
            limited_by="cores" if held is None else held.limit,
            rounds=-(-walks * cluster // max(1, room)),
            registers=registers,
            kept_bytes=4 * self.extents.shared_elements(self.stages),
            memory_bytes=self.memory,
            memory_limit=self.limit,
            flops=self.plan.tile_count * sum(s.flops for s in stages),
            flops_added=sum(s.flops_added for s in stages),
            l2_bytes=cost.l2_bytes,
            dram_bytes=sum(dram_bytes.values()),
            seconds=cost.seconds,
            busiest_seconds=cost.busiest,
            dram_seconds=cost.memory,
            stages=stages,
            values=(
                *self._operands(names, dram_bytes),
                *(v for member in self.group.members for v in self._made(member, dram_bytes)),
            ),
            cluster=cluster,
            walk=self.walk,
        )

    # --- stages ----------------------------------------------------------------------------------

    def _stage(self, stage: Stage, schedule: Any, cost: StageCost) -> StageReuse:
        box, tiles = self.boxes.root_box(stage), self.plan.tile_count
        following = [m for m in stage.group.members if m.result in _followers(stage)]
        size = stage.root.node.out.size
        computed = self.boxes.computed(stage)
        return StageReuse(
            number=stage.number,
            op=_kind(stage.root),
            nodes=tuple(dict.fromkeys(name for m in (stage.root, *following) for name in m.onnx_nodes)),
            shape=stage.root.node.out.dims,
            box=box.sizes,
            halo=self._halo(box),
            kind=cost.how,
            schedule={k: v for k, v in asdict(schedule).items() if isinstance(v, int) and not isinstance(v, bool)},
            flops=computed / tiles * stage.flops_per_element,
            factor=computed / size,
            flops_added=(computed - size) * stage.flops_per_element,
            compute_seconds=cost.compute / self.walk,
            latency_seconds=cost.latency / self.walk,
            l2_bytes=round(cost.l2_bytes / self.walk),
            array_bytes=self.arrays[stage.number],
        )

    def _halo(self, box: Box) -> tuple[int, ...]:
        return tuple(_overlap(start, size) for start, size in zip(box.start, box.sizes, strict=True))

    # --- values ----------------------------------------------------------------------------------

    def _operands(self, names: Sequence[str], dram_bytes: Mapping[int, int]) -> list[ValueReuse]:
        found = []
        for name, value in zip(names, self.group.inputs, strict=True):
            reads = [(s.number, box) for s in self.stages for v, box in self.boxes.reads(s) if v == value]
            if not reads:
                continue
            numbers = [number for number, _ in reads]
            box = max((box for _, box in reads), key=lambda b: b.elements)
            reader = next(m for m in self.group.members if value in m.operands)
            kind, known = ("", name) if name else ("weight", f"of {_name(reader)}")
            found.append(self._value(value, known, kind, "read", min(numbers), max(numbers), box, dram_bytes[value]))
        return found

    def _made(self, member: Member, dram_bytes: Mapping[int, int]) -> list[ValueReuse]:
        """A value of the group, in every place where it lives."""
        value, op = member.result, _kind(member)
        name = _name(member)
        found = []
        if value in self.stages.kept:
            first, last = self.stages.lifetimes[value]
            found.append(self._value(value, name, op, "kept", first, last, self.boxes.kept[value]))
        if value in self.plan.lines:
            everywhere = 0, len(self.stages) - 1
            found.append(self._value(value, name, op, "line", *everywhere, self.plan.lines[value]))
        if value in self.group.outputs:
            writers = self.stages.writers(value)
            box = self.boxes.root_box(writers[0]) if len(writers) == 1 else None
            numbers = [s.number for s in writers]
            moved = dram_bytes[value]
            found.append(self._value(value, name, op, "written", min(numbers), max(numbers), box, moved))
        if not found:
            holders = [s for s in self.stages if any(m.result == value for m in s.group.members)]
            passing = [s for s in holders if value == s.root.result or value in _followers(s)]
            numbers = [s.number for s in passing or holders]
            box = self.boxes.root_box(passing[0]) if passing else None
            place = "register" if passing else "inline"
            found.append(self._value(value, name, op, place, min(numbers), max(numbers), box))
        return found

    def _value(
        self, value: int, name: str, op: str, place: str, first: int, last: int, box: Box | None, moved: int = 0
    ) -> ValueReuse:
        tensor = self.group.types[value]
        known = box is not None and len(box.sizes) == len(tensor.dims)
        return ValueReuse(
            name=name,
            op=op,
            shape=tensor.dims,
            place=place,
            first=first,
            last=last,
            bytes=tensor.bytes,
            box=box.sizes if box is not None and known else (),
            halo=self._halo(box) if box is not None and known and place != "line" else (),
            box_bytes=4 * box.elements if box is not None else 0,
            dram_bytes=moved,
        )


def _kind(member: Member) -> str:
    kind = member.node.attrs.get("kind")
    return f"{member.node.op}.{kind}" if isinstance(kind, str) else member.node.op


def _name(member: Member) -> str:
    return "+".join(member.onnx_nodes) or _kind(member)


def _followers(stage: Stage) -> set[int]:
    """What follows a stage's root element by element, in registers."""
    found = {stage.root.result}
    for member in stage.group.members:
        if found.intersection(member.operands):
            found.add(member.result)
    return found - {stage.root.result}


def _way(schedule: Any) -> RegisterTile | str:
    match schedule:
        case ContractTiles():
            return schedule.register_tile
        case HostContractTiles():
            return "contract"
        case TeamTiles():
            return "team"
    return "map"


def _overlap(start: Expr, size: int) -> int:
    """How many positions two neighbouring tiles have in common; none where the box does not move with tiles."""
    steps = [step for v in start.variables() if (step := _step(start, v)) > 0]
    return max(0, size - min(steps)) if steps else 0


def _step(start: Expr, along: Var) -> int:
    """How far a box moves from one tile to the next, away from borders."""
    middle = {v: (v.lo + v.hi) // 2 for v in start.variables()}
    first = max(along.lo, middle[along] - NEIGHBOURS // 2)
    numbers = range(first, min(along.hi, first + NEIGHBOURS))
    at = lambda number: start.evaluate({**middle, along: number})  # noqa: E731
    return max((at(number + 1) - at(number) for number in numbers), default=0)
