"""What the imported module says: names, locations, constants, fall-backs, and what is folded away."""

import numpy as np
import onnx
import pytest
from models import FLOAT, floats, model, run, value
from onnx import TensorProto, helper, numpy_helper

from mlirfuse.dialect import TensorType, WeightStore, attribute_value, onnx_nodes
from mlirfuse.frontend import NoRule, import_model, importer, load_model
from mlirfuse.frontend.registry import rule_for


def ops_of(module):
    return list(module.body.operations[0].body.blocks[0].operations)


def test_module_names_its_stage_model_inputs_and_outputs(mlir_context, tmp_path):
    path = tmp_path / "tiny.onnx"
    onnx.save(model([helper.make_node("Relu", ["image"], ["y"])], {"image": [2, 3]}, ["y"]), path)
    text = str(import_model(path, WeightStore()))
    assert 'fusion.stage = "graph"' in text and 'fusion.model = "tiny"' in text
    assert 'fusion.inputs = ["image"]' in text and 'fusion.outputs = ["y"]' in text


def test_every_op_carries_its_node_and_location(mlir_context):
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["a"]), helper.make_node("Relu", ["a"], ["y"], "last")]
    proto = model(nodes, {"x": [1, 2, 5, 5]}, ["y"], {"w": floats(4, 2, 3, 3), "b": floats(4)})
    module = import_model(proto, WeightStore())
    named = {op.operation.name: onnx_nodes(op) for op in ops_of(module) if onnx_nodes(op)}
    assert named == {"fusion.conv": ("Conv_0",), "fusion.binary": ("Conv_0",), "fusion.unary": ("last",)}
    text = module.operation.get_asm(enable_debug_info=True)
    assert 'loc("Conv_0")' in text and 'loc("last")' in text and 'loc("w")' in text


def test_names_are_stable_and_unique():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "Relu_1"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"], "Relu_1"),
    ]
    names = [n.name for n in load_model(model(nodes, {"x": [2]}, ["y"])).nodes]
    assert len(set(names)) == 3 and names[0] == "Relu_1"
    assert names == [n.name for n in load_model(model(nodes, {"x": [2]}, ["y"])).nodes]


def test_uniform_constants_are_splats_and_others_weights(mlir_context):
    nodes = [helper.make_node("Add", ["x", "same"], ["a"]), helper.make_node("Mul", ["a", "mixed"], ["y"])]
    store = WeightStore()
    proto = model(nodes, {"x": [2, 3]}, ["y"], {"same": np.full((2, 3), 0.5, np.float32), "mixed": floats(3)})
    module = import_model(proto, store)
    kinds = {op.operation.name: op for op in ops_of(module)}
    assert attribute_value(kinds["fusion.splat"], "value") == 0.5
    np.testing.assert_array_equal(store.get(attribute_value(kinds["fusion.weight"], "key")), floats(3))


def test_equal_constants_appear_once(mlir_context):
    nodes = [helper.make_node("Mul", ["x", "a"], ["u"]), helper.make_node("Mul", ["u", "b"], ["y"])]
    module = import_model(model(nodes, {"x": [2, 3]}, ["y"], {"a": floats(3), "b": floats(3)}), WeightStore())
    assert sum(op.operation.name == "fusion.weight" for op in ops_of(module)) == 1


def test_a_filter_of_equal_elements_is_still_a_weight(mlir_context):
    proto = model(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        {"x": [1, 1, 4, 4]},
        ["y"],
        {"w": np.ones((1, 1, 3, 3), np.float32)},
    )
    assert "fusion.weight" in {op.operation.name for op in ops_of(import_model(proto, WeightStore()))}


def test_dead_nodes_and_unused_initializers_leave_no_trace(mlir_context):
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("MatMul", ["x", "w"], ["unused"])]
    module = import_model(model(nodes, {"x": [2, 2]}, ["y"], {"w": floats(2, 2)}), WeightStore())
    assert [op.operation.name for op in ops_of(module)] == ["fusion.unary", "func.return"]


def test_shape_arithmetic_folds(mlir_context):
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    constants = {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}
    outputs, statuses, text = run(
        model(nodes, {"x": ["N", 3, 4]}, ["y"], constants), {"x": floats(5, 3, 4)}, {"x": (5, 3, 4)}
    )
    assert outputs["y"].shape == (5, 12)
    assert (
        text.count("fusion.")
        - text.count("fusion.inputs")
        - text.count("fusion.outputs")
        - text.count("fusion.stage")
        - text.count("fusion.model")
        == 1
    )
    assert all(s.status == "native" for s in statuses)


def test_outputs_may_be_inputs_or_constants(mlir_context):
    nodes = [helper.make_node("Identity", ["x"], ["same"]), helper.make_node("Identity", ["c"], ["fixed"])]
    outputs, _, _ = run(model(nodes, {"x": [2]}, ["same", "fixed"], {"c": floats(3)}), {"x": floats(2)})
    np.testing.assert_array_equal(outputs["same"], floats(2))
    np.testing.assert_array_equal(outputs["fixed"], floats(3))


def test_tensors_without_elements_are_constants(mlir_context):
    nodes = [helper.make_node("Concat", ["x", "none"], ["y"], axis=0)]
    outputs, statuses, text = run(
        model(nodes, {"x": [2, 3]}, ["y"], {"none": np.zeros((0, 3), np.float32)}), {"x": floats(2, 3)}
    )
    np.testing.assert_array_equal(outputs["y"], floats(2, 3))
    assert "fusion.concat" not in text and statuses[0].status == "native"


def test_initializers_that_are_also_inputs_are_constants(mlir_context):
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": [3], "w": [3]}, ["y"], {"w": floats(3)})
    assert [spec.name for spec in load_model(proto).inputs] == ["x"]


def test_a_new_batch_size_reaches_frozen_reshapes(mlir_context):
    proto = model([helper.make_node("Reshape", ["x", "s"], ["y"])], {"x": [1, 3, 4]}, ["y"], {"s": np.array([1, 12])})
    outputs, _, _ = run(proto, {"x": floats(8, 3, 4)}, {"x": (8, 3, 4)})
    assert outputs["y"].shape == (8, 12)


# --- fall-backs -----------------------------------------------------------------------------------


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


# --- functions and rules from elsewhere -----------------------------------------------------------


def test_functions_of_the_model_are_expanded(mlir_context):
    body = [helper.make_node("Mul", ["a", "a"], ["sq"]), helper.make_node("LeakyRelu", ["sq"], ["r"])]
    body[1].attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    function = helper.make_function("my", "SquareAct", ["a"], ["r"], body, [helper.make_opsetid("", 17)], ["slope"])
    node = helper.make_node("SquareAct", ["x"], ["y"], "called", domain="my", slope=0.5)
    outputs, statuses, text = run(
        model([node], {"x": [3]}, ["y"], functions=[function], domains={"my": 1}), {"x": floats(3)}
    )
    np.testing.assert_allclose(outputs["y"], floats(3) ** 2)
    assert statuses[0].status == "native" and 'onnx_nodes = ["called"]' in text and "alpha = 5.0" in text


def test_operators_that_onnx_defines_by_others_are_expanded(mlir_context):
    proto = model(
        [helper.make_node("NegativeLogLikelihoodLoss", ["x", "t"], ["y"], reduction="mean")],
        {"x": [3, 4]},
        ["y"],
        {"t": np.array([0, 2, 1])},
    )
    outputs, statuses, _ = run(proto, {"x": floats(3, 4)})
    np.testing.assert_allclose(outputs["y"], -floats(3, 4)[range(3), [0, 2, 1]].mean(), rtol=1e-6)
    assert statuses[0].status == "native"


def test_a_failed_expansion_leaves_nothing_behind(mlir_context):
    node = helper.make_node("Range", ["a", "b", "c"], ["y"], "steps")
    _, statuses, text = run(
        model([node], {"a": [], "b": [], "c": []}, ["y"], opset=13),
        dict(zip("abc", map(np.float32, (0, 3, 1)), strict=True)),
    )
    assert statuses[0].status == "fallback"
    assert text.count('"fusion.') == 1


def test_rules_can_be_added(mlir_context):
    @importer("Thrice", domain="my.domain")
    def thrice(b, node):
        if node.attr("refuse", 0):
            raise NoRule("was told to refuse")
        return b.binary("mul", node.input(), 3.0)

    assert rule_for("my.domain", "Thrice") is thrice
    proto = model(
        [helper.make_node("Thrice", ["x"], ["y"], domain="my.domain")], {"x": [2]}, ["y"], domains={"my.domain": 1}
    )
    outputs, _, _ = run(proto, {"x": floats(2)})
    np.testing.assert_allclose(outputs["y"], floats(2) * 3)


def test_observer_sees_every_op(mlir_context):
    from mlirfuse.frontend import interpret

    store, seen = WeightStore(), []
    module = import_model(
        model(
            [helper.make_node("Relu", ["x"], ["a"], "r"), helper.make_node("Neg", ["a"], ["y"], "n")], {"x": [2]}, ["y"]
        ),
        store,
    )
    interpret(module, store, {"x": floats(2)}, lambda op, results: seen.append((onnx_nodes(op), results[0].shape)))
    assert seen == [(("r",), (2,)), (("n",), (2,))]


def test_types_of_inputs():
    proto = model([helper.make_node("Cast", ["x"], ["y"], to=FLOAT)], {"x": ([2], TensorProto.INT8)}, ["y"])
    assert load_model(proto).inputs[0].type == TensorType((2,), "int8")


def test_sparse_initializers_are_read(mlir_context):
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": [4]}, ["y"])
    values = numpy_helper.from_array(np.array([5.0], np.float32), "w")
    indices = numpy_helper.from_array(np.array([2]), "w_indices")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    outputs, _, _ = run(proto, {"x": np.zeros(4, np.float32)})
    np.testing.assert_array_equal(outputs["y"], [0, 0, 5, 0])


def test_functions_of_the_model_with_hosted_nodes_are_taken_apart(mlir_context):
    body = [helper.make_node("Det", ["a"], ["d"], "volume"), helper.make_node("Relu", ["d"], ["r"], "act")]
    function = helper.make_function("my", "Volume", ["a"], ["r"], body, [helper.make_opsetid("", 17)])
    node = helper.make_node("Volume", ["x"], ["y"], "called", domain="my")
    proto = model([node], {"x": [4, 2, 2]}, ["y"], functions=[function], domains={"my": 1})
    outputs, statuses, _ = run(proto, {"x": floats(4, 2, 2)})
    np.testing.assert_allclose(outputs["y"], np.maximum(np.linalg.det(floats(4, 2, 2)), 0), rtol=1e-4)
    expected = [("called/volume", "fallback"), ("called/act", "native"), ("called", "native")]
    assert [(s.name, s.status) for s in statuses] == expected


def test_products_over_nothing_are_zero(mlir_context):
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["product"]),
        helper.make_node("Gemm", ["a", "b", "c"], ["y"], beta=2.0),
    ]
    proto = model(nodes, {"a": [3, 0], "c": [4]}, ["product", "y"], {"b": np.zeros((0, 4), np.float32)})
    outputs, statuses, _ = run(proto, {"a": np.zeros((3, 0), np.float32), "c": floats(4)})
    np.testing.assert_array_equal(outputs["product"], np.zeros((3, 4)))
    np.testing.assert_array_equal(outputs["y"], np.tile(2 * floats(4), (3, 1)))
    assert [s.status for s in statuses] == ["native"] * 2


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


@pytest.mark.parametrize("mode", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}], ids=str)
def test_long_running_sums_are_blocks_of_products(mlir_context, mode):
    proto = model(
        [helper.make_node("CumSum", ["x", "axis"], ["y"], **mode)], {"x": [2, 1300]}, ["y"], {"axis": np.array(1)}
    )
    x = np.random.default_rng(0).integers(-9, 9, (2, 1300)).astype(np.float32)
    outputs, statuses, _ = run(proto, {"x": x})
    line = x[:, ::-1] if "reverse" in mode else x
    expected = np.cumsum(line, 1) - (line if "exclusive" in mode else 0)
    np.testing.assert_array_equal(outputs["y"], expected[:, ::-1] if "reverse" in mode else expected)
    assert statuses[0].status == "native"


@pytest.mark.parametrize("given", [False, True], ids=("as_pooled", "larger"))
def test_pooling_is_undone_where_windows_do_not_overlap(mlir_context, given):
    nodes = [
        helper.make_node("MaxPool", ["x"], ["m", "i"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node(
            "MaxUnpool", ["m", "i", *(["shape"] if given else [])], ["y"], kernel_shape=[2, 2], strides=[2, 2]
        ),
    ]
    proto = model(nodes, {"x": [2, 3, 4, 6]}, ["y"], {"shape": np.array([2, 3, 5, 7])} if given else {})
    x = floats(2, 3, 4, 6)
    outputs, statuses, _ = run(proto, {"x": x})
    largest = x.reshape(2, 3, 2, 2, 3, 2).max(axis=(3, 5)).repeat(2, 2).repeat(2, 3)
    expected = np.where(x == largest, x, 0)
    np.testing.assert_array_equal(outputs["y"][:, :, :4, :6], expected)
    assert outputs["y"].shape[2:] == ((5, 7) if given else (4, 6)) and [s.status for s in statuses] == ["native"] * 2
