"""The kinds of blocks that convolutional networks are made of, at full size, on an old GPU and on a recent one.

No rule names any of them: the search and the cost model find how many kernels each is. Where it is not one, the numbers
that decided are told, and the one kernel that the user may force takes longer than what was chosen, or has no room.
"""

import functools

import pytest
from plan_graphs import check_plan, is_quantified

from mlirfuse import zoo
from mlirfuse.device import device_for
from mlirfuse.dialect import WeightStore
from mlirfuse.errors import MlirfuseError
from mlirfuse.frontend import import_model, load_model
from mlirfuse.lowering.groups.launch_cost import launch_seconds
from mlirfuse.lowering.passes import run_pipeline
from mlirfuse.lowering.pipeline.stages import pipeline_for
from mlirfuse.lowering.plan import planner
from mlirfuse.lowering.plan.cross_layer import CrossLayer, group_of_nodes
from mlirfuse.lowering.plan.graph import main_function, read_graph
from mlirfuse.lowering.plan.plan_options import PlanOptions
from mlirfuse.lowering.plan.planner import plan_graph
from mlirfuse.lowering.schedule.simt_cross_layer import choose_cross_layer
from mlirfuse.mlir import context
from mlirfuse.options import CompileOptions, parse_target
from mlirfuse.targets import backend_for

# block -> kernels on an H200 and on a TITAN Xp, and without kernels of several layers
KERNELS = {
    "fire": (1, 1, 3),
    "inception": (2, 3, 6),
    "residual": (2, 2, 2),
    "bottleneck": (2, 3, 3),
    "separable": (1, 1, 2),
    "inverted_residual": (1, 2, 3),
    "dense": (2, 2, 2),
    "conv_pool": (2, 3, 3),
    "shuffle": (2, 2, 3),
    "excitation": (3, 3, 5),
    "up_concat": (3, 3, 3),
}
DEVICES = ("h200", "titan-xp")
# What is multiplied at last must be there when its means are known: all 96 channels, for which no block has room.
NO_ROOM = {"excitation": 4 * 96 * 56 * 56}
# A schedule needs more memory than the model counts for the tile that would take least: the next one is taken.
NEXT_TILE = {("up_concat", "titan-xp")}
CASES = [(block, device, KERNELS[block][i]) for block in KERNELS for i, device in enumerate(DEVICES)]


def test_the_kinds_are_those_of_the_zoo():
    assert {f"blocks/{block}" for block in KERNELS} == set(zoo.blocks())


@functools.cache
def graph_of(block):
    """A block as the planner sees it, rewritten for GPUs."""
    target, store = parse_target("simulator:h200"), WeightStore()
    options = backend_for(target).stage_options(target, CompileOptions())
    rewriting, _ = pipeline_for("planned", options).split(",fusion-plan")
    with context(), store.active():
        module = import_model(load_model(zoo.build(f"blocks/{block}"), {}), store, {})
        run_pipeline(module, f"{rewriting})")
        return read_graph(main_function(module.operation))


def planned(block, device, **options):
    found = plan_graph(graph_of(block), PlanOptions(**options), device=device_for(device))
    check_plan(graph_of(block), found)
    return found


def forced(block, device):
    """The plan with all nodes of a block in one kernel."""
    return planned(block, device, force_fuse=(tuple(name for n in graph_of(block) for name in n.onnx_nodes),))


@pytest.mark.parametrize(("block", "device", "kernels"), CASES)
def test_a_block_is_as_many_kernels_as_the_cost_model_finds_quickest(block, device, kernels):
    found = planned(block, device)
    assert (len(found.blocks), len(planned(block, device, fusion="no-cross-layer").blocks)) == (
        kernels,
        KERNELS[block][2],
    )
    for _, proof in found.proofs:
        assert proof.numbers["seconds_together"] < proof.numbers["seconds_apart"]
    assert bool(found.verdicts) == (kernels > 1)
    for *_, verdict in found.verdicts:
        numbers = verdict.numbers
        assert is_quantified(verdict)
        if block in NO_ROOM and verdict.kind in ("legality", "convexity"):
            continue  # the kernel that might hold both ends would be the whole block
        if verdict.kind == "convexity":
            assert block == "inception"  # what one end hands on comes back to the other by another kernel
            continue
        assert verdict.kind in ("cost", "placement"), verdict
        assert (numbers["seconds_together"] >= numbers["seconds_apart"]) == (verdict.kind == "cost"), verdict
        assert verdict.kind == "cost" or numbers["seconds_added"] >= 0, verdict


@pytest.mark.parametrize(("block", "device", "kernels"), [case for case in CASES if case[0] not in NO_ROOM])
def test_a_block_is_one_kernel_where_the_user_wants_it(block, device, kernels):
    """It is no quicker than what was chosen, its reason says what it costs, and the generator has a schedule for it."""
    graph, search = graph_of(block), CrossLayer(graph_of(block), device_for(device), lambda members: None)
    found = forced(block, device)
    ((_, proof),) = found.proofs
    (members,) = found.blocks
    chosen = sum(map(search.seconds, planned(block, device).blocks))
    together, apart = proof.numbers["seconds_together"], proof.numbers["seconds_apart"]
    assert chosen <= together * (1 + 1e-9) if kernels > 1 else chosen == pytest.approx(together)
    assert proof.reason.startswith("--force-fuse asks") and f"{together * 1e6:.2f} us" in proof.reason
    assert proof.reason.endswith("slower" if together >= apart else "less")
    group = group_of_nodes(graph, members)
    schedule = choose_cross_layer(group, device_for(device))
    assert schedule is not None and schedule.why_illegal(group, device_for(device)) is None
    taken = launch_seconds(
        group, proof.numbers["dram_bytes"], device_for(device), schedule.tile, schedule.parts, schedule.walk
    )
    assert taken == pytest.approx(together, rel=0.15 if (block, device) in NEXT_TILE else 1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("block", NO_ROOM)
def test_a_block_that_no_kernel_has_room_for_says_so(block, device):
    limit = device_for(device).shared_bytes_per_block
    with pytest.raises(MlirfuseError, match=rf"smallest tile .* takes \d+ bytes, .* has room for {limit}") as refused:
        forced(block, device)
    assert int(str(refused.value).partition(" takes ")[2].split()[0]) > NO_ROOM[block] > limit


@pytest.mark.parametrize("device", DEVICES)
def test_branches_that_running_order_keeps_apart_are_joined(device, monkeypatch):
    with_neighbours = planned("inception", device)
    monkeypatch.setattr(planner._Planner, "join_neighbours", lambda self: None)
    in_order = planned("inception", device)
    assert len(with_neighbours.blocks) < len(in_order.blocks)
