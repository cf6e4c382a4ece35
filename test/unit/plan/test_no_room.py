"""What is missing where no tile of several layers fits: each cause by its name and both numbers, where it is true."""

import dataclasses

import pytest
from plan_graphs import GraphBuilder, image

from mlirfuse.device import device_for, planning_device
from mlirfuse.lowering.groups.cost import cheapest_tile, memory_wanted
from mlirfuse.lowering.groups.launch_cost import launch_seconds
from mlirfuse.lowering.groups.stages import stages_of
from mlirfuse.lowering.plan.cross_layer import CrossLayer, group_of_nodes

TITAN = device_for("titan-xp")


def excitation(channels):
    """A convolution whose result is multiplied by what a layer makes of its means: all of it must be there at once."""
    b = GraphBuilder()
    x = b.conv(image(8, 28), channels, "conv")
    means = b.op("reduce", x, kind="mean", axes=(2, 3), keepdims=True, name="mean")
    b.binary("mul", x, b.conv(means, channels, "excite", kernel=1))
    return b.graph()


def side_by_side():
    """Two convolutions of different images."""
    b = GraphBuilder()
    b.conv(image(8, 28), 16, "left")
    b.conv(image(8, 28), 16, "right", kernel=1)
    return b.graph()


def together(graph, device):
    return CrossLayer(graph, device, lambda members: None).interval(range(len(graph)), 1.0, 2)


def test_memory_for_the_smallest_tile():
    assert together(excitation(8), TITAN).cost is not None
    kind, reason, numbers = together(excitation(64), TITAN).refusal
    wanted, limit = numbers["shared_bytes"], numbers["limit"]
    assert kind == "resources" and wanted > limit == TITAN.shared_bytes_per_block
    assert wanted >= 4 * 64 * 28 * 28
    assert reason == f"the smallest tile with all channels takes {wanted} bytes, NVIDIA TITAN Xp has room for {limit}"


def test_threads_of_a_block():
    narrow = dataclasses.replace(TITAN, max_threads_per_block=64)
    kind, reason, numbers = together(excitation(8), narrow).refusal
    assert (kind, numbers["threads"], numbers["limit"]) == ("resources", 128, 64)
    assert reason == "a kernel of several layers has blocks of 128 threads, NVIDIA TITAN Xp allows 64"


def test_what_runs_side_by_side_takes_as_long_when_it_is_launched():
    cost, graph = together(side_by_side(), TITAN).cost, side_by_side()
    group = group_of_nodes(graph, range(len(graph)))
    assert launch_seconds(group, cost.dram_bytes, TITAN) == cost.seconds


def test_blocks_of_several_kinds():
    assert together(side_by_side(), TITAN).cost is not None
    kind, reason, numbers = together(side_by_side(), planning_device("host")).refusal
    assert (kind, numbers["parts"], numbers["limit"]) == ("resources", 2, 1)
    assert reason.startswith("2 parts share no values, and a kernel has tiles of one kind on")


def wide_layers(size=56, channels=128):
    """DenseNet's layer, whose narrow tiles alone fit into an old device's blocks."""
    b = GraphBuilder()
    b.conv(b.conv(image(32, size), channels, "wide", kernel=1), 32, "narrow")
    return b.graph()


@pytest.mark.parametrize("channels", [128, 256, 512])
def test_what_fits_has_a_price_however_many_tiles_it_takes(channels):
    graph = wide_layers(channels=channels)
    stages = stages_of(group_of_nodes(graph, range(len(graph))))
    wanted, limit = memory_wanted([stages], TITAN)
    assert wanted <= limit
    cost = cheapest_tile(stages, TITAN, below=0.0)  # not in parts
    assert cost is not None and cost.shared_bytes <= limit and not any(cost.depths)
    interval = together(graph, TITAN)
    assert interval.refusal is None and interval.cost is not None


def test_what_is_forced_is_priced_at_its_best_even_where_it_takes_longer():
    graph = wide_layers()
    search = CrossLayer(graph, TITAN, lambda members: None)
    quick = search.interval(range(len(graph)), 0.0, 2)
    forced, parts = search.forced(range(len(graph)))
    assert len(parts) == 2 and any(forced.cost.depths)
    assert forced.cost.seconds < quick.cost.seconds
    assert search.seconds(range(len(graph))) == forced.cost.seconds
