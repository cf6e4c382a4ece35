"""In real networks, every edge that is not fused has a reason, and a number or a cell of the table to it."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from mlirfuse.cli.main import main
from mlirfuse.explain.facts import Explanation

QUICK = ("light/squeezenet", "light/shufflenet", "lenet5")
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
