"""Stages of several anchors on a CPU: what a thread keeps between them lies in its scratch.

for each tile of the last anchor's result:                 (one at a time for each thread)
    for each anchor:  the loops of its own schedule, on boxes
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mlirfuse.device import Device
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.plan.chain import Chain, cut_axis, part_of
from mlirfuse.lowering.schedule.choose_contract import TILE_CYCLES, price_contract
from mlirfuse.lowering.schedule.deep import DeepPlan, StageGroup, allocate, group_chain, lifetimes, part_problem
from mlirfuse.lowering.schedule.host_contract import STAGED_LIMIT, ContractPlan, ContractTiles
from mlirfuse.lowering.schedule.host_map import MapLoops, map_sections
from mlirfuse.lowering.schedule.host_map_choice import choose_map
from mlirfuse.lowering.schedule.host_rows import CYCLES_PER_ELEMENT, RowLoops, RowPlan, choose_rows

__all__ = ["DeepLoops", "HostDeepPlan", "StageLoops", "choose_deep", "part_count", "schedule_stages"]

StageLoops = MapLoops | ContractTiles | RowLoops
ROWS = (4, 8, 16, 32, 64, 128)
ENOUGH_ROWS = 32  # rows of a tile that reuse the later operands well
MOST_PART = 512  # positions of a part
SLOW = 16.0  # cycles for a multiply-add that is computed point by point


@dataclass(frozen=True)
class DeepLoops:
    """`rows` of the dimension that tiles cut; for each stage its schedule, and the memory order of what it keeps.

    Stages but the last keep a box: `orders` has one entry for each of them, dimensions outermost first. With `part`,
    the stages run once for each part of so many positions of the rows that are reduced, and carry the reduction.
    """

    rows: int
    orders: tuple[tuple[int, ...], ...]
    stages: tuple[StageLoops, ...]
    part: int = 0

    def why_illegal(self, group: Group, device: Device) -> str | None:
        chain = group_chain(group)
        if isinstance(chain, str):
            return chain
        if len(self.stages) != len(chain.links) or len(self.orders) != len(chain.links) - 1:
            return f"{len(self.stages)} stages for {len(chain.links)} anchors"
        if complaint := part_problem(group, self.part):
            return complaint
        plan = HostDeepPlan(group, self)
        for number, (stage, schedule) in enumerate(zip(plan.groups, self.stages, strict=True)):
            if complaint := schedule.why_illegal(stage, device):
                return f"stage {number}: {complaint}"
        if self.part and not (isinstance(self.stages[1], RowLoops) and plan.in_place[1]):
            return "a row whose reduction is carried is visited once in each part, and vectors of rows overlap"
        if plan.scratch_bytes > STAGED_LIMIT:
            return f"{plan.scratch_bytes} bytes of scratch; the limit is {STAGED_LIMIT}"
        return None


class HostDeepPlan(DeepPlan):
    """A deep plan with the schedules of its stages: their groups, and where each keeps its box."""

    def __init__(self, group: Group, schedule: DeepLoops) -> None:
        super().__init__(group, schedule.rows, schedule.part)
        self.schedule = schedule
        self.groups = [self.stage_group(number, schedule.orders) for number in range(len(self.stages))]
        self.in_place = [_in_place(g, s) for g, s in zip(self.groups, schedule.stages, strict=True)]
        lives = lifetimes(self.in_place[: len(self.stages) - 1])
        arrays = [(math.prod(self.stages[first].box.sizes), first, last) for first, last in dict.fromkeys(lives)]
        if schedule.part:
            arrays = [(size, 0, len(self.stages)) for size, _, _ in arrays]
        offsets, self.kept_elements = allocate(arrays)
        places = dict(zip(dict.fromkeys(lives), offsets, strict=True))
        self.offsets = [places[life] for life in lives]

    @property
    def scratch_bytes(self) -> int:
        """What is kept between stages, and what register tiles stage."""
        pairs = zip(self.groups, self.schedule.stages, strict=True)
        staged = (ContractPlan(g, s).scratch_bytes for g, s in pairs if isinstance(s, ContractTiles))
        return 4 * (self.kept_elements + self.carried_elements) + sum(staged)

    @property
    def row_strides(self) -> tuple[int, ...]:
        """Of what is carried for each row, by the index of the box that the last stage reads."""
        box = self.stages[-2].box
        strides, step = [0] * len(box.sizes), 1
        for axis in reversed(range(len(box.sizes) - 1)):
            strides[axis] = step
            step *= box.sizes[axis]
        return tuple(strides)

    @property
    def lanes(self) -> int:
        """Of a vector, as the stage of rows uses them."""
        return next(s.lanes for s in self.schedule.stages if isinstance(s, RowLoops))

    @property
    def row_count(self) -> int:
        return math.prod(self.stages[-2].box.sizes[:-1])

    @property
    def carried_elements(self) -> int:
        """What parts carry: a maximum, a sum and a factor for each row, the result so far, and what the part adds."""
        return 2 * math.prod(self.stages[-1].box.sizes) + 3 * self.row_count if self.schedule.part else 0


def _in_place(group: StageGroup, schedule: StageLoops) -> bool:
    """Whether a stage may leave its result where its operand was: every row is read and written once."""
    if not isinstance(schedule, RowLoops):
        return False
    plan = RowPlan(group, schedule)
    return not plan.across or plan.lane_size % schedule.lanes == 0


def part_count(group: Group, schedule: StageLoops) -> int:
    """The tiles in which a stage's own schedule cuts its box."""
    match schedule:
        case ContractTiles():
            return ContractPlan(group, schedule).tile_count
        case RowLoops():
            return schedule.tiles
        case MapLoops():
            return sum(section.tiles for section in map_sections(group, schedule))


def choose_deep(group: Group, device: Device) -> DeepLoops | None:
    """The tiles with the least estimated time, or None where the anchors form no chain of stages."""
    chain = group_chain(group)
    if isinstance(chain, str):
        return None
    best: tuple[float, DeepLoops] | None = None
    for rows, part in _tiles(group, chain, device):
        plan = DeepPlan(group, rows, part)
        for orders in _orders(plan):
            cost, stages = schedule_stages(plan, orders, device)
            waves = math.prod(plan.tiles) / device.multiprocessors
            cost = (cost * plan.parts + TILE_CYCLES) * (0.5 * math.ceil(waves) + 0.5 * waves)
            found = DeepLoops(rows, orders, stages, part)
            if (best is None or cost < best[0]) and found.why_illegal(group, device) is None:
                best = cost, found
    return None if best is None else best[1]


def _tiles(group: Group, chain: Chain, device: Device) -> list[tuple[int, int]]:
    """Rows and parts to try: rows whole as long as what is kept of a few of them stays in the second cache."""
    whole = [(rows, 0) for rows in _row_counts(group, chain, device)]
    cut, part = cut_axis(chain), part_of(chain, MOST_PART)
    size = 1 if cut is None else chain.last.anchor.node.out.dims[cut]
    if not part or _largest_box(group, min(ENOUGH_ROWS, size)) <= device.l2_bytes // 2:
        return whole
    return [*whole, *((rows, part) for rows in dict.fromkeys((min(ENOUGH_ROWS, size), min(2 * ENOUGH_ROWS, size))))]


def _row_counts(group: Group, chain: Chain, device: Device) -> list[int]:
    """Numbers of rows to try: what is kept should stay in the second cache, and every core get a tile."""
    cut = cut_axis(chain)
    size = 1 if cut is None else chain.last.anchor.node.out.dims[cut]
    counts = [r for r in ROWS if r < size] or [size]
    if size <= ROWS[-1]:
        counts.append(size)
    small = [r for r in counts if _largest_box(group, r) <= device.l2_bytes // 2]
    return (small or counts[:1])[-3:]


def _largest_box(group: Group, rows: int) -> int:
    """Bytes of the largest box that tiles of so many rows keep."""
    return max(4 * math.prod(stage.box.sizes) for stage in DeepPlan(group, rows).stages[:-1])


def _orders(plan: DeepPlan) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Memory orders of the boxes that are kept: as they are, and with the two long dimensions exchanged."""
    plain = [tuple(range(len(stage.box.sizes))) for stage in plan.stages[:-1]]
    yield tuple(plain)
    turned = []
    for stage, order in zip(plan.stages[:-1], plain, strict=True):
        long = [a for a in order if stage.box.sizes[a] > 1]
        if len(long) >= 2:
            a, b = long[-2:]
            order = tuple(b if x == a else a if x == b else x for x in order)
        turned.append(order)
    if turned != plain:
        yield tuple(turned)


def schedule_stages(
    plan: DeepPlan, orders: tuple[tuple[int, ...], ...], device: Device
) -> tuple[float, tuple[StageLoops, ...]]:
    """A schedule for each stage, run by one core, and the cycles of all."""
    core = replace(device, multiprocessors=1)
    total, chosen = 0.0, []
    for number in range(len(plan.stages)):
        cycles, schedule = _stage(plan.stage_group(number, orders), core)
        total += cycles
        chosen.append(schedule)
    return total, tuple(chosen)


def _stage(group: StageGroup, core: Device) -> tuple[float, StageLoops]:
    anchor = group.members[0]
    if (priced := price_contract(group, core)) is not None:
        return priced
    if (rows := choose_rows(group, core)) is not None:
        cycles = anchor.node.out.size * CYCLES_PER_ELEMENT[anchor.node.op]
        return cycles, replace(rows, tiles=1, kept=True)
    return SLOW * group.flops, choose_map(group, core)
