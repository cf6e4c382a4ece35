"""In real networks, every edge that is not fused has a reason, and a number or a cell of the table to it."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from mlirfuse.cli.main import main
from mlirfuse.device import planning_device
from mlirfuse.explain.facts import Explanation

QUICK = ("light/squeezenet", "light/shufflenet", "lenet5")
LIGHT = (
    *("squeezenet", "resnet50", "alexnet", "densenet121", "inception_v1", "inception_v2", "shufflenet", "vgg19"),
    "zfnet512",
)
LARGE = (
    *("efficientnet-b0", "vgg16", "mobilenetv1-ssd", "yolov4-320", "c3d", "s3d", "unet", "fasterrcnn", "maskrcnn"),
    *("tinybert-s384", "distilbert-s384-fine", "albert-base-s384-fine", "bert-base-s384", "mobilebert-s384"),
    "gpt2-s384-fine",
)
KINDS = {"option", "boundary", "legality", "resources", "convexity", "table", "cost", "placement"}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_every_edge_has_a_reason_and_numbers(name: str, tmp_path: Path) -> None:
    assert main(["explain", f"zoo:{name}", "--json", str(tmp_path / "plan.json")]) == 0
    data: dict[str, Any] = json.loads((tmp_path / "plan.json").read_text())
    assert data["groups"] and data["joined"]
    for edge in data["edges"]:
        ends = f"{edge['producer']} -> {edge['consumer']}"
        assert edge["kind"] in KINDS and edge["reason"], ends
        beyond_size = set(edge["numbers"]) - {"bytes"}
        assert edge["numbers"] and (beyond_size or edge["kind"] == "boundary"), ends
    check_consistent(Explanation.from_dict(data))


@pytest.mark.parametrize("name", [*LIGHT[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in LIGHT[2:])])
def test_layers_are_apart_for_the_reason_that_is_told(name: str, tmp_path: Path) -> None:
    """Each verdict claims no more than its numbers and the plan say."""
    path = tmp_path / "plan.json"
    assert main(["explain", f"zoo:light/{name}", "--target", "cuda:sm_90", "--json", str(path)]) == 0
    plan = Explanation.from_dict(json.loads(path.read_text()))
    check_consistent(plan)
    for edge in plan.edges:
        ends = f"{edge.producer} -> {edge.consumer}: {edge.kind}: {edge.reason}"
        numbers: dict[str, Any] = dict(edge.numbers)
        if "layers" in numbers:
            assert layers_of(plan, edge.producer_number) & layers_of(plan, edge.consumer_number) == set(), ends
            for end in (edge.producer_number, edge.consumer_number):
                assert layers_of(plan, end) & set(numbers["layers"].split()), ends
        if "seconds_together" in numbers:
            together, apart = numbers["seconds_together"], numbers["seconds_apart"]
            assert f"{together * 1e6:.2f} us" in edge.reason and f"{apart * 1e6:.2f} us" in edge.reason, ends
            assert numbers["layers"] in edge.reason and numbers["tiles"] > 0, ends
            assert numbers["shared_bytes"] <= planning_device("sm_90").shared_bytes_per_block, ends
            assert (edge.kind == "cost") == (together >= apart), ends
            if edge.kind == "placement":
                assert numbers.get("seconds_added", 0.0) >= -1e-12 and ("limit" in numbers or "us more" in edge.reason)
        elif edge.kind == "resources" and "layers" in numbers:
            assert numbers["shared_bytes"] > numbers["limit"] == planning_device("sm_90").shared_bytes_per_block, ends
        else:
            assert edge.kind in ("boundary", "legality", "convexity", "placement", "table"), ends
        if edge.kind == "boundary":
            outside = [plan.operators[n] for n in (edge.producer_number, edge.consumer_number)]
            assert any(operator.place != "group" for operator in outside), ends
        if edge.kind == "table":  # no kernel of layers was looked at
            assert not all(layers_of(plan, n) for n in (edge.producer_number, edge.consumer_number)), ends
    check_proofs(plan)


def layers_of(plan: Explanation, number: int) -> set[str]:
    """The anchors of the group that an operator is in; of a concatenation in place, of what it is made of."""
    operator = plan.operators[number]
    if operator.group is None:
        return {name for n in operator.reads for name in layers_of(plan, n)}
    return set(plan.groups[operator.group].anchors)


def check_proofs(plan: Explanation) -> None:
    """A kernel of several layers takes less than its parts, than the next best, and than a larger one would save."""
    for group in plan.groups:
        proof = group.proof
        if proof is None or not proof.parts:
            continue
        together = proof.numbers["seconds_together"]
        runner_up = sum(launch.seconds for launch in proof.runner_up)
        assert together <= runner_up * (1 + 1e-9) and runner_up <= sum(part.seconds for part in proof.parts) + 1e-12
        assert len(proof.runner_up) > 1 and proof.larger_adds >= -1e-12
        names = {name for part in proof.parts for name in part.nodes}
        assert names <= {name for launch in proof.runner_up for name in launch.nodes} <= set(group.nodes)
        assert proof.larger is None or names < set(proof.larger.nodes)


def check_consistent(plan: Explanation) -> None:
    """Operators, groups and edges tell the same plan; totals are sums."""
    member_of = {n: g.number for g in plan.groups for n in g.operators}
    assert all(member_of.get(o.number) == o.group and (o.group is None) == (o.place != "group") for o in plan.operators)
    told = {(e.producer_number, e.consumer_number) for e in (*plan.edges, *plan.joined)}
    assert told == {(p, o.number) for o in plan.operators for p in o.reads}
    assert len(told) == len(plan.edges) + len(plan.joined) == plan.totals.edges_not_fused + plan.totals.edges_fused
    for edge in plan.joined:
        assert member_of[edge.producer_number] == member_of[edge.consumer_number] == edge.group
    for apart in plan.edges:
        group = member_of.get(apart.producer_number)
        assert group is None or group != member_of.get(apart.consumer_number)
    assert plan.totals.bytes_saved == sum(g.bytes_saved for g in plan.groups)
    assert plan.totals.launches == sum(g.launches for g in plan.groups) + sum(o.place == "host" for o in plan.operators)


def test_a_group_without_elements_is_no_launch(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"], "none"), onnx.helper.make_node("Exp", ["z"], ["w"], "some")]
    types = {"x": [0, 4], "z": [3, 4], "y": [0, 4], "w": [3, 4]}
    values = {name: onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in types.items()}
    graph = onnx.helper.make_graph(nodes, "part", [values["x"], values["z"]], [values["y"], values["w"]])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), tmp_path / "part.onnx")
    launches = {}
    for verb in ("explain", "report"):
        path = tmp_path / f"{verb}.json"
        assert main([verb, str(tmp_path / "part.onnx"), "--json", str(path)]) == 0
        launches[verb] = json.loads(path.read_text())["totals"]["launches"]
    assert launches == {"explain": 1, "report": 1}
