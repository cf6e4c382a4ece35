"""Cross-layer groups on the CPU: several convolutions in one kernel, tile by tile, against NumPy definitions."""

import pytest
from cpu_cases import DEVICE, Case, compile_cases
from group_builder import GroupBuilder

from mlirfuse.lowering.schedule.host_cross_layer import CrossLayerLoops, KeptPlan, schedule_cross_layer

NHWC = (0, 2, 3, 1)


def fire(layout=None, channels=16, squeeze=8, expand=12, size=13):
    """squeeze 1x1, then expand 1x1 and 3x3 side by side."""
    b = GroupBuilder()
    x = b.input(1, channels, size, size, layout=layout)
    s = b.op("unary", b.conv(x, b.input(squeeze, channels, 1, 1)), kind="relu")
    left = b.op("unary", b.conv(s, b.input(expand, squeeze, 1, 1)), kind="relu")
    right = b.op("unary", b.conv(s, b.input(expand, squeeze, 3, 3), pads=(1,) * 4), kind="relu")
    out = b.op("concat", left, right, axis=1)
    return b.group(out, layouts={out: layout} if layout else {})


def cut(group, tile, orders=None):
    """The group in tiles of a given size."""
    from mlirfuse.lowering.groups.stages import stages_of

    stages = stages_of(group)
    orders = orders or tuple((0, *range(2, group.types[v].rank), 1) for v in stages.kept)
    plan = KeptPlan(group, tile, orders)
    return Case(group, CrossLayerLoops(plan.boxes.tile, plan.orders, schedule_cross_layer(plan, DEVICE)[1]))


RUNS = {
    "fire": Case(fire()),
    "fire_channels_last": Case(fire(NHWC)),
    "fire_in_tiles": cut(fire(NHWC), (1, 24, 4, 13)),
    "fire_in_tiles_both_ways": cut(fire(NHWC), (1, 24, 5, 6)),
    "fire_in_channels_first": cut(fire(), (1, 24, 3, 13), ((0, 1, 2, 3),)),
}


@pytest.fixture(scope="module")
def entries():
    return compile_cases(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_groups_agree_with_the_definition(name, entries):
    assert isinstance(RUNS[name].schedule, CrossLayerLoops)
    assert RUNS[name].run(entries[name]) < 3e-6
