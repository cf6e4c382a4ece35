"""Cross-layer groups on a CPU: a thread computes a tile of the outputs in stages, what is between them in its caches.

for each walk over tiles of the outputs:               (one at a time for each thread)
    for each tile, and each stage:  the loops of its own schedule, on what is new of its root's box
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mlirfuse.device import Device
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.cost import ranked_tiles
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.stages import Stages
from mlirfuse.lowering.schedule.choose_contract import price_contract
from mlirfuse.lowering.schedule.cross_layer import CrossLayerPlan, cross_layer_stages, tile_problem
from mlirfuse.lowering.schedule.deep import StageGroup, allocate
from mlirfuse.lowering.schedule.host_contract import STAGED_LIMIT, ContractPlan, ContractTiles
from mlirfuse.lowering.schedule.host_map import MapLoops, map_weight_layouts
from mlirfuse.lowering.schedule.host_map_choice import price_map
from mlirfuse.lowering.schedule.packing import Packing

__all__ = [
    "CrossLayerLoops",
    "HostCrossLayerPlan",
    "KeptPlan",
    "choose_cross_layer",
    "ranked_schedules",
    "schedule_cross_layer",
]

BoxLoops = MapLoops | ContractTiles
Order = tuple[int, ...]
ATTEMPTS = 8  # tiles that are tried, the cheapest first, until one has room for what its stages stage
PART_CYCLES = 100  # from one part of a stage's box to the next


@dataclass(frozen=True)
class CrossLayerLoops:
    """`tile` has the extent of a tile along each dimension of the last sink's result; `stages` a schedule for each.

    `orders` has the memory order of the box of each value that is kept between stages, dimensions outermost first. A
    thread walks over `walk` tiles along the first spatial dimension, and takes over what they have in common.
    """

    tile: tuple[int, ...]
    orders: tuple[Order, ...]
    stages: tuple[BoxLoops, ...]
    walk: int = 1

    def why_illegal(self, group: Group, device: Device) -> str | None:
        stages = cross_layer_stages(group)
        if isinstance(stages, str):
            return stages
        if complaint := tile_problem(stages, self.tile, walk=self.walk):
            return complaint
        if len(self.stages) != len(stages) or len(self.orders) != len(stages.kept):
            return f"{len(self.stages)} schedules and {len(self.orders)} orders for {len(stages)} stages"
        for value, order in zip(stages.kept, self.orders, strict=True):
            if sorted(order) != list(range(group.types[value].rank)):
                return f"{order} is no order of {group.types[value].rank} dimensions"
        plan = HostCrossLayerPlan(group, self)
        for number, (stage, schedule) in enumerate(zip(plan.groups, self.stages, strict=True)):
            if complaint := schedule.why_illegal(stage, device):
                return f"stage {number}: {complaint}"
        if isinstance(packings := plan.packings, str):
            return packings
        if plan.scratch_bytes > STAGED_LIMIT:
            return f"{plan.scratch_bytes} bytes of scratch; the limit is {STAGED_LIMIT}"
        return None


class KeptPlan(CrossLayerPlan):
    """A plan in which the box of each kept value has its place in scratch, its dimensions in an order."""

    def __init__(self, group: Group, tile: Sequence[int], orders: Sequence[Order], walk: int = 1) -> None:
        super().__init__(group, tile, walk=walk)
        self.orders = tuple(orders)
        self.groups: Sequence[Group] = [self._stage_group(part) for part in self.groups]

    @cached_property
    def kept_strides(self) -> dict[int, tuple[int, ...]]:
        """Elements between neighbours in the box of each kept value."""
        return {v: self.strides_of(v, self.kept[v]) for v in self.stages.kept}

    def order_of(self, value: int) -> Order:
        """The memory order of what is kept of a value."""
        return self.orders[self.stages.kept.index(value)]

    def strides_of(self, value: int, box: Box) -> tuple[int, ...]:
        """Elements between neighbours in a box of a kept value."""
        return _strides(box.sizes, self.order_of(value))

    def _stage_group(self, part: Group) -> StageGroup:
        """A stage with the kept boxes as they lie in scratch."""
        types = list(part.types)
        for value, order in zip(self.stages.kept, self.orders, strict=True):
            types[value] = replace(types[value], layout=order)
        fields = (part.inputs, part.members, part.outputs, part.immediates, part.box, part.root, part.part)
        return StageGroup(tuple(types), *fields, tuple(self.kept_strides.items()))

    @cached_property
    def _allocated(self) -> tuple[tuple[int, ...], int]:
        lives = self.stages.lifetimes
        boxes = [(self.kept[v].elements, *lives[v]) for v in self.stages.kept]
        return allocate([*boxes, *((box.elements, 0, len(self.stages)) for box in self.lines.values())])

    @property
    def offsets(self) -> dict[int, int]:
        """Where the box of each kept value starts in the scratch that they share, in elements."""
        return dict(zip(self.stages.kept, self._allocated[0], strict=False))

    @property
    def line_offsets(self) -> dict[int, int]:
        """Where the line of each value starts that has one, in elements."""
        return dict(zip(self.lines, self._allocated[0][len(self.stages.kept) :], strict=True))

    @property
    def kept_elements(self) -> int:
        """Of kept boxes and lines."""
        return self._allocated[1]


class HostCrossLayerPlan(KeptPlan):
    """A plan with the schedules of its stages."""

    def __init__(self, group: Group, schedule: CrossLayerLoops) -> None:
        super().__init__(group, schedule.tile, schedule.orders, schedule.walk)
        self.schedule = schedule

    @cached_property
    def scratch_bytes(self) -> int:
        """What is kept between stages, and what register tiles stage."""
        pairs = zip(self.groups, self.schedule.stages, strict=True)
        staged = (ContractPlan(g, s).scratch_bytes for g, s in pairs if isinstance(s, ContractTiles))
        return 4 * self.kept_elements + sum(staged)

    @cached_property
    def packings(self) -> dict[int, Packing] | str:
        """How constant operands are packed for the stages that read them; or why one packing cannot serve all."""
        found: dict[int, Packing] = {}
        wanted = [_packing(g, s) for g, s in zip(self.groups, self.schedule.stages, strict=True)]
        for packing in wanted:
            found |= packing
        for group, packing in zip(self.groups, wanted, strict=True):
            if any(packing.get(v) != found[v] for v in group.inputs if v in found):
                return "two stages read one constant operand in different memory orders"
        return found

    @property
    def weight_layouts(self) -> dict[int, tuple[int, ...]]:
        """Layouts that constant operands should have for the stages that walk over elements."""
        found: dict[int, tuple[int, ...]] = {}
        for group, schedule in zip(self.groups, self.schedule.stages, strict=True):
            if isinstance(schedule, MapLoops):
                layouts = map_weight_layouts(group, schedule)
                found |= {v: layout for v, layout in layouts.items() if v in self.group.inputs and v not in found}
        packed = self.packings
        return {v: layout for v, layout in found.items() if v not in packed}


def _packing(group: Group, schedule: BoxLoops) -> Mapping[int, Packing]:
    if not isinstance(schedule, ContractTiles):
        return {}
    plan = ContractPlan(group, schedule)
    return {} if plan.packing is None else {plan.w_value: plan.packing}


def _strides(sizes: Sequence[int], order: Order) -> tuple[int, ...]:
    strides, step = [0] * len(sizes), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= sizes[axis]
    return tuple(strides)


# -- the choice


def choose_cross_layer(group: Group, device: Device) -> CrossLayerLoops | None:
    """The tiles that the cost model ranks first, or None where the group has no stages on boxes."""
    return next(ranked_schedules(group, device), None)


def ranked_schedules(group: Group, device: Device) -> Iterator[CrossLayerLoops]:
    """A legal schedule for each of the first tiles that there is one for, in the order of the cost model."""
    stages = cross_layer_stages(group)
    if isinstance(stages, str):
        return
    for cost in itertools.islice(ranked_tiles(stages, device), ATTEMPTS):
        plans = [KeptPlan(group, cost.tile, orders, cost.walk) for orders in _orders(stages)]
        priced = [(*schedule_cross_layer(plan, device), plan) for plan in plans]
        for _, loops, plan in sorted(priced, key=lambda p: p[0]):
            found = CrossLayerLoops(plan.boxes.tile, plan.orders, loops, cost.walk)
            if found.why_illegal(group, device) is None:
                yield found
                break


def _orders(stages: Stages) -> Iterator[tuple[Order, ...]]:
    """Memory orders of what is kept: channels innermost, and as the dimensions are numbered."""
    ranks = [stages.group.types[v].rank for v in stages.kept]
    last = tuple((0, *range(2, rank), 1) if rank > 1 else tuple(range(rank)) for rank in ranks)
    plain = tuple(tuple(range(rank)) for rank in ranks)
    yield from dict.fromkeys((last, plain))


def schedule_cross_layer(plan: KeptPlan, device: Device) -> tuple[float, tuple[BoxLoops, ...]]:
    """A schedule for each stage, run by one core, and the cycles of all for one tile, or for one walk."""
    core, walk = replace(device, multiprocessors=1), plan.boxes.walk
    total, chosen = 0.0, []
    for stage, group in zip(plan.stages, plan.groups, strict=True):
        cycles, loops = price_contract(group, core, PART_CYCLES) or price_map(group, core)
        total += cycles * (1 if walk is None else walk.runs(stage))
        chosen.append(loops)
    return total, _with_one_packing(plan.groups, chosen)


def _with_one_packing(groups: Sequence[Group], chosen: Sequence[BoxLoops]) -> tuple[BoxLoops, ...]:
    """Constant operands that stages want packed in different ways are not: each gathers its panels."""
    wanted = [_packing(g, s) for g, s in zip(groups, chosen, strict=True)]
    odd = {
        v
        for group, mine in zip(groups, wanted, strict=True)
        for v in group.inputs
        if any(v in other and mine.get(v) != other[v] for other in wanted)
    }
    pairs = zip(chosen, wanted, strict=True)
    return tuple(
        replace(s, weights="gathered") if isinstance(s, ContractTiles) and odd & set(packed) else s
        for s, packed in pairs
    )
