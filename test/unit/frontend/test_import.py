"""What the imported module says: names, locations, constants, fall-backs, and what is folded away."""

import numpy as np
import onnx
from models import FLOAT, floats, model, run
from onnx import TensorProto, helper, numpy_helper

from mlirfuse.dialect import TensorType, WeightStore, attribute_value, onnx_nodes
from mlirfuse.frontend import import_model, load_model


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
