"""What a device has for a kernel of several anchors: every plan respects it, and every schedule keeps to the plan."""

import re
from dataclasses import replace

import pytest
from onnx import TensorProto, helper
from test_chains import attention

from mlirfuse.compiler import emit_here
from mlirfuse.device import device_for, planning_device
from mlirfuse.lowering.plan.deep import LEAST_TILES, Budget
from mlirfuse.lowering.plan.planner import plan_graph
from mlirfuse.options import CompileOptions

KIB = 1024
TARGETS = {
    "vulkan:portable": "portable",
    "vulkan:mali-g710": "mali-g710",
    "vulkan:intel-xe-lp": "intel-xe-lp",
    "simulator:sm_61": "sm_61",
    "simulator:sm_90": "sm_90",
    "cpu": "host",
}
WITHOUT_A_CHAIN = {"vulkan:portable": "shared_bytes"}


def model(heads=8, rows=64, keys=48, depth=16):
    """softmax(Q K + mask) V with a mask of every score."""
    shapes = {
        "q": [1, heads, rows, depth],
        "k": [1, heads, depth, keys],
        "v": [1, heads, keys, depth],
        "m": [1, heads, rows, keys],
    }
    nodes = [
        helper.make_node("MatMul", ["q", "k"], ["s"], "Scores"),
        helper.make_node("Add", ["s", "m"], ["t"], "Mask"),
        helper.make_node("Softmax", ["t"], ["p"], "Softmax", axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["y"], "Values"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, heads, rows, depth])
    return helper.make_model(
        helper.make_graph(nodes, "attention", values, [result]), opset_imports=[helper.make_opsetid("", 17)]
    )


def emitted(target, stage, **sizes):
    text, _ = emit_here(model(**sizes), target, CompileOptions(), stage)
    return text


@pytest.mark.parametrize("target", TARGETS)
def test_a_chain_takes_no_more_than_the_device_has_or_is_refused_with_numbers(target):
    planned = emitted(target, "planned")
    device = planning_device(TARGETS[target])
    limit = device.l2_bytes // 2 if device.kind == "cpu" else device.shared_bytes_per_block
    if need := WITHOUT_A_CHAIN.get(target):
        [(most, needed)] = set(
            re.findall(rf"resources\\22.{{0,200}}?limit\\22:(\d+).{{0,80}}?{need}\\22:(\d+)", planned)
        )
        assert int(needed) > int(most)
        assert need != "shared_bytes" or int(most) == limit
        assert "bytes_not_travelling" not in planned
    else:
        [said] = re.findall(r"bytes_not_travelling.*?shared_bytes\\22:(\d+)", planned)
        assert int(said) <= limit
    taken = [int(found) for found in re.findall(r"shared_bytes = (\d+)", emitted(target, "kernels"))]
    assert taken
    assert max(taken) <= limit
    assert (len(taken) == 1) == (target not in WITHOUT_A_CHAIN)


@pytest.mark.parametrize("target", [target for target in TARGETS if target not in WITHOUT_A_CHAIN])
@pytest.mark.parametrize("sizes", [{"heads": 16, "rows": 2, "keys": 2048, "depth": 64}, {"heads": 4, "rows": 80}])
def test_a_chain_that_is_planned_has_a_schedule_in_stages(target, sizes):
    """Few long rows leave little beside them: the stages then take smaller tiles."""
    scheduled = emitted(target, "scheduled", **sizes)
    assert "bytes_not_travelling" in scheduled
    assert re.findall(r'schedule = \{kind = "(\w+)"', scheduled) == ["deep"]


@pytest.mark.parametrize("chip", ["portable", "mali-g710", "intel-xe-lp", "titan-xp", "a100", "h100"])
def test_the_budget_is_the_device_s(chip):
    device = device_for(chip)
    budget = Budget.of(device)
    assert budget.shared_bytes == device.shared_bytes_per_block
    assert budget.room < budget.shared_bytes
    assert budget.least_tiles == min(LEAST_TILES, device.multiprocessors)


@pytest.mark.parametrize(("chip", "kind"), [("h100", "cost"), ("titan-xp", "resources")])
def test_a_row_of_fifty_thousand_bytes_is_refused_for_want_of_room_only_where_there_is_none(chip, kind):
    builder = attention(rows=8, keys=12497, heads=16)  # a prime: no parts
    plan = plan_graph(builder.graph(), device=device_for(chip))
    [verdict] = [v for _, c, v in plan.verdicts if c == 3]
    assert verdict.kind == kind
    if kind == "resources":
        assert verdict.numbers["shared_bytes"] > verdict.numbers["limit"] == 48 * KIB
    else:
        assert 48 * KIB < verdict.numbers["shared_bytes"] <= device_for(chip).shared_bytes_per_block


def test_what_no_cache_holds_comes_from_memory_again():
    graph = attention(rows=64, keys=4096, depth=64, heads=64).graph()
    taken = []
    for cache in (KIB, KIB**3):
        plan = plan_graph(graph, device=replace(planning_device("h100"), l2_bytes=cache))
        found = [v.numbers for v in (*(v for _, v in plan.proofs), *(v for _, _, v in plan.verdicts))]
        taken.append(next(n for n in found if "bytes_in_cache" in n))
    small, large = taken
    assert small["bytes_again_from_cache"] == large["bytes_again_from_cache"] > 0
    assert KIB < small["bytes_in_cache"] < KIB**3
    assert small["seconds_together"] > large["seconds_together"]
