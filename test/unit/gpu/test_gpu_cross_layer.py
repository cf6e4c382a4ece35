"""Groups of several stages in one kernel on the simulator, with its checks of races and bounds."""

import dataclasses

import pytest
from block_groups import BLOCKS
from checked_launch import launch
from group_builder import GroupBuilder
from simt_layers import DEVICE, POINT, SMALL, TEAM, fire, scheduled

from mlirfuse.lowering.gpu import cross_layer_stage
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.cost import kernel_cost
from mlirfuse.lowering.schedule.cross_layer import cross_layer_stages
from mlirfuse.lowering.schedule.reuse import reuse_of
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_choice import choose_schedule
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles, SimtCrossLayerPlan
from mlirfuse.lowering.schedule.simt_forms import schedule_from_dict, schedule_to_dict
from mlirfuse.simulator import SimulationError


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


@pytest.mark.parametrize(
    ("tile", "stages", "cluster"),
    [
        ((1, 12, 4, 8), (SMALL, SMALL, SMALL), 2),
        ((1, 12, 3, 7), (SMALL, POINT, SMALL), 4),
        ((1, 12, 10, 12), (TEAM, SMALL, POINT), 4),
        ((1, 12, 5, 6), (SMALL, SMALL, SMALL), 8),  # 12 channels are not shared by 8 blocks: each computes them all
    ],
    ids=str,
)
def test_blocks_of_a_cluster_share_the_channels_of_a_tile(tile, stages, cluster):
    error, counts = launch(fire(), CrossLayerTiles(128, tile, stages, cluster=cluster))
    assert error < 1e-6
    assert counts.dram_write_bytes == 4 * 24 * 10 * 12


def _cases():
    for name, block in BLOCKS.items():
        group, tiles = block()
        if not isinstance(cross_layer_stages(group), str):
            yield name, tiles[0], SMALL
            yield name, tiles[-1], TEAM
            if len(tiles) > 2:
                yield name, tiles[1], POINT


@pytest.mark.parametrize("name", sorted({name for name, _, _ in _cases()}))
def test_blocks_of_networks_are_one_kernel_of_clusters(name):
    group, tiles = BLOCKS[name]()
    error, _ = launch(group, scheduled(group, tiles[-1], SMALL, 2))
    assert error < 3e-6


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


# --- planted defects ------------------------------------------------------------------------------------


def test_a_barrier_left_out_between_stages_is_a_race(monkeypatch):
    monkeypatch.setattr(cross_layer_stage, "_between_stages", lambda frame: None)
    with pytest.raises(SimulationError, match="race"):
        launch(fire(), CrossLayerTiles(128, (1, 12, 4, 8), (POINT, POINT, POINT)))


def test_a_barrier_of_one_block_between_stages_of_a_cluster_is_a_race(monkeypatch):
    monkeypatch.setattr(cross_layer_stage, "_between_stages", lambda frame: frame.barrier())
    with pytest.raises(SimulationError, match="race"):
        launch(fire(), CrossLayerTiles(128, (1, 12, 4, 8), (POINT, POINT, POINT), cluster=4))


def test_a_box_without_its_halo_is_read_where_nothing_is(monkeypatch):
    def narrower(boxes, stage):
        box = root_box(boxes, stage)
        return box if stage.number else dataclasses.replace(box, sizes=(*box.sizes[:3], box.sizes[3] - 1))

    root_box = TileBoxes.root_box
    monkeypatch.setattr(TileBoxes, "root_box", narrower)
    with pytest.raises(SimulationError, match="no thread of the block has written"):
        launch(fire(), CrossLayerTiles(128, (1, 12, 4, 8), (POINT, POINT, POINT)))


def test_boxes_in_the_same_place_at_the_same_time_are_a_race(monkeypatch):
    """Two values that live together, at one offset."""
    monkeypatch.setattr(SimtCrossLayerPlan, "_allocate", lambda plan, wanted: ((0,) * len(wanted), 1 << 12))
    b = GroupBuilder()
    x = b.input(1, 4, 8, 8)
    left, right = b.conv(x, b.input(4, 4, 1, 1)), b.conv(x, b.input(4, 4, 1, 1))
    y = b.conv(b.op("concat", b.conv(left, b.input(4, 4, 1, 1)), right, axis=1), b.input(4, 8, 1, 1))
    with pytest.raises(SimulationError, match="race"):
        launch(b.group(y), CrossLayerTiles(128, (1, 4, 4, 8), (POINT,) * 4))


# --- what is not legal says why -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (CrossLayerTiles(128, (1, 12, 4, 8), (SMALL, SMALL)), "2 schedules for 3 stages"),
        (CrossLayerTiles(256, (1, 12, 4, 8), (SMALL, SMALL, SMALL)), "keeps 128 of 256 threads busy"),
        (CrossLayerTiles(128, (12, 4, 8), (SMALL, SMALL, SMALL)), "does not cut"),
        (CrossLayerTiles(128, (1, 12, 4, 8), (SMALL, MapTiles(128, 4), MapTiles(128, 3))), "vectors of 3"),
        (CrossLayerTiles(128, (1, 12, 4, 8), (TeamTiles(128, 128), SMALL, SMALL)), "a warp takes one"),
        (CrossLayerTiles(2048, (1, 12, 4, 8), (MapTiles(2048),) * 3), "2048 threads"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_schedules_that_are_not_legal_say_why(schedule, reason):
    assert reason in schedule.why_illegal(fire(), DEVICE)


def test_groups_of_one_channel_are_cut_anywhere():
    schedule = CrossLayerTiles(128, (1, 6, 4, 5), (SMALL,) * 3, (0, 0, 8))
    assert launch(inverted_residual(), schedule)[0] < 1e-6


def test_boxes_that_do_not_fit_are_refused():
    tiles = ContractTiles(64, 64, 8, 4, 4)
    schedule = CrossLayerTiles(256, (1, 256, 56, 56), (tiles, tiles, tiles))
    assert "bytes of shared memory" in schedule.why_illegal(fire(256, 128, 256, 56, 56), DEVICE)


def test_outputs_of_different_channels_are_not_cut_along_these():
    group, _ = BLOCKS["split outputs"]()
    stages = len(cross_layer_stages(group))
    assert "channels" in CrossLayerTiles(128, (1, 2, 3, 3), (POINT,) * stages).why_illegal(group, DEVICE)


# --- reductions added up in parts -----------------------------------------------------------------------


def inverted_residual(channels=6, wide=24, size=10):
    b = GroupBuilder()
    x = b.input(1, channels, size, size)
    y = b.op("unary", b.conv(x, b.input(wide, channels, 1, 1)), kind="relu")
    y = b.conv(y, b.input(wide, 1, 3, 3), pads=(1, 1, 1, 1), groups=wide)
    y = b.op("binary", b.conv(y, b.input(channels, wide, 1, 1)), b.input(1, channels, 1, 1), kind="add")
    return b.group(b.op("binary", x, y, kind="add"))


def two_layers(kernel=1, wide=16, filters=40):
    """A value before and after: both are read where the second layer adds up parts of the first."""
    b = GroupBuilder()
    x = b.op("unary", b.conv(b.input(1, 5, 9, 9), b.input(8, 5, 1, 1)), kind="relu")
    y = b.op("unary", b.conv(x, b.input(wide, 8, kernel, kernel), pads=(kernel // 2,) * 4), kind="relu")
    y = b.conv(y, b.input(filters, wide, 3, 3), pads=(1, 1, 1, 1))
    return b.group(b.conv(b.op("concat", x, y, axis=1), b.input(4, 8 + filters, 1, 1)))


@pytest.mark.parametrize("first", [SMALL, POINT], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("part", [8, 3])
@pytest.mark.parametrize("tile", [(1, 6, 4, 5), (1, 4, 10, 10)], ids=str)
def test_what_is_between_may_be_computed_in_parts_of_its_channels(tile, part, first):
    """The depthwise layer and the one before it run for each part; sums are held in registers."""
    schedule = CrossLayerTiles(128, tile, (first, POINT, SMALL), (0, 0, part))
    group = inverted_residual()
    error, _ = launch(group, schedule)
    assert error < 1e-6


@pytest.mark.parametrize("tile", [(1, 4, 9, 9), (1, 4, 4, 4), (1, 4, 2, 9)], ids=str)
@pytest.mark.parametrize(("kernel", "part"), [(1, 4), (3, 4), (3, 8)])
def test_sums_of_more_than_a_register_tile_lie_in_shared_memory(kernel, part, tile):
    schedule = CrossLayerTiles(128, tile, (SMALL,) * 4, (0, 0, part, 0))
    group = two_layers(kernel)
    assert SimtCrossLayerPlan(group, schedule).inner == {2: (1,)}
    error, _ = launch(group, schedule)
    assert error < 1e-6


def test_a_block_never_holds_all_channels_of_what_is_computed_in_parts():
    group, stages = inverted_residual(), (SMALL, POINT, SMALL)
    whole, parts = ((1, 6, 4, 5), stages), ((1, 6, 4, 5), stages, (0, 0, 8))
    found = [SimtCrossLayerPlan(group, CrossLayerTiles(128, *fields)) for fields in (whole, parts)]
    kept = [sum(plan.kept_span(v) for v in plan.kept) for plan in found]
    assert kept[0] == 3 * kept[1]
    assert found[0].shared_bytes > found[1].shared_bytes


def test_two_reductions_in_parts():
    b = GroupBuilder()
    x = b.input(1, 5, 9, 9)
    for filters in (8, 12, 16, 6):
        channels = b.types[x].dims[1]
        x = b.op("unary", b.conv(x, b.input(filters, channels, 3, 3), pads=(1, 1, 1, 1)), kind="relu")
    group = b.group(x)
    schedule = CrossLayerTiles(128, (1, 6, 4, 4), (SMALL,) * 4, (0, 4, 0, 8))
    assert SimtCrossLayerPlan(group, schedule).order == (1, 3)
    assert launch(group, schedule)[0] < 1e-6
    assert schedule_from_dict(schedule_to_dict(schedule)) == schedule


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((0, 0, 5), "do not divide 24 channels"),
        ((0, 0), "2 parts for 3 stages"),
        ((0, 1, 0), "does not add up parts of all channels"),
        ((3, 0, 0), "no stage computes the parts"),
    ],
)
def test_parts_that_are_not_legal_say_why(parts, reason):
    schedule = CrossLayerTiles(128, (1, 6, 4, 5), (SMALL, POINT, SMALL), parts)
    assert reason in schedule.why_illegal(inverted_residual(), DEVICE)


def test_what_is_computed_in_parts_is_not_read_when_all_are_added_up():
    """Some channels of it are a summand of the sum's epilogue."""
    b = GroupBuilder()
    y = b.op("unary", b.conv(b.input(1, 5, 9, 9), b.input(12, 5, 1, 1)), kind="tanh")
    some = b.op("slice", y, starts=(0, 2, 0, 0), sizes=(1, 4, 9, 9), steps=(1,) * 4)
    group = b.group(b.op("binary", b.conv(y, b.input(4, 12, 1, 1)), some, kind="add"))
    schedule = CrossLayerTiles(128, (1, 4, 3, 3), (SMALL, SMALL), (0, 6))
    assert "is used elsewhere too" in schedule.why_illegal(group, DEVICE)
    assert launch(group, dataclasses.replace(schedule, parts=()))[0] < 1e-6


def test_a_sum_in_parts_takes_a_register_tile():
    schedule = CrossLayerTiles(128, (1, 6, 4, 5), (SMALL, POINT, POINT), (0, 0, 8))
    assert "takes a register tile" in schedule.why_illegal(inverted_residual(), DEVICE)


@pytest.mark.parametrize(("channels", "spatial"), [(16, (5, 7)), (32, (4, 4)), (16, (10, 12))], ids=str)
def test_tiles_cut_grouped_convolutions_between_groups(channels, spatial):
    b = GroupBuilder()
    x = b.input(1, 64, 10, 12)
    deep = b.conv(x, b.input(64, 1, 3, 3), pads=(1, 1, 1, 1), groups=64)
    group = b.group(b.op("unary", b.conv(deep, b.input(64, 16, 1, 1), groups=4), kind="relu"))
    error, counts = launch(group, CrossLayerTiles(128, (1, channels, *spatial), (POINT, SMALL)))
    assert error < 1e-6
    assert counts.dram_write_bytes == 4 * 64 * 10 * 12


def test_a_part_of_a_group_takes_no_register_tile():
    b = GroupBuilder()
    x = b.input(1, 64, 10, 12)
    deep = b.conv(x, b.input(64, 1, 3, 3), pads=(1, 1, 1, 1), groups=64)
    group = b.group(b.conv(deep, b.input(64, 16, 1, 1), groups=4))
    schedule = CrossLayerTiles(128, (1, 8, 5, 6), (POINT, SMALL))
    assert "whole groups of a grouped convolution" in schedule.why_illegal(group, DEVICE)


def test_a_block_with_little_shared_memory_adds_up_in_parts():
    """What does not fit whole is chosen in parts, and gives the same."""
    group = inverted_residual(16, 512, 8)
    small = dataclasses.replace(DEVICE, shared_bytes_per_block=28 << 10)
    schedule = choose_schedule(group, small)
    assert isinstance(schedule, CrossLayerTiles)
    assert any(schedule.parts)
    assert schedule.why_illegal(group, small) is None
    assert launch(group, schedule)[0] < 1e-6


def reuse_told(group, schedule, device=DEVICE):
    moved = dict.fromkeys((*group.inputs, *group.outputs), 0)
    return reuse_of(group, schedule, device, [""] * len(group.inputs), moved)


def test_what_is_reused_in_parts_is_told():
    """A stage that computes a part at a time runs for each: what all tiles compute is counted in whole."""
    group, small = inverted_residual(16, 512, 8), dataclasses.replace(DEVICE, shared_bytes_per_block=28 << 10)
    schedule = choose_schedule(group, small)
    told = reuse_told(group, schedule, small)
    priced = kernel_cost(cross_layer_stages(group), schedule.tile, small, schedule.parts)
    assert any(schedule.parts)
    assert all(s.factor >= 1 for s in told.stages)
    assert told.flops_added == pytest.approx(priced.recomputed_flops, rel=0.05) and told.flops_added > 0
    assert told.flops == pytest.approx(told.flops_added + group.flops, rel=1e-6)


@pytest.mark.parametrize("registers", [128, 168])
def test_registers_and_memory_are_told_as_they_are_taken(registers):
    tiles = dataclasses.replace(SMALL, registers=registers)
    b = GroupBuilder()
    first = b.op("unary", b.conv(b.input(1, 8, 12, 16), b.input(16, 8, 1, 1)), kind="relu")
    group = b.group(b.conv(first, b.input(12, 16, 1, 1)))
    schedule = CrossLayerTiles(128, (1, 12, 4, 8), (tiles, tiles))
    told = reuse_told(group, schedule)
    assert told.registers == registers
    for stage in told.stages:
        alive = sum(v.box_bytes for v in told.values if v.place == "kept" and v.first <= stage.number <= v.last)
        assert alive + stage.array_bytes <= told.memory_bytes
    assert SimtCrossLayerPlan(group, schedule).is_resident(1)  # so that its first operand has no array of its own
    assert told.stages[1].array_bytes < told.stages[0].array_bytes
