"""The search for kernels of several layers: the best partition, the user's options, and what lies between layers."""

import dataclasses
import itertools
import math
import random

import pytest
from plan_graphs import GraphBuilder, check_plan, image, is_quantified

from mlirfuse.device import planning_device
from mlirfuse.dialect import TensorType
from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.plan import cross_layer, planner
from mlirfuse.lowering.plan.cross_layer import CrossLayer
from mlirfuse.lowering.plan.graph import Graph
from mlirfuse.lowering.plan.plan_options import PlanOptions
from mlirfuse.lowering.plan.planner import plan_graph
from mlirfuse.lowering.plan.running_order import in_running_order

DEVICES = ("host", "sm_90", "titan-xp")


def random_layers(seed):
    """A few convolutions of random kernels and channels, some with an activation, some that read an earlier one."""
    draw, b = random.Random(seed), GraphBuilder()
    size = draw.choice([8, 14, 28, 56])
    made = [image(draw.choice([8, 16, 64]), size)]
    for number in range(draw.randint(3, 6)):
        source = made[-1] if draw.random() < 0.7 else draw.choice(made[-3:])
        x = b.conv(source, draw.choice([8, 16, 64, 128]), f"conv{number}", kernel=draw.choice([1, 3]))
        made.append(b.unary("relu", x) if draw.random() < 0.5 else x)
    return b.graph()


def chain(count, channels=16, size=28):
    """Convolutions one after the other, each with an activation."""
    b, x = GraphBuilder(), image(channels, size)
    for number in range(count):
        x = b.unary("relu", b.conv(x, channels, f"conv{number}"), name=f"relu{number}")
    return b.graph()


def plan(graph, device="sm_90", **options):
    found = plan_graph(graph, PlanOptions(**options), device=planning_device(device))
    check_plan(graph, found)
    return found


def searched(graph, device):
    """The search over the blocks of one anchor, and the partition that it finds."""
    search = CrossLayer(graph, planning_device(device), lambda members: None)
    blocks = in_running_order(graph, plan(graph, device, fusion="no-cross-layer").blocks)
    return search, blocks, search.partition(blocks)


def best_of_all(search, blocks):
    """Seconds of the best of all partitions into intervals, each tried, whose blocks all touch those before them."""
    seconds = {}
    for start, stop in itertools.combinations(range(len(blocks) + 1), 2):
        before = [{m for block in blocks[start:i] for m in block} for i in range(start, stop + 1)]
        touching = all(search._touches(blocks[start + i], before[i]) for i in range(1, stop - start))
        cost = search.interval(before[-1], 0.0, stop - start).cost if touching else None
        alone = search.seconds(blocks[start])
        seconds[start, stop] = alone if stop == start + 1 else math.inf if cost is None else cost.seconds
    inner = range(1, len(blocks))
    cuts = itertools.chain.from_iterable(itertools.combinations(inner, n) for n in range(len(blocks)))
    return min(sum(seconds[span] for span in itertools.pairwise((0, *cut, len(blocks)))) for cut in cuts)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(6))
def test_no_partition_into_intervals_takes_less(seed, device, monkeypatch):
    monkeypatch.setattr(cross_layer, "HOPELESS", math.inf)
    search, blocks, partition = searched(random_layers(seed), device)
    assert partition.seconds == pytest.approx(best_of_all(search, blocks), rel=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_giving_up_hope_loses_nothing_here(device, monkeypatch):
    found = [searched(random_layers(seed), device)[2].seconds for seed in range(6)]
    monkeypatch.setattr(cross_layer, "HOPELESS", math.inf)
    assert found == [searched(random_layers(seed), device)[2].seconds for seed in range(6)]


@pytest.mark.parametrize("device", DEVICES)
def test_a_plan_is_the_same_each_time_and_every_kernel_of_it_gains(device):
    graph = random_layers(3)
    found = plan(graph, device)
    assert found == plan(graph, device)
    layers = [proof.numbers for _, proof in found.proofs]
    assert all(n["seconds_together"] < n["seconds_apart"] for n in layers)
    assert all(is_quantified(v) for _, _, v in found.verdicts)


def test_equal_blocks_of_layers_that_share_nothing_become_equal_kernels():
    b = GraphBuilder()
    for number in range(3):
        squeezed = b.unary("relu", b.conv(image(64, 28), 16, f"squeeze{number}", kernel=1))
        b.unary("relu", b.conv(squeezed, 64, f"expand{number}", kernel=3))
    graph = b.graph()
    search = CrossLayer(graph, planning_device("sm_90"), lambda members: None)
    each = len(graph) // 3
    costs = [search.interval(range(i * each, (i + 1) * each), 0.0, 2).cost for i in range(3)]
    assert costs[0] is not None and costs[0] == costs[1] == costs[2]


def test_one_layer_to_a_kernel_where_the_user_wants_it():
    graph = chain(3)
    assert len(plan(graph).blocks) < 3
    apart = plan(graph, fusion="no-cross-layer")
    assert len(apart.blocks) == 3 and apart.proofs == ()


def test_an_op_that_stays_alone_splits_a_kernel_of_layers():
    graph = chain(3)
    found = plan(graph, no_fuse=("conv1",))
    alone = next(block for block in found.blocks if any("conv1" in graph[m].onnx_nodes for m in block))
    assert len(alone) == 1
    assert {v.kind for p, c, v in found.verdicts if alone[0] in (p, c)} == {"option"}
    assert all(is_quantified(v) for p, c, v in found.verdicts if alone[0] not in (p, c))


def test_forced_layers_are_one_kernel_with_the_numbers_of_it():
    graph = chain(2, channels=512, size=14)
    assert len(plan(graph).blocks) == 2, "choose layers that are no kernel unless forced"
    found = plan(graph, force_fuse=(("conv0", "conv1", "relu1"),))
    assert found.blocks == (tuple(range(len(graph))),)
    ((_, proof),) = found.proofs
    together, apart = (proof.numbers[f"seconds_{way}"] for way in ("together", "apart"))
    assert together >= apart > 0 and len(proof.parts) == 2
    more = (together - apart) * 1e6
    assert proof.numbers["forced"] == 1 and proof.numbers["seconds_added"] == pytest.approx(more / 1e6)
    assert proof.reason.startswith(
        "--force-fuse asks for one kernel, whatever it takes: one kernel of conv0 conv1 takes"
    )
    assert proof.reason.endswith(f"so that it takes {more:.2f} us more: by the cost model it is slower")


def test_a_kernel_that_the_planner_would_have_made_is_still_said_to_be_forced():
    graph = chain(2)
    ((_, chosen),) = plan(graph).proofs
    ((_, forced),) = plan(graph, force_fuse=(("conv0", "conv1", "relu1"),)).proofs
    assert "force" not in chosen.reason and "forced" not in chosen.numbers
    saved = (chosen.numbers["seconds_apart"] - chosen.numbers["seconds_together"]) * 1e6
    assert saved > 0 and forced.numbers["seconds_added"] == pytest.approx(-saved / 1e6)
    assert forced.reason.startswith("--force-fuse asks") and chosen.reason in forced.reason
    assert forced.reason.endswith(f"so that it takes {saved:.2f} us less")


def test_a_kernel_around_forced_layers_says_which_are_forced():
    graph = chain(3)
    ((_, chosen),) = plan(graph).proofs
    ((_, proof),) = plan(graph, force_fuse=(("conv0", "conv1"),)).proofs
    assert proof.reason.endswith("; --force-fuse asks for conv0 conv1 of it, whatever they take")
    assert proof.numbers["forced"] == 1 and proof.numbers["layers"] == chosen.numbers["layers"]


def test_layers_that_no_kernel_can_hold_are_not_forced():
    with pytest.raises(MlirfuseError, match=r"conv0, conv1 cannot be one kernel.*conv0 \(conv\).*would share"):
        plan(chain(2), force_fuse=(("conv0", "conv1"),), fusion="no-cross-layer")
    with pytest.raises(MlirfuseError, match="must stay alone"):
        plan(chain(2), force_fuse=(("conv0", "conv1"),), no_fuse=("conv0",))


def expansions(returned):
    """Two convolutions of one value, a free concatenation of them and a convolution of that."""
    b = GraphBuilder()
    squeezed = b.conv(image(64, 28), 16, "squeeze", kernel=1)
    left, right = (b.conv(squeezed, 16, name, kernel=1) for name in ("left", "right"))
    joined = b.boundary("concat", left, right, axis=1, why="its operands are written in place")
    b.conv(joined, 16, "last", kernel=1)
    graph = b.graph()
    nodes = [dataclasses.replace(n, returned=n.returned or (returned and n.index == joined)) for n in graph]
    return Graph.of(nodes), joined


@pytest.mark.parametrize("returned", [False, True])
def test_a_concatenation_between_layers_is_within_their_kernel(returned):
    graph, joined = expansions(returned)
    found = plan(graph)
    assert found.blocks == (tuple(range(len(graph))),) and joined in found.blocks[0]


def test_layers_that_end_in_one_number_are_not_cut_into_tiles():
    b = GraphBuilder()
    x = b.conv(image(8, 16), 8, "conv0")
    b.op("reduce", x, kind="sum", axes=(0, 1, 2, 3), keepdims=False)
    found = plan(b.graph())
    assert len(found.blocks) == 2 and all(is_quantified(v) for _, _, v in found.verdicts)


@pytest.mark.parametrize("rows", [None, 0])
def test_sizes_that_are_known_only_at_run_time_or_0_keep_layers_apart(rows):
    b = GraphBuilder()
    layers = [b.conv(image(16, 28), 16, f"conv{number}") for number in range(2)]
    other = b.unary("relu", TensorType((rows, 16, 28, 28)), name="other")
    search = CrossLayer(b.graph(), planning_device("sm_90"), lambda members: None)
    kind, reason, _ = search.interval([*layers, other], 0.0, 3).refusal
    assert kind == "legality" and "sizes that are known and not 0, and other (unary) has others" in reason
    assert search.interval(layers, 0.0, 2).cost is not None
    assert [stop for stop, _ in search._from([(layers[0],), (other,), (layers[1],)], [1.0] * 3, 0)] == []


def test_layers_of_no_elements_are_kernels_of_their_own():
    b, x = GraphBuilder(), image(16, 28, batch=0)
    for number in range(2):
        x = b.conv(x, 16, f"conv{number}")
    found = plan(b.graph())
    ((_, _, verdict),) = found.verdicts
    assert len(found.blocks) == 2 and verdict.kind == "legality" and "conv0 (conv) has others" in verdict.reason


def readers_of(*sources):
    """A convolution of 1x1, then one of 3x3, ..., each of another source."""
    b = GraphBuilder()
    for number in range(len(sources)):
        b.conv(image(16, 28), 16, f"conv{number}", kernel=2 * number + 1)
    graph = b.graph()
    nodes = [dataclasses.replace(n, sources=(s, f"weight {s}")) for n, s in zip(graph, sources, strict=True)]
    return Graph.of(nodes)


@pytest.mark.parametrize("device", ["sm_90", "titan-xp"])
def test_layers_that_read_the_same_input_are_tried_as_one_kernel(device):
    together = plan(readers_of("argument 0", "argument 0"), device)
    ((_, proof),) = together.proofs
    assert together.blocks == ((0, 1),) and proof.numbers["seconds_together"] < proof.numbers["seconds_apart"]
    assert plan(readers_of("argument 0", "argument 1"), device).blocks == ((0,), (1,))
    assert plan(readers_of("weight w", "weight w"), device).blocks == ((0,), (1,))


def module_of_branches(size=28):
    """GoogLeNet's module without its pool: 1x1; 1x1 and 3x3; 1x1 and 5x5."""
    b = GraphBuilder()
    x = b.unary("relu", image(192, size))
    first = b.unary("relu", b.conv(x, 64, "one", kernel=1))
    second, third = (
        b.unary("relu", b.conv(b.unary("relu", b.conv(x, narrow, f"{name} 0", kernel=1)), wide, name, kernel=kernel))
        for name, narrow, wide, kernel in (("three", 96, 128, 3), ("five", 16, 32, 5))
    )
    joined = b.boundary("concat", first, second, third, axis=1, why="its operands are written in place")
    b.conv(joined, 64, "next", kernel=1)
    return b.graph()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("graph", [module_of_branches(), *map(random_layers, range(6, 10))])
def test_no_two_kernels_at_an_edge_take_less_as_one(graph, device, monkeypatch):
    found = plan(graph, device)
    search = CrossLayer(graph, planning_device(device), lambda members: None)
    assert not [v for *_, v in found.verdicts if v.numbers.get("seconds_added") is None and v.kind == "placement"]
    for _, proof in found.proofs:
        together = proof.numbers["seconds_together"]
        runner_up, parts = (sum(kernel.seconds for kernel in kernels) for kernels in (proof.runner_up, proof.parts))
        assert together < runner_up * (1 + 1e-9) and runner_up <= parts * (1 + 1e-9)
        assert {n for k in proof.runner_up for n in k.nodes} == {n for k in proof.parts for n in k.nodes}
    monkeypatch.setattr(planner._Planner, "join_neighbours", lambda self: None)
    in_order = plan(graph, device)
    taken, before = (sum(map(search.seconds, p.blocks)) for p in (found, in_order))
    assert taken <= before and len(found.blocks) <= len(in_order.blocks)
