"""Blocks that walk over several tiles and take over lines, on the simulator, with its checks of races and bounds."""

import dataclasses
import math

import pytest
from block_groups import BLOCKS
from checked_launch import launch
from group_builder import GroupBuilder
from simt_layers import DEVICE, POINT, SMALL, TEAM, fire, scheduled

from mlirfuse.lowering.gpu import cross_layer_stage
from mlirfuse.lowering.groups.boxes import TileBoxes, frame_of
from mlirfuse.lowering.groups.lines import Walk, walk_problem
from mlirfuse.lowering.groups.reuse import Reuse
from mlirfuse.lowering.groups.traffic import launch_traffic
from mlirfuse.lowering.kernel.walk import Walker
from mlirfuse.lowering.schedule.cross_layer import CrossLayerPlan, cross_layer_stages
from mlirfuse.lowering.schedule.reuse import reuse_of
from mlirfuse.lowering.schedule.side_by_side import SideBySide
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles, SimtCrossLayerPlan
from mlirfuse.lowering.schedule.simt_forms import schedule_from_dict, schedule_to_dict
from mlirfuse.simulator import SimulationError


@pytest.mark.parametrize(
    ("tile", "stages", "walk"),
    [
        ((1, 12, 2, 12), (SMALL, SMALL, SMALL), 5),
        ((1, 12, 1, 6), (SMALL, POINT, SMALL), 10),
        ((1, 12, 1, 6), (TEAM, SMALL, POINT), 5),
        ((1, 12, 4, 8), (SMALL, SMALL, SMALL), 3),  # the last tile is moved inwards
        ((1, 12, 3, 7), (POINT, SMALL, POINT), 2),
    ],
    ids=str,
)
def test_a_block_that_walks_over_tiles_takes_over_lines(tile, stages, walk):
    schedule = CrossLayerTiles(128, tile, stages, walk=walk)
    plan, apart = SimtCrossLayerPlan(fire(), schedule), CrossLayerPlan(fire(), tile)
    assert plan.lines and plan.blocks == apart.tile_count // walk
    assert plan.boxes.recomputed_flops < apart.boxes.recomputed_flops
    error, counts = launch(fire(), schedule)
    assert error < 1e-6
    assert counts.dram_write_bytes == 4 * 24 * 10 * 12


def _walks():
    """Blocks in the tallest tiles that make a walk of three or more, and in the tallest of which there are two."""
    for name, block in BLOCKS.items():
        group, _ = block()
        stages = cross_layer_stages(group)
        if isinstance(stages, str) or len(frame := frame_of(stages)) < 3:
            continue
        for rows in range(frame[2] - 1, 0, -1):
            count = -(-frame[2] // rows)
            tile = (1, frame[1], rows, *frame[3:])
            if walk_problem(TileBoxes(stages, tile), count) is None:
                yield name, tile, count
            if count > 3:
                break


WALKS = list(_walks())


def test_most_blocks_have_lines():
    assert len({name for name, *_ in WALKS}) >= 20


@pytest.mark.parametrize(("name", "tile", "walk"), WALKS, ids=str)
def test_blocks_of_networks_are_computed_in_walks(name, tile, walk):
    group, _ = BLOCKS[name]()
    schedule = scheduled(group, tile, SMALL, walk=walk)
    assert schedule.why_illegal(group, DEVICE) is None
    error, counts = launch(group, schedule)
    assert error < 3e-6
    told = launch_traffic(group, None, tile, walk)
    assert (counts.dram_read_bytes, counts.dram_write_bytes) == (sum(told.read), sum(told.written))


def test_a_line_that_is_not_taken_over_shows(monkeypatch):
    monkeypatch.setattr(Walker, "take_over", lambda *_: None)
    schedule = CrossLayerTiles(128, (1, 12, 2, 12), (POINT, POINT, POINT), walk=5)
    try:
        error, _ = launch(fire(), schedule)
    except SimulationError:
        return
    assert not error < 1e-3


def test_a_line_that_is_one_row_off_shows(monkeypatch):
    of_next = Walk.of_next
    monkeypatch.setattr(Walk, "of_next", lambda walk, box: _one_row_earlier(of_next(walk, box)))
    error, _ = launch(fire(), CrossLayerTiles(128, (1, 12, 2, 12), (POINT, POINT, POINT), walk=5))
    assert not error < 1e-3


def _one_row_earlier(box):
    return dataclasses.replace(box, start=(*box.start[:2], box.start[2] - 1, *box.start[3:]))


def test_a_barrier_left_out_between_the_tiles_of_a_walk_is_a_race(monkeypatch):
    stages, kept = len(cross_layer_stages(fire())), cross_layer_stage._between_stages
    calls = []

    def all_but_the_last(frame):
        calls.append(frame)
        if len(calls) != stages:  # after the strips of the first stage, after the second, and after the tile
            kept(frame)

    monkeypatch.setattr(cross_layer_stage, "_between_stages", all_but_the_last)
    with pytest.raises(SimulationError, match="race"):
        launch(fire(), CrossLayerTiles(128, (1, 12, 2, 12), (POINT, POINT, POINT), walk=5))
    assert len(calls) == stages


def test_parts_side_by_side_walk_each_for_itself():
    b = GroupBuilder()
    outputs = []
    for channels in (8, 4):
        x = b.conv(b.input(1, channels, 12, 9), b.input(8, channels, 3, 3), pads=(1, 1, 1, 1))
        outputs.append(b.conv(b.op("unary", x, kind="relu"), b.input(4, 8, 3, 3), pads=(1, 1, 1, 1)))
    walks = [CrossLayerTiles(128, (1, 4, rows, 9), (SMALL, POINT), walk=12 // rows) for rows in (2, 3)]
    error, _ = launch(b.group(*outputs), SideBySide(128, tuple(walks)))
    assert error < 1e-6


def test_a_schedule_that_was_written_before_there_were_walks_is_read():
    written = schedule_to_dict(CrossLayerTiles(128, (1, 12, 4, 8), (SMALL, SMALL, SMALL)))
    del written["walk"]
    assert schedule_from_dict(written).walk == 1


def test_what_is_reused_in_a_walk_is_told():
    group, schedule = fire(), CrossLayerTiles(128, (1, 12, 2, 12), (SMALL, SMALL, SMALL), walk=5)
    told = reuse_of(
        group, schedule, DEVICE, [""] * len(group.inputs), dict.fromkeys((*group.inputs, *group.outputs), 0)
    )
    assert (told.walk, told.tiles, told.at_once) == (5, (1, 1, 5, 1), 1)
    assert math.prod(told.tiles) * sum(s.l2_bytes for s in told.stages) == pytest.approx(told.l2_bytes, rel=1e-3)
    assert told.flops_added == SimtCrossLayerPlan(group, schedule).boxes.recomputed_flops
    (line,) = [v for v in told.values if v.place == "line"]
    assert line.box == (1, 8, 2, 12) and line.box_bytes == 4 * 8 * 2 * 12
    assert Reuse.from_dict(dataclasses.asdict(told)) == told


def test_walks_that_are_not_computed_say_why():
    tile, stages = (1, 12, 2, 12), (POINT, POINT, POINT)
    assert "do not divide 5" in CrossLayerTiles(128, tile, stages, walk=2).why_illegal(fire(), DEVICE)
    assert "do not walk" in CrossLayerTiles(128, tile, stages, cluster=2, walk=5).why_illegal(fire(), DEVICE)
    assert "add up no parts" in CrossLayerTiles(128, tile, stages, (0, 4, 0), walk=5).why_illegal(fire(), DEVICE)
