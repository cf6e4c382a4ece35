"""Cross-layer groups on the CPU: the blocks of networks in one kernel each, tile by tile, against NumPy definitions."""

import dataclasses

import pytest
from block_groups import BLOCKS
from cpu_cases import DEVICE, Case, compile_cases
from group_builder import GroupBuilder

from mlirfuse.lowering.groups.boxes import frame_of
from mlirfuse.lowering.schedule.cross_layer import cross_layer_stages, tile_problem
from mlirfuse.lowering.schedule.host import (
    choose_host_schedule,
    host_alternatives,
    host_schedule_from_dict,
    host_schedule_to_dict,
)
from mlirfuse.lowering.schedule.host_contract import ContractTiles
from mlirfuse.lowering.schedule.host_cross_layer import (
    CrossLayerLoops,
    HostCrossLayerPlan,
    KeptPlan,
    choose_cross_layer,
    schedule_cross_layer,
)
from mlirfuse.lowering.schedule.host_map import MapLoops


def plain(rank):
    return tuple(range(rank))


def channels_last(rank):
    return (0, *range(2, rank), 1) if rank > 1 else plain(rank)


def laid_out(group, order):
    """The group with its operands and outputs in a memory order."""
    types = list(group.types)
    for v in (*group.inputs, *group.outputs):
        types[v] = dataclasses.replace(types[v], layout=order(types[v].rank))
    return dataclasses.replace(group, types=tuple(types))


def cut(group, tile, order=channels_last, walk=1):
    """The group in tiles of a given size, in walks of so many, what is kept in a given memory order."""
    stages = cross_layer_stages(group)
    assert not isinstance(stages, str), stages
    plan = KeptPlan(group, tile, [order(group.types[v].rank) for v in stages.kept], walk)
    return Case(group, CrossLayerLoops(plan.boxes.tile, plan.orders, schedule_cross_layer(plan, DEVICE)[1], walk))


def fire(channels=16, squeeze=8, expand=16, size=13):
    """squeeze 1x1, then expand 1x1 and 3x3 side by side."""
    b = GroupBuilder()
    x = b.input(1, channels, size, size)
    s = b.op("unary", b.conv(x, b.input(squeeze, channels, 1, 1)), kind="relu")
    left = b.op("unary", b.conv(s, b.input(expand, squeeze, 1, 1)), kind="relu")
    right = b.op("unary", b.conv(s, b.input(expand, squeeze, 3, 3), pads=(1,) * 4), kind="relu")
    return b.group(b.op("concat", left, right, axis=1))


def wide_inverted_residual():
    """Enough channels for vectors in every stage; strided."""
    b = GroupBuilder()
    x = b.op("unary", b.conv(b.input(1, 8, 15, 15), b.input(48, 8, 1, 1)), kind="relu")
    x = b.op("unary", b.conv(x, b.input(48, 1, 3, 3), strides=(2, 2), pads=(1,) * 4, groups=48), kind="relu")
    return b.group(b.conv(x, b.input(16, 48, 1, 1)))


def expanded_and_depthwise():
    """Tiles of channels need no more than their own of what comes before."""
    b = GroupBuilder()
    x = b.op("unary", b.conv(b.input(1, 8, 9, 9), b.input(48, 8, 1, 1)), kind="relu")
    return b.group(b.conv(x, b.input(48, 1, 3, 3), pads=(1,) * 4, groups=48))


def shared_weight():
    """One weight that two convolutions read."""
    b = GroupBuilder()
    w = b.input(8, 8, 3, 3)
    return b.group(b.conv(b.conv(b.input(1, 8, 9, 9), w, pads=(1,) * 4), w, pads=(1,) * 4))


def _blocks():
    """Every block in its first tiles, channels last; further tiles and orders are slow to compile."""
    quick, slow = {}, {}
    for name, block in BLOCKS.items():
        group, tiles = block()
        if isinstance(cross_layer_stages(group), str):
            continue
        quick[name] = cut(laid_out(group, channels_last), tiles[0])
        slow[f"{name} row major"] = cut(group, tiles[0])
        for tile in tiles[1:]:
            slow[f"{name} {tile}"] = cut(laid_out(group, channels_last), tile, plain)
        for tile, walk in _walks(group):
            slow[f"{name} {tile} walk {walk}"] = cut(laid_out(group, channels_last), tile, walk=walk)
    return quick, slow


def _walks(group):
    """Walks over the whole image in tiles of one row, and of as many rows as make walks of three."""
    stages = cross_layer_stages(group)
    frame = frame_of(stages)
    for rows in dict.fromkeys((1, -(-frame[2] // 3))) if len(frame) > 2 else ():
        tile, walk = (1, frame[1], rows, *frame[3:]), -(-frame[2] // rows)
        if tile_problem(stages, tile, walk=walk) is None and walk > 1:
            yield tile, walk


def _wide():
    found = {"wide fire": Case(laid_out(fire(), channels_last))}
    found["wide fire in rows"] = cut(laid_out(fire(), channels_last), (1, 16, 4, 13))
    found["wide fire both ways"] = cut(laid_out(fire(), channels_last), (1, 16, 5, 6))
    found["wide fire row major"] = cut(fire(), (1, 16, 4, 13), plain)
    found["wide inverted residual"] = cut(laid_out(wide_inverted_residual(), channels_last), (1, 16, 3, 8))
    found["tiles of channels"] = cut(laid_out(expanded_and_depthwise(), channels_last), (1, 16, 9, 9))
    found["uneven tiles of channels"] = cut(laid_out(expanded_and_depthwise(), channels_last), (1, 20, 4, 9))
    found["one weight twice"] = cut(shared_weight(), (1, 8, 4, 9))
    found["walk over a wide fire"] = cut(laid_out(fire(), channels_last), (1, 16, 1, 13), walk=13)
    found["walks row major"] = cut(fire(size=16), (1, 16, 4, 9), plain, walk=2)
    found["walk over an inverted residual"] = cut(
        laid_out(wide_inverted_residual(), channels_last), (1, 16, 2, 8), walk=4
    )
    return found


def _named(cases):
    return {name.translate(str.maketrans(" ,()", "____")): case for name, case in cases.items()}


QUICK, SLOW = _blocks()
RUNS, MORE_RUNS = _named({**_wide(), **QUICK}), _named(SLOW)


@pytest.fixture(scope="module")
def entries():
    return compile_cases(RUNS)


@pytest.fixture(scope="module")
def more_entries():
    return compile_cases(MORE_RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_blocks_agree_with_the_definition(name, entries):
    assert isinstance(RUNS[name].schedule, CrossLayerLoops)
    assert RUNS[name].run(entries[name]) < 3e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE_RUNS)
def test_blocks_agree_with_the_definition_in_other_tiles(name, more_entries):
    assert MORE_RUNS[name].run(more_entries[name]) < 3e-6


def test_blocks_are_computed_in_stages():
    for name in ("fire", "bottleneck", "inverted residual", "dense layer", "squeeze and excitation"):
        assert isinstance(choose_host_schedule(BLOCKS[name]()[0], DEVICE), CrossLayerLoops)


def test_convolutions_are_register_tiles_and_the_rest_vectors():
    schedule = RUNS["wide_inverted_residual"].schedule
    assert [type(s) for s in schedule.stages] == [ContractTiles, MapLoops, ContractTiles]
    assert schedule.stages[1].widths[0] >= DEVICE.vector_bytes // 4
    assert [s.weights for s in schedule.stages if isinstance(s, ContractTiles)] == ["packed", "packed"]


def test_every_weight_of_a_register_tile_is_packed():
    case = RUNS["wide_fire_in_rows"]
    assert set(case.packings) == set(case.group.inputs[1:])


def test_weights_are_packed_where_tiles_of_channels_are_whole_panels():
    packed, gathered = (RUNS[f"{uneven}tiles_of_channels"].schedule.stages[0] for uneven in ("", "uneven_"))
    assert (packed.weights, gathered.weights) == ("packed", "gathered")


def test_kept_boxes_share_memory_when_their_lives_do_not_meet():
    b = GroupBuilder()
    x = b.input(1, 8, 16, 16)
    for _ in range(4):
        x = b.conv(x, b.input(8, 8, 3, 3), pads=(1,) * 4)
    plan = HostCrossLayerPlan(group := b.group(x), cut(group, (1, 8, 4, 16)).schedule)
    first, second, third = (plan.kept[v].elements for v in plan.stages.kept)
    assert first > second > third
    assert plan.kept_elements == first + second


@pytest.mark.parametrize("name", ["wide_fire", "walks_row_major"])
def test_schedules_survive_attributes(name):
    schedule = RUNS[name].schedule
    assert host_schedule_from_dict(host_schedule_to_dict(schedule)) == schedule


def test_threads_are_handed_walks_and_lines_are_scratch():
    case = RUNS["walks_row_major"]
    plan = HostCrossLayerPlan(case.group, case.schedule)
    assert case.program.tile_count == 4 and plan.tile_count == 8
    (line,) = plan.lines.values()
    assert line.sizes == (1, 8, 2, 10)
    (kept,) = plan.kept.values()
    assert plan.kept_elements == kept.elements + line.elements


def test_a_thread_walks_where_that_saves_more_than_it_costs():
    """Depthwise convolutions of wide rows: what leads in is computed once for many tiles."""
    b = GroupBuilder()
    x = b.op("unary", b.conv(b.input(1, 24, 112, 112), b.input(144, 24, 1, 1)), kind="relu")
    x = b.op("unary", b.conv(x, b.input(144, 1, 3, 3), pads=(1,) * 4, groups=144), kind="relu")
    group = laid_out(b.group(b.conv(x, b.input(24, 144, 1, 1))), channels_last)
    schedule = choose_host_schedule(group, dataclasses.replace(DEVICE, multiprocessors=2))
    assert isinstance(schedule, CrossLayerLoops) and schedule.walk > 1
    plan = HostCrossLayerPlan(group, schedule)
    apart = KeptPlan(group, schedule.tile, schedule.orders)
    assert plan.boxes.recomputed_flops < apart.boxes.recomputed_flops / 2


def test_windows_over_channels_keep_them_innermost():
    """A window over channels is no reason to gather what the stage before it reads."""
    b = GroupBuilder()
    x = b.pool(b.input(1, 64, 29, 29), "max", (3, 3), (2, 2), (0, 0, 0, 0), (14, 14))
    total = b.pool(b.op("unary", x, kind="square"), "sum", (5,), (1,), (2, 2), (64,), axes=(1,))
    group = laid_out(b.group(b.conv(b.op("binary", x, total, kind="sub"), b.input(64, 64, 1, 1))), channels_last)
    schedule = choose_cross_layer(group, DEVICE)
    assert set(schedule.orders) == {channels_last(4)}


def test_a_search_may_measure_other_tiles():
    group = wide_inverted_residual()
    found = host_alternatives(group, DEVICE)
    assert found[0] == choose_host_schedule(group, DEVICE)
    assert len(set(found)) == len(found) > 1
    assert all(s.why_illegal(group, DEVICE) is None for s in found)


def test_illegal_schedules_say_why():
    case = RUNS["wide_fire_in_rows"]
    group, schedule = case.group, case.schedule

    def why(**changes):
        return dataclasses.replace(schedule, **changes).why_illegal(group, DEVICE)

    assert "2 schedules and 1 orders for 3 stages" in why(stages=schedule.stages[:2])
    assert "does not cut" in why(tile=(1, 16, 4))
    assert "walks of 3 tiles do not divide 4" in why(walk=3)
    assert "no order" in why(orders=((0, 1, 2, 2),))
    assert "stage 0" in why(tile=(1, 16, 1, 1))
    assert "bytes of scratch" in cross_layer_of_large_tiles()
    direct = dataclasses.replace(schedule.stages[2], staged=False)
    assert "it is padded" in why(stages=(*schedule.stages[:2], direct))


def cross_layer_of_large_tiles():
    b = GroupBuilder()
    x = b.conv(b.input(1, 16, 200, 200), b.input(64, 16, 1, 1))
    group = b.group(b.conv(x, b.input(16, 64, 1, 1)))
    schedule = dataclasses.replace(cut(group, (1, 16, 8, 200)).schedule, tile=(1, 16, 100, 200))
    return schedule.why_illegal(group, DEVICE)


def test_a_weight_is_not_packed_in_two_ways():
    case = RUNS["one_weight_twice"]
    assert [s.weights for s in case.schedule.stages] == ["gathered", "gathered"]
    stages = tuple(dataclasses.replace(s, weights="packed") for s in case.schedule.stages)
    schedule = dataclasses.replace(case.schedule, stages=stages)
    assert "different memory orders" in schedule.why_illegal(case.group, DEVICE)
