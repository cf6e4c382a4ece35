"""How benchmarks/fusion.py counts, and that the committed results hold the floor."""

import json

import fusion
from measured import RESULTS
from onnx import TensorProto, helper


def test_bytes_between_nodes_leave_out_what_leaves_the_network() -> None:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3))
    made = helper.make_tensor_value_info("z", TensorProto.FLOAT, (2, 3))
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Cast", ["y"], ["c"], to=TensorProto.BOOL)]
    nodes += [helper.make_node("Cast", ["c"], ["z"], to=TensorProto.FLOAT)]
    model = helper.make_model(helper.make_graph(nodes, "g", [given], [made]))
    assert fusion.bytes_between_nodes(model) == 2 * 3 * (4 + 1)


def test_complaints() -> None:
    good = {"launches": 21, "counted": 21, "many_to_many": 20}
    assert fusion.complaints_about(good) == []
    assert fusion.complaints_about({**good, "counted": 20}) == ["20 launches in the kernels' text"]
    assert fusion.complaints_about({**good, "launches": 22, "counted": 22}) == ["more than 21.0 launches"]


def test_table_puts_the_papers_figures_beside_ours() -> None:
    entry = {
        "nodes": 9,
        "many_to_many": 4,
        "launches": 4,
        "launches_without_rewriting": 5,
        "bytes_before": 6_000_000,
        "bytes_after": 2_000_000,
    }
    paper = {"net": {"launches": 7, "before_mb": 8, "after_mb": 4}, "other": {"launches": 1}}
    assert "| net | 9 | 4 | 4 | 5 | 7 | 6 | 2 | 3.00 | 2.00 |" in fusion.table({"net": entry}, paper)


def test_a_network_is_counted_both_ways() -> None:
    entry = fusion.count("squeezenet1.1", "cpu")
    assert entry["launches"] == entry["counted"] <= entry["many_to_many"] * fusion.SLACK
    assert entry["bytes_after"] < entry["bytes_before"]
    assert entry["bytes_before"] <= entry["bytes_imported"]  # a bias is an operation of its own there


def test_the_committed_results_hold_the_floor() -> None:
    entries = json.loads((RESULTS / "fusion.json").read_text())["entries"]
    paper = json.loads(fusion.PAPER.read_text())["networks"]
    assert set(entries) <= set(paper)
    assert {
        name: fusion.complaints_about(entry) for name, entry in entries.items() if fusion.complaints_about(entry)
    } == {}
