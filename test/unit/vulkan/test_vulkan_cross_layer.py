"""Every kind of block of networks as one kernel of several stages, executed by a Vulkan driver."""

import dataclasses

import numpy as np
import pytest
from block_groups import BLOCKS
from group_builder import GroupBuilder, random_operands, reference
from shader_runs import needs_vulkan, run_group

from mlirfuse.device import device_for
from mlirfuse.lowering.schedule.cross_layer import cross_layer_stages
from mlirfuse.lowering.schedule.side_by_side import SideBySide
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_choice import choose_schedule, weight_layouts
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles
from mlirfuse.lowering.schedule.simt_deep import DeepTiles

pytestmark = needs_vulkan
QUICK = ("separable", "shuffle unit")
DEVICE = device_for("mali-g710")  # as much memory in a block as Mesa's software driver has


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in BLOCKS]
)
def test_a_block_is_one_kernel(name):
    group, _ = BLOCKS[name]()
    check(group, choose_schedule(group, DEVICE))


def test_a_reduction_is_added_up_in_parts():
    tiled = ContractTiles(32, 32, 4, 4, 4)
    group, _ = BLOCKS["inverted residual"]()
    check(group, CrossLayerTiles(64, (1, 3, 4, 4), (tiled, MapTiles(64), tiled), (0, 0, 3)))


@pytest.mark.parametrize(("name", "tile", "walk"), [("fire", (1, 8, 3, 9), 3), ("separable", (1, 4, 1, 6), 6)])
def test_a_block_walks_over_tiles(name, tile, walk):
    group, _ = BLOCKS[name]()
    stages = cross_layer_stages(group)
    check(group, CrossLayerTiles(64, tile, (MapTiles(64),) * len(stages), walk=walk))


def check(group, schedule):
    """The outputs by a driver are the reference's."""
    assert isinstance(schedule, CrossLayerTiles | DeepTiles | SideBySide)
    layouts = weight_layouts(group, schedule)
    types = tuple(dataclasses.replace(t, layout=layouts.get(v, t.layout)) for v, t in enumerate(group.types))
    group = dataclasses.replace(group, types=types)
    operands = random_operands(group)
    found = run_group(group, operands, schedule, DEVICE)
    for made, expected in zip(found, reference(group, operands), strict=True):
        assert np.abs(made - expected).max() <= 1e-5 * np.abs(expected).max()


def test_parts_side_by_side_in_one_grid():
    """Blocks of a tiled convolution, of a map and of warps, each with the shared memory of its own part."""
    b = GroupBuilder()
    x, y = b.input(1, 32, 5, 9), b.input(1, 96)
    outputs = (
        b.conv(x, b.input(16, 32, 3, 3), pads=(1, 1, 1, 1)),
        b.op("unary", x, kind="tanh"),
        b.op("contract", y, b.input(10, 96), equation="ab,cb->ac"),
    )
    group = b.group(*outputs)
    stages = (ContractTiles(64, 32, 8, 4, 4), MapTiles(128), TeamTiles(128))
    check(group, SideBySide(128, stages))


def test_branches_of_stages_side_by_side():
    b = GroupBuilder()
    x = b.input(1, 16, 9, 12)
    pooled = b.pool(x, "max", (3, 3), (1, 1), (1, 1, 1, 1), (9, 12))
    three = b.op("unary", b.conv(x, b.input(24, 16, 3, 3), pads=(1, 1, 1, 1)), kind="relu")
    group = b.group(three, b.conv(x, b.input(40, 16, 1, 1)), b.conv(pooled, b.input(8, 16, 1, 1)))
    schedule = choose_schedule(group, DEVICE)
    assert isinstance(schedule, SideBySide)
    check(group, schedule)
