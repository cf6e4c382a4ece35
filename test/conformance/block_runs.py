"""Schedules of random blocks: what the compiler chooses, and others that are drawn."""

from __future__ import annotations

import random
from typing import Any

from group_runs import GPU, HOST
from random_blocks import RandomBlock

from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.lines import WALKED, walk_problem
from mlirfuse.lowering.schedule.cross_layer import CrossLayerPlan, cross_layer_stages, tile_problem
from mlirfuse.lowering.schedule.host_cross_layer import CrossLayerLoops, KeptPlan, schedule_cross_layer
from mlirfuse.lowering.schedule.host_cross_layer import choose_cross_layer as choose_host
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles
from mlirfuse.lowering.schedule.simt_cross_layer import choose_cross_layer as choose_gpu

__all__ = ["drawn_parts", "drawn_walk", "gpu_schedule", "host_schedule", "refusal"]

MOST_ROWS = 4  # of a tile that is one of many
# For a block of 128 threads, and of 64.
STAGES: dict[int, tuple[Any, ...]] = {
    128: (
        ContractTiles(32, 64, 8, 4, 4),
        ContractTiles(64, 32, 8, 4, 4),
        ContractTiles(32, 32, 8, 2, 4),
        ContractTiles(64, 64, 16, 4, 8),
        ContractTiles(32, 32, 8, 4, 4, k_groups=2),
        ContractTiles(16, 32, 16, 4, 4, k_groups=4),
        TeamTiles(128),
    ),
    64: (
        ContractTiles(32, 32, 8, 4, 4),
        ContractTiles(16, 32, 4, 2, 4),
        ContractTiles(16, 32, 8, 4, 4, k_groups=2),
        TeamTiles(64),
    ),
}


def refusal(block: RandomBlock) -> str | None:
    """Why the group is not computed in stages, or None."""
    if isinstance(block.stages, str):
        return block.stages
    stages = cross_layer_stages(block.group)
    return stages if isinstance(stages, str) else None


def drawn_parts(block: RandomBlock) -> tuple[int, ...]:
    """Channels that stages add up at a time, where stages before them compute these alone; empty for all at once."""
    assert not isinstance(block.stages, str)
    draw = random.Random(block.seed)
    found = [0] * len(block.stages)
    for stage in block.stages:
        sizes = [n for n in range(1, stage.depth) if stage.depth % n == 0]
        if sizes and draw.random() < 0.7:
            trial = [*found[: stage.number], draw.choice(sizes), *found[stage.number + 1 :]]
            found = trial if tile_problem(block.stages, block.tile, trial) is None else found
    return tuple(found) if any(found) else ()


def drawn_walk(block: RandomBlock) -> tuple[tuple[int, ...], int]:
    """A tile, the block's own or one of fewer rows, and how many of them are computed one after the other."""
    assert not isinstance(block.stages, str)
    draw, own = random.Random(block.seed), block.tile
    if len(own) <= WALKED or draw.random() < 0.1:
        return own, 1
    for rows in (draw.randint(1, max(1, min(own[WALKED], MOST_ROWS))), 2, 1):
        boxes = TileBoxes(block.stages, (*own[:WALKED], rows, *own[WALKED + 1 :]))
        if walks := [n for n in range(2, boxes.tiles[WALKED] + 1) if walk_problem(boxes, n) is None]:
            return boxes.tile, draw.choice(walks)
    return own, 1


def gpu_schedule(block: RandomBlock) -> Any:
    """The compiler's, or a tile of the block's own with a schedule drawn for each stage; None if that is not legal."""
    if not block.seed % 2:
        return choose_gpu(block.group, GPU)
    draw = random.Random(block.seed)
    threads = draw.choice(list(STAGES))
    stages: list[Any] = []
    tile, walk = drawn_walk(block)
    parts = () if walk > 1 else drawn_parts(block)
    cluster = 1 if any(parts) or walk > 1 else draw.choice((1, 1, 2, 4, 8))
    for number, group in enumerate(CrossLayerPlan(block.group, tile, parts, cluster, walk).groups):
        suitable = [s for s in STAGES[threads] if s.why_illegal(group, GPU) is None]
        if any(parts) and parts[number]:
            suitable = [s for s in suitable if isinstance(s, ContractTiles) and s.k_groups == 1]
        else:
            suitable = [*suitable, *suitable, MapTiles(threads)]
        if not suitable:
            return None
        stages.append(draw.choice(suitable))
    return _legal(block, CrossLayerTiles(threads, tile, tuple(stages), parts, cluster, walk), GPU)


def host_schedule(block: RandomBlock) -> Any:
    """The compiler's, or a tile of the block's own with kept values in an order that is drawn."""
    if not block.seed % 2:
        return choose_host(block.group, HOST)
    draw = random.Random(block.seed)
    orders = []
    for v in CrossLayerPlan(block.group, block.tile).stages.kept:
        axes = list(range(block.group.types[v].rank))
        orders.append(tuple(draw.choice([axes, [axes[0], *axes[2:], *axes[1:2]], draw.sample(axes, len(axes))])))
    tile, walk = drawn_walk(block)
    plan = KeptPlan(block.group, tile, orders, walk)
    loops = schedule_cross_layer(plan, HOST)[1]
    return _legal(block, CrossLayerLoops(plan.boxes.tile, plan.orders, loops, walk), HOST)


def _legal(block: RandomBlock, schedule: Any, device: Any) -> Any:
    return schedule if schedule.why_illegal(block.group, device) is None else None
