"""The nine networks of the onnx package, from the graph to buffers: launches, verdicts, memory."""

import dataclasses
import functools
import json
import random
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from plan_graphs import DEVICES, check_plan, check_profit, is_quantified

from mlirfuse.device import planning_device
from mlirfuse.dialect import WeightStore, attribute_value, type_from_mlir
from mlirfuse.frontend import import_model, interpret
from mlirfuse.lowering.passes import PassPipeline
from mlirfuse.lowering.pipeline.stages import StageOptions, pipeline_for
from mlirfuse.lowering.plan.buffers import read_places, read_program, write_places
from mlirfuse.lowering.plan.check_arena import check_arena
from mlirfuse.lowering.plan.cross_layer import CrossLayer
from mlirfuse.lowering.plan.graph import main_function, read_graph
from mlirfuse.lowering.plan.plan_options import PlanOptions
from mlirfuse.lowering.plan.planner import plan_graph
from mlirfuse.lowering.plan.resources import ResourceModel
from mlirfuse.lowering.plan.summary import summarize_plan
from mlirfuse.lowering.plan.verdict import Proof
from mlirfuse.mlir import context, ir
from mlirfuse.zoo import build

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
# The passes of stage "planned", as `pipeline_for` has them by default, so that one can be left out.
REWRITING = (
    "fusion-fold-constants", "fusion-remove-identities", "fusion-recognize-rows", "fusion-fold-scale",
    "fusion-remove-identities", "fusion-rewrite-algebra{allow=reassociating}", "fusion-fold-constants",
    "fusion-fold-scale", "fusion-remove-identities", "fusion-nest-concats", "fusion-move-past-concats", "canonicalize",
    "cse",
)  # fmt: skip
PLANNING = (
    "fusion-join-siblings", "canonicalize",
    "fusion-classify", "fusion-materialize-outputs", "fusion-elide-concats", "fusion-duplicate-movement",
    "fusion-classify", "fusion-plan", "fusion-form-groups", "fusion-fuse",
)  # fmt: skip
PLACING = ("fusion-assign-layouts", "fusion-assign-buffers")

# network -> launches with one anchor in each, those of the best peer (ONNX Runtime, IREE or inductor)
LAUNCHES = {
    "bvlc_alexnet": (14, 14),
    "densenet121": (126, 241),
    "inception_v1": (66, 74),
    "inception_v2": (74, 95),
    "resnet50": (57, 57),
    "shufflenet": (56, 74),
    "squeezenet": (31, 36),
    "vgg19": (25, 26),
    "zfnet512": (14, 14),
}
# network -> no more launches than these with layers joined, on a CPU (where none pay in DenseNet) and on an H200, as
# `python benchmarks/launches.py` counts them. Models of devices become better.
JOINED = {
    "bvlc_alexnet": {"host": 12, "sm_90": 9},
    "densenet121": {"sm_90": 78},
    "inception_v1": {"host": 61, "sm_90": 27},
    "inception_v2": {"host": 70, "sm_90": 41},
    "resnet50": {"host": 54, "sm_90": 28},
    "shufflenet": {"host": 45, "sm_90": 26},
    "squeezenet": {"host": 27, "sm_90": 12},
    "vgg19": {"host": 23, "sm_90": 20},
    "zfnet512": {"host": 12, "sm_90": 11},
}
WITHOUT_JOINING = {"inception_v1": 75, "inception_v2": 84}


@functools.cache
def planned(network, device="host", fusion="no-cross-layer", siblings=True):
    """The context and the module after all passes of this package."""
    store = WeightStore()
    with context() as ctx, store.active():
        module = import_model(str(LIGHT / f"light_{network}.onnx"), store)
        chosen = {
            "fusion-plan": f"fusion-plan{{device={device} fusion={fusion}}}",
            "fusion-join-siblings": f"fusion-join-siblings{{device={device}}}",
        }
        passes = (chosen.get(p, p) for p in (*REWRITING, *PLANNING, *PLACING))
        PassPipeline.of(tuple(p for p in passes if siblings or not p.startswith("fusion-join-siblings"))).run(module)
        return ctx, module


def test_these_are_the_passes_of_a_compilation():
    whole = pipeline_for("planned", StageOptions()).removeprefix("builtin.module(").removesuffix(")")
    names = [re.sub(r"\{.*\}", "", p) for p in re.split(r",(?![^{]*\})", whole)]
    assert names == [re.sub(r"\{.*\}", "", p) for p in (*REWRITING, *PLANNING)]


@pytest.fixture(params=LAUNCHES)
def network(request):
    """A network, and its module with one anchor in each kernel."""
    ctx, module = planned(request.param)
    with ctx, ir.Location.unknown():
        yield request.param, module.operation


@pytest.fixture(params=[(name, device) for name, found in JOINED.items() for device in found], ids="-".join)
def joined_network(request):
    """A network and a device, and its module with layers joined."""
    ctx, module = planned(*request.param, fusion="full")
    with ctx, ir.Location.unknown():
        yield *request.param, module.operation


def test_launches_memory_and_verdicts(network):
    name, module = network
    summary = summarize_plan(module)
    launches, peer = LAUNCHES[name]
    assert summary.launches == launches <= peer
    check_summary(module, summary)
    assert sum(len(row.verdicts) for row in summary.groups) >= summary.launches - 1 - summary.elided_concats


def check_summary(module, summary):
    """All of a network is in kernels, every cut has numbers that decided, and no buffer is overwritten."""
    assert summary.fallback_nodes == 0
    assert summary.intermediate_bytes < summary.intermediate_bytes_unfused
    assert all(v.reason and v.kind and is_quantified(v) for row in summary.groups for v in row.verdicts)
    assert not any("grew apart" in v.reason for row in summary.groups for v in row.verdicts)
    json.dumps(summary.to_dict(), default=str)
    assert check_arena(main_function(module)) == []


def test_joined_layers_save_launches_and_bytes(joined_network):
    """Fewer launches and bytes than with one anchor in each kernel, and every kernel is predicted to gain."""
    name, device, module = joined_network
    summary = summarize_plan(module)
    assert summary.launches <= JOINED[name][device]
    check_summary(module, summary)
    _, apart = planned(name)
    before = summarize_plan(apart.operation)
    assert summary.launches < before.launches
    assert summary.intermediate_bytes < before.intermediate_bytes
    assert summary.flops == before.flops
    layers = [proof.numbers for proof in proofs_in(module) if "seconds_together" in proof.numbers]
    assert layers
    assert all(n["seconds_together"] < n["seconds_apart"] for n in layers)


def proofs_in(module):
    """Why kernels of several anchors are legal."""
    groups = (op.operation for op in main_function(module).regions[0].blocks[0])
    return [Proof.from_json(line) for op in groups for line in attribute_value(op, "proofs", ())]


@pytest.mark.parametrize(
    "name", ["efficientnet-b0", "mobilenetv1-ssd", "tinybert-s128-fine", "shufflenetv2", "yolov4-320", "maskrcnn"]
)
@pytest.mark.parametrize("order", ["predecessors", "successors"])
def test_groups_are_no_worse_than_their_parts_and_edges_have_numbers(name, order):
    graph = frozen(name)
    for device in map(planning_device, DEVICES):
        plan = plan_graph(graph, PlanOptions(order=order), device=device)
        check_plan(graph, plan)
        check_profit(graph, plan, ResourceModel.of(device))
        assert [v for _, _, v in plan.verdicts if not is_quantified(v)] == []


def networks_and_devices():
    """Every network on an old GPU, a recent one and a CPU; two networks are quick to plan."""
    for name in LAUNCHES:
        for device in ("titan-xp", "sm_90", "host"):
            slow = () if name in ("squeezenet", "zfnet512") else (pytest.mark.slow,)
            yield pytest.param(name, device, marks=slow, id=f"{name}-{device}")


@pytest.mark.parametrize(("name", "device"), list(networks_and_devices()))
def test_no_kernel_of_a_network_takes_longer_than_its_parts(name, device):
    """Each kernel of the final plan, priced afresh, beside those that its ops are in without joined layers."""
    graph, device = frozen(f"light/{name}"), planning_device(device)
    search = CrossLayer(graph, device, lambda members: None)
    full, apart = (plan_graph(graph, PlanOptions(fusion=way), device=device) for way in ("full", "no-cross-layer"))
    part_of = {m: part for part in apart.blocks for m in part}
    joined = 0
    for block in full.blocks:
        parts = {part_of[m] for m in block if m in part_of}
        made_of = {m for part in parts for m in part}
        assert made_of <= set(block) and all(graph[m].node.op == "concat" for m in set(block) - made_of)
        if len(parts) > 1:
            joined += 1
            assert search.seconds(block) < sum(map(search.seconds, parts))
    assert joined == len({last for last, _ in full.proofs}) and (joined or len(full.blocks) == len(apart.blocks))


@functools.cache
def frozen(name):
    """The graph of a network of the zoo as the planner sees it."""
    store = WeightStore()
    with context(), store.active():
        light = LIGHT / f"light_{name.removeprefix('light/')}.onnx"
        module = import_model(str(light) if name.startswith("light/") else build(name), store)
        PassPipeline.of((*REWRITING, *PLANNING[: PLANNING.index("fusion-plan")])).run(module)
        return read_graph(main_function(module.operation))


@pytest.mark.parametrize("name", WITHOUT_JOINING)
def test_joined_siblings_save_launches(name):
    ctx, module = planned(name, siblings=False)
    with ctx, ir.Location.unknown():
        assert summarize_plan(module.operation).launches == WITHOUT_JOINING[name] > LAUNCHES[name][0]
        assert check_arena(main_function(module.operation)) == []


@pytest.mark.parametrize("layout", ["nhwc", "chwn"])
@pytest.mark.parametrize("name", ["squeezenet1.1", "shufflenetv2", "tinybert-s128-fine"])
def test_grouped_networks_compute_the_same(name, layout):
    """Random weights, all passes, against the references of the imported ops."""
    store = WeightStore()
    with context(), store.active():
        module = import_model(build(name), store)
        block = main_function(module.operation).regions[0].blocks[0]
        names = [a.value for a in main_function(module.operation).attributes["fusion.inputs"]]
        inputs = {n: random_array(type_from_mlir(a.type)) for n, a in zip(names, block.arguments, strict=True)}
        before = interpret(module, store, inputs)
        passes = (*REWRITING, *PLANNING, f"fusion-assign-layouts{{layout={layout}}}")
        PassPipeline.of(passes).run(module)
        after = interpret(module, store, inputs)
    for key, value in before.items():
        assert np.abs(after[key] - value).max() <= 1e-5 * np.abs(value).max()


def random_array(tensor):
    generator = np.random.default_rng(3)
    if tensor.dtype.startswith("float"):
        return generator.standard_normal(tensor.dims).astype(tensor.dtype)
    return generator.integers(0, 2, tensor.dims).astype(tensor.dtype)


def test_a_moved_buffer_is_noticed(network):
    _, module = network
    function = main_function(module)
    program, places = read_program(function), read_places(function)
    inner = [n for n, p in enumerate(places) if p.output is None and program.values[n].whole is None]
    random.seed(0)
    for _ in range(5):
        consumer = random.choice([n for n in inner if program.values[n].writer is not None])
        step = program.values[consumer].writer
        read = [n for n in inner if n != consumer and step in program.values[n].readers]
        if not read:
            continue
        wrong = list(places)
        wrong[consumer] = dataclasses.replace(places[consumer], offset=places[read[0]].offset)
        write_places(function, program, wrong)
        assert check_arena(function), f"value {consumer} overwrites what it is computed from"
    write_places(function, program, places)


def test_the_arena_is_smaller_than_what_passes_through_it(network):
    name, module = network
    size = main_function(module).attributes["fusion.arena_bytes"].value
    assert size < summarize_plan(module).intermediate_bytes * (0.75 if name != "zfnet512" else 1)
