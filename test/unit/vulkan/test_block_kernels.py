"""Blocks of networks as one kernel of several stages, executed by a Vulkan driver."""

import numpy as np
import pytest
from block_groups import BLOCKS
from group_builder import random_operands, reference
from shader_runs import needs_vulkan, run_group

from mlirfuse.device import PORTABLE, device_for
from mlirfuse.lowering.schedule.cross_layer import CrossLayerPlan, cross_layer_stages
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles

pytestmark = needs_vulkan
TILED, POINT, TEAM = ContractTiles(32, 32, 4, 4, 4), MapTiles(64), TeamTiles(64)


def error(name, tile, like, parts=()):
    """The largest error relative to the largest element; every stage as `like`, where that suits it."""
    group, _ = BLOCKS[name]()
    device = device_for(PORTABLE)
    plan = CrossLayerPlan(group, tile, parts)
    stages = tuple(like if like.why_illegal(stage, device) is None else POINT for stage in plan.groups)
    operands = random_operands(group)
    found = run_group(group, operands, CrossLayerTiles(64, tile, stages, parts))
    return max(
        np.abs(f.astype(np.float64) - e).max() / np.abs(e).max()
        for f, e in zip(found, reference(group, operands), strict=True)
    )


@pytest.mark.parametrize("like", [TILED, TEAM], ids=lambda s: type(s).__name__)
def test_a_fire_module_is_one_shader(like):
    assert error("fire", (1, 8, 3, 4), like) < 1e-6


def test_reductions_are_added_up_in_parts():
    assert error("inverted residual", (1, 3, 4, 4), TILED, (0, 0, 3)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in BLOCKS if not isinstance(cross_layer_stages(BLOCKS[n]()[0]), str)])
def test_every_block_is_one_shader(name):
    for tile in BLOCKS[name]()[1]:
        assert error(name, tile, TILED) < 3e-6
    assert error(name, BLOCKS[name]()[1][0], TEAM) < 3e-6
