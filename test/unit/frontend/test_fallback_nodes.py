"""What stays on the host, what travels with it, and what is known in time not to."""

import numpy as np
import pytest
from models import floats, model, run, value
from onnx import TensorProto, helper, numpy_helper


def test_unknown_sizes_stay_on_the_host(mlir_context):
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"], "find"),
        helper.make_node("Transpose", ["where"], ["rows"], "turn"),
        helper.make_node("Shape", ["rows"], ["y"], "count"),
    ]
    proto = model(nodes, {"x": [2, 3]}, [value("y", [2], TensorProto.INT64)])
    x = np.array([[1, 0, 2], [0, 0, 3]], np.float32)
    outputs, statuses, text = run(proto, {"x": x})
    np.testing.assert_array_equal(outputs["y"], [3, 2])
    assert [s.status for s in statuses] == ["fallback"] * 3
    assert "tensor<2x?xi64>" in text


def test_several_results_of_a_fallback(mlir_context):
    proto = model(
        [helper.make_node("TopK", ["x", "k"], ["best", "where"], "top")],
        {"x": [2, 5], "k": ([1], TensorProto.INT64)},
        [value("best", [2, 3]), value("where", [2, 3], TensorProto.INT64)],
    )
    outputs, _, text = run(proto, {"x": floats(2, 5), "k": np.array([3])})
    np.testing.assert_array_equal(outputs["best"], -np.sort(-floats(2, 5))[:, :3])
    np.testing.assert_array_equal(outputs["where"], np.argsort(-floats(2, 5))[:, :3])
    assert "-> (tensor<2x3xf32>, tensor<2x3xi64>)" in text


def test_sequences_travel_with_the_node_that_reads_them(mlir_context):
    nodes = [
        helper.make_node("SplitToSequence", ["x", "sizes"], ["parts"], "cut", axis=0),
        helper.make_node("SequenceAt", ["parts", "one"], ["second"], "pick"),
        helper.make_node("Relu", ["second"], ["y"], "act"),
    ]
    proto = model(nodes, {"x": [3, 2]}, ["y"], {"sizes": np.array([1, 2]), "one": np.array(1)})
    outputs, _, text = run(proto, {"x": floats(3, 2)})
    np.testing.assert_array_equal(outputs["y"], np.maximum(floats(3, 2)[1:], 0))
    assert text.count('"fusion.fallback"') >= 1 and 'onnx_nodes = ["cut", "pick"]' in text


def branch(name, op, source):
    return helper.make_graph([helper.make_node(op, [source], [f"{name}_out"])], name, [], [value(f"{name}_out", [2])])


def if_model(constants=None, inputs=None):
    node = helper.make_node(
        "If",
        ["flag"],
        ["y"],
        "choice",
        then_branch=branch("yes", "Exp", "hidden"),
        else_branch=branch("no", "Neg", "hidden"),
    )
    nodes = [helper.make_node("Relu", ["x"], ["hidden"], "act"), node]
    return model(nodes, {"x": [2], **(inputs or {})}, ["y"], constants)


@pytest.mark.parametrize("flag", [True, False])
def test_a_known_condition_chooses_its_branch(mlir_context, flag):
    outputs, statuses, _ = run(if_model({"flag": np.array(flag)}), {"x": floats(2)})
    hidden = np.maximum(floats(2), 0)
    np.testing.assert_allclose(outputs["y"], np.exp(hidden) if flag else -hidden, rtol=1e-6)
    assert all(s.status == "native" for s in statuses)


def test_captured_values_become_operands(mlir_context):
    proto = if_model(inputs={"flag": ([], TensorProto.BOOL)})
    outputs, statuses, text = run(proto, {"x": floats(2), "flag": np.array(True)})
    np.testing.assert_allclose(outputs["y"], np.exp(np.maximum(floats(2), 0)), rtol=1e-6)
    assert statuses[-1].status == "fallback" and '"fusion.fallback"(%arg1, %0)' in text


def test_a_node_that_the_host_can_run_now_is_a_constant(mlir_context):
    proto = model(
        [helper.make_node("NonZero", ["c"], ["y"])],
        {"x": [1]},
        [value("y", [1, 2], TensorProto.INT64)],
        {"c": np.array([1.0, 0.0, 2.0])},
    )
    outputs, statuses, _ = run(proto, {"x": floats(1)})
    np.testing.assert_array_equal(outputs["y"], [[0, 2]])
    assert statuses[0].status == "native"


def test_a_failed_expansion_leaves_nothing_behind(mlir_context):
    node = helper.make_node("Range", ["a", "b", "c"], ["y"], "steps")
    _, statuses, text = run(
        model([node], {"a": [], "b": [], "c": []}, ["y"], opset=13),
        dict(zip("abc", map(np.float32, (0, 3, 1)), strict=True)),
    )
    assert statuses[0].status == "fallback"
    assert text.count('"fusion.') == 1


def test_functions_of_the_model_with_hosted_nodes_are_taken_apart(mlir_context):
    body = [helper.make_node("Det", ["a"], ["d"], "volume"), helper.make_node("Relu", ["d"], ["r"], "act")]
    function = helper.make_function("my", "Volume", ["a"], ["r"], body, [helper.make_opsetid("", 17)])
    node = helper.make_node("Volume", ["x"], ["y"], "called", domain="my")
    proto = model([node], {"x": [4, 2, 2]}, ["y"], functions=[function], domains={"my": 1})
    outputs, statuses, _ = run(proto, {"x": floats(4, 2, 2)})
    np.testing.assert_allclose(outputs["y"], np.maximum(np.linalg.det(floats(4, 2, 2)), 0), rtol=1e-4)
    expected = [("called/volume", "fallback"), ("called/act", "native"), ("called", "native")]
    assert [(s.name, s.status) for s in statuses] == expected


def test_nodes_of_other_domains_keep_their_version(mlir_context):
    """LabelEncoder has tensors as attributes from version 4 of its domain on."""
    node = helper.make_node(
        "LabelEncoder",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        keys_tensor=numpy_helper.from_array(np.array([1, 2])),
        values_tensor=numpy_helper.from_array(np.array([5, 6])),
    )
    proto = model(
        [node],
        {"x": ([2], TensorProto.INT64)},
        [value("y", [2], TensorProto.INT64)],
        domains={"ai.onnx.ml": 4},
    )
    outputs, _, text = run(proto, {"x": np.array([2, 1])})
    np.testing.assert_array_equal(outputs["y"], [6, 5])
    assert 'domains = ["ai.onnx.ml=4"]' in text
