"""Groups of several stages in one kernel on the simulator, with its checks of races and bounds."""

import dataclasses

import numpy as np
import pytest
from block_groups import BLOCKS
from group_builder import GroupBuilder, random_operands, reference, to_memory

from mlirfuse.device import device_for
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.schedule.cross_layer import CrossLayerPlan, cross_layer_stages
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_choice import choose_schedule, weight_layouts
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles
from mlirfuse.lowering.schedule.simt_forms import schedule_from_dict, schedule_to_dict
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context
from mlirfuse.simulator import Kernel

DEVICE = device_for("sm_90")
SMALL = ContractTiles(64, 32, 8, 4, 4)
POINT = MapTiles(128)
TEAM = TeamTiles(128)


def launch(group, schedule=None):
    """The largest error of a group's kernel relative to its largest element, and what the simulator counted."""
    schedule = schedule or choose_schedule(group, DEVICE)
    assert isinstance(schedule, CrossLayerTiles)
    assert schedule.why_illegal(group, DEVICE) is None
    layouts = weight_layouts(group, schedule)
    types = tuple(dataclasses.replace(t, layout=layouts.get(v, t.layout)) for v, t in enumerate(group.types))
    group = dataclasses.replace(group, types=types)
    program = tile_program(group, schedule)
    with context():
        text = str(emit_kernel(program, "kernel"))
    operands = random_operands(group)
    buffers = [to_memory(a, group.types[v]) for a, v in zip(operands, group.inputs, strict=True)]
    outputs = [np.full(group.types[v].size, 55, np.float32) for v in group.outputs]
    counts = Kernel.from_text(text, "kernel").launch(
        program.tiles, (program.workers, 1, 1), buffers + outputs, mode="check"
    )
    worst = 0.0
    for v, found, expected in zip(group.outputs, outputs, reference(group, operands), strict=True):
        wanted = to_memory(expected, group.types[v])
        worst = max(worst, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    return worst, counts


def fire(channels=16, squeeze=8, expand=12, height=10, width=12):
    b = GroupBuilder()
    x, bias = b.input(1, channels, height, width), b.input(1, squeeze, 1, 1)
    squeezed = b.op("binary", b.conv(x, b.input(squeeze, channels, 1, 1)), bias, kind="add")
    squeezed = b.op("unary", squeezed, kind="relu")
    one = b.op("unary", b.conv(squeezed, b.input(expand, squeeze, 1, 1)), kind="relu")
    three = b.op("unary", b.conv(squeezed, b.input(expand, squeeze, 3, 3), pads=(1, 1, 1, 1)), kind="relu")
    return b.group(b.op("concat", one, three, axis=1))


@pytest.mark.parametrize(
    ("tile", "stages"),
    [
        ((1, 12, 4, 8), (SMALL, SMALL, SMALL)),
        ((1, 12, 3, 7), (SMALL, POINT, SMALL)),
        ((1, 5, 4, 5), (POINT, SMALL, POINT)),
        ((1, 12, 10, 12), (SMALL, SMALL, SMALL)),
    ],
    ids=str,
)
def test_tiles_of_any_size_give_the_same(tile, stages):
    error, counts = launch(fire(), CrossLayerTiles(128, tile, stages))
    assert error < 1e-6
    assert counts.dram_write_bytes == 4 * 24 * 10 * 12


def scheduled(group, tile, like):
    """Every stage as `like`, where that suits it; else one thread an element."""
    schedules = []
    for stage in CrossLayerPlan(group, tile).groups:
        suits = like is POINT or like.why_illegal(stage, DEVICE) is None
        schedules.append(like if suits else POINT)
    return CrossLayerTiles(128, tile, tuple(schedules))


def _cases():
    for name, block in BLOCKS.items():
        group, tiles = block()
        if not isinstance(cross_layer_stages(group), str):
            yield from ((name, tile, SMALL) for tile in tiles)
            yield name, tiles[0], POINT
            yield name, tiles[-1], TEAM


@pytest.mark.parametrize(("name", "tile", "like"), list(_cases()), ids=str)
def test_blocks_of_networks_are_one_kernel(name, tile, like):
    group, _ = BLOCKS[name]()
    error, counts = launch(group, scheduled(group, tile, like))
    assert error < 3e-6
    assert counts.dram_write_bytes == sum(-(-group.types[v].bytes // 32) * 32 for v in group.outputs)


def test_schedules_survive_attributes():
    schedule = choose_schedule(fire(), DEVICE)
    assert isinstance(schedule, CrossLayerTiles)
    assert schedule_from_dict(schedule_to_dict(schedule)) == schedule
