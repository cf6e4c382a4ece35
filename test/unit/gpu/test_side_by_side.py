"""Parts of a group that share no values, as blocks of one grid, on the simulator."""

import dataclasses

import pytest
from checked_launch import DEVICE, launch
from group_builder import GroupBuilder

from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.schedule.side_by_side import SideBySide
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_choice import choose_schedule
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles
from mlirfuse.lowering.schedule.simt_forms import schedule_from_dict, schedule_to_dict

SMALL = ContractTiles(64, 32, 8, 4, 4)


def branches(height=9, width=12):
    """A 3x3 and a 1x1 convolution of one tensor, a pool of it with a projection, and its mean: three kinds of part."""
    b = GroupBuilder()
    x = b.input(1, 16, height, width)
    three = b.op("unary", b.conv(x, b.input(24, 16, 3, 3), pads=(1, 1, 1, 1)), kind="relu")
    one = b.conv(x, b.input(40, 16, 1, 1))
    pooled = b.pool(x, "max", (3, 3), (1, 1), (1, 1, 1, 1), (height, width))
    projected = b.conv(pooled, b.input(8, 16, 1, 1))
    return b.group(three, one, projected)


def test_parts_are_what_no_value_joins():
    group = branches()
    parts = components(group)
    assert [len(p.members) for p in parts] == [2, 1, 2]
    assert [p.outputs for p in parts] == [(v,) for v in group.outputs]
    assert all(part.inputs[0] == group.inputs[0] for part in parts)


def test_branches_of_one_tensor_are_one_grid():
    group = branches()
    schedule = choose_schedule(group, DEVICE)
    assert isinstance(schedule, SideBySide)
    assert isinstance(schedule.stages[2], CrossLayerTiles)
    error, counts = launch(group, schedule)
    assert error < 1e-6
    assert counts.dram_write_bytes == 4 * (24 + 40 + 8) * 9 * 12


@pytest.mark.parametrize("size", [(7, 7), (5, 9), (14, 14)], ids=str)
def test_every_kind_of_part(size):
    b = GroupBuilder()
    x, y = b.input(1, 32, *size), b.input(1, 96)
    outputs = (
        b.conv(x, b.input(16, 32, 3, 3), pads=(1, 1, 1, 1)),
        b.op("unary", x, kind="tanh"),
        b.op("contract", y, b.input(10, 96), equation="ab,cb->ac"),
    )
    group = b.group(*outputs)
    for stages in ((SMALL, MapTiles(128), TeamTiles(128)), (MapTiles(128), MapTiles(128), MapTiles(128))):
        assert launch(group, SideBySide(128, stages))[0] < 1e-6


def test_two_blocks_of_stages():
    b = GroupBuilder()
    x, y = b.input(1, 8, 6, 8), b.input(1, 4, 10, 10)
    first = b.conv(b.conv(x, b.input(16, 8, 1, 1)), b.input(12, 16, 3, 3), pads=(1, 1, 1, 1))
    second = b.conv(b.conv(y, b.input(8, 4, 3, 3), pads=(1, 1, 1, 1)), b.input(20, 8, 1, 1))
    group = b.group(first, second)
    tiles = (CrossLayerTiles(128, (1, 12, 4, 4), (SMALL, SMALL)), CrossLayerTiles(128, (1, 20, 5, 4), (SMALL, SMALL)))
    assert launch(group, SideBySide(128, tiles))[0] < 1e-6


def test_schedules_survive_attributes():
    schedule = choose_schedule(branches(), DEVICE)
    assert schedule_from_dict(schedule_to_dict(schedule)) == schedule


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ((SMALL, SMALL), "2 schedules for 3 parts"),
        ((SMALL, SMALL, MapTiles(256)), "part 2 has blocks of 256 threads"),
        ((SMALL, MapTiles(128, 7), MapTiles(128)), "part 1: vectors of 7"),
        ((TeamTiles(128, 128), SMALL, MapTiles(128)), "part 0 shares an element among 128 threads"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_schedules_that_are_not_legal_say_why(stages, reason):
    assert reason in SideBySide(128, stages).why_illegal(branches(), DEVICE)


def test_one_part_is_not_side_by_side():
    group = components(branches())[0]
    assert components(group) == (group,)
    assert SideBySide(128, (SMALL,)).why_illegal(dataclasses.replace(group), DEVICE) is not None
