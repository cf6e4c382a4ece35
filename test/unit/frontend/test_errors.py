"""What is wrong with a model is said in one paragraph that names the place and the way out."""

import contextlib

import numpy as np
import onnx
import pytest
from models import FLOAT, floats, model, run, value
from onnx import TensorProto, helper, numpy_helper

from mlirfuse.errors import InvalidModel, MlirfuseError, UnsupportedOp
from mlirfuse.frontend import check_model, import_model, load_model


def relu(source="x", target="y", name="act"):
    return helper.make_node("Relu", [source], [target], name)


def refusal(action, kind=InvalidModel):
    with pytest.raises(kind) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 900
    return message


def test_missing_file(tmp_path):
    assert "does not exist" in refusal(lambda: load_model(tmp_path / "no.onnx"))


@pytest.mark.parametrize("keep", [0, 3, 20, -5])
def test_truncated_bytes(keep):
    data = model([relu()], {"x": [2, 3]}, ["y"]).SerializeToString()
    refusal(lambda: load_model(data[:keep]))


def test_text_that_is_no_model(tmp_path):
    path = tmp_path / "pointer.onnx"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert "pointer.onnx" in refusal(lambda: load_model(path))


def test_symbolic_dimension_without_a_shape():
    message = refusal(lambda: load_model(model([relu()], {"x": ["N", 3]}, ["y"])))
    assert "'x'" in message and "'N'" in message and "--shape x=1x3" in message


def test_shapes_bind_symbols_for_every_input():
    proto = model([helper.make_node("Add", ["x", "z"], ["y"])], {"x": ["N", 3], "z": ["N", 3]}, ["y"])
    assert [spec.type.dims for spec in load_model(proto, {"x": (4, 3)}).inputs] == [(4, 3), (4, 3)]


def test_shapes_that_contradict_each_other():
    proto = model([helper.make_node("Add", ["x", "z"], ["y"])], {"x": ["N", 3], "z": ["N", 3]}, ["y"])
    assert "'N'" in refusal(lambda: load_model(proto, {"x": (4, 3), "z": (5, 3)}))


@pytest.mark.parametrize(
    ("shapes", "part"), [({"x": (2,)}, "2 "), ({"w": (2, 3)}, "no input 'w'"), ({"x": (2, -1)}, "negative")]
)
def test_shapes_that_do_not_fit(shapes, part):
    assert part in refusal(lambda: load_model(model([relu()], {"x": [2, 3]}, ["y"]), shapes))


def test_a_value_defined_twice():
    nodes = [relu(), helper.make_node("Tanh", ["x"], ["y"], "second")]
    assert "'second'" in refusal(lambda: load_model(model(nodes, {"x": [2]}, ["y"])))


def test_a_value_never_defined():
    assert "'nowhere'" in refusal(lambda: load_model(model([relu("nowhere")], {"x": [2]}, ["y"])))


def test_an_output_never_defined():
    assert "'z'" in refusal(lambda: load_model(model([relu()], {"x": [2]}, ["z"])))


def test_a_cycle():
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], "first"), helper.make_node("Relu", ["a"], ["b"], "second")]
    message = refusal(lambda: load_model(model(nodes, {"x": [2]}, ["b"])))
    assert "cycle" in message and "'first'" in message


def test_nodes_out_of_order_are_put_in_order(mlir_context):
    nodes = [helper.make_node("Relu", ["a"], ["y"], "late"), helper.make_node("Neg", ["x"], ["a"], "early")]
    outputs, statuses, _ = run(model(nodes, {"x": [2]}, ["y"]), {"x": np.array([1, -1], np.float32)})
    assert [s.name for s in statuses] == ["early", "late"]
    np.testing.assert_array_equal(outputs["y"], [0, 1])


def test_an_opset_of_the_future():
    assert "opset 999" in refusal(lambda: load_model(model([relu()], {"x": [2]}, ["y"], opset=999)))


def test_an_operator_that_onnx_does_not_know():
    assert "Frobnicate" in refusal(
        lambda: load_model(model([helper.make_node("Frobnicate", ["x"], ["y"])], {"x": [2]}, ["y"]))
    )


def test_inconsistent_shapes_name_the_node(mlir_context):
    proto = model(
        [helper.make_node("Conv", ["x", "w"], ["y"], "stem")], {"x": [1, 3, 8, 8]}, ["y"], {"w": floats(4, 5, 3, 3)}
    )
    message = refusal(lambda: run(proto, {}))
    assert "'stem'" in message and "channels" in message


@pytest.mark.parametrize(
    ("op", "indices", "axis"),
    [("Gather", [0, 3], 0), ("GatherElements", [[0, -4]], 0), ("GatherND", [[1, 2]], None), ("ScatterND", [[-4]], None),
     ("ScatterElements", [[5]], 1)],
)  # fmt: skip
def test_a_known_index_outside_is_refused(op, indices, axis, mlir_context):
    updates = {"ScatterND": [1, 2], "ScatterElements": [1, 1]}.get(op)
    inputs = {"x": [3, 2], **({"u": updates} if updates else {})}
    node = helper.make_node(
        op, ["x", "i", *(["u"] if updates else [])], ["y"], "pick", **({"axis": axis} if axis else {})
    )
    message = refusal(lambda: run(model([node], inputs, ["y"], {"i": np.array(indices)}, opset=16), {}))
    assert "'pick'" in message and "index outside" in message


def test_an_output_listed_twice():
    message = refusal(lambda: load_model(model([relu()], {"x": [2]}, ["y", "y"])))
    assert "'y' 2 times" in message


def test_a_host_node_with_too_many_types_says_so(mlir_context):
    """Twelve results whose types alternate: more changes than an op of the dialect has room for."""
    kinds = [TensorProto.INT64 if i % 2 else FLOAT for i in range(12)]

    def branch(name):
        nodes = [helper.make_node("Identity", ["k" if i % 2 else "x"], [f"{name}{i}"]) for i in range(12)]
        return helper.make_graph(nodes, name, [], [value(f"{name}{i}", [3], kind) for i, kind in enumerate(kinds)])

    node = helper.make_node(
        "If", ["c"], [f"o{i}" for i in range(12)], "fork", then_branch=branch("t"), else_branch=branch("e")
    )
    inputs = {"c": ([], TensorProto.BOOL), "x": [3], "k": ([3], TensorProto.INT64)}
    proto = model([node], inputs, [value(f"o{i}", [3], kind) for i, kind in enumerate(kinds)])
    message = refusal(lambda: run(proto, {}), UnsupportedOp)
    assert "'fork' (If)" in message and "12 times" in message and "room for 8" in message


def test_no_outputs():
    assert "no outputs" in refusal(lambda: load_model(model([relu()], {"x": [2]}, [])))


def test_string_inputs_are_unsupported():
    proto = model(
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": ([2], onnx.TensorProto.STRING)},
        [value("y", [2], onnx.TensorProto.STRING)],
    )
    assert "string" in refusal(lambda: load_model(proto), UnsupportedOp)


# --- external data --------------------------------------------------------------------------------


def external(tmp_path, length=None, location="weights.bin", offset="0"):
    array = floats(4, 8)
    (tmp_path / "weights.bin").write_bytes(array.tobytes()[:length])
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 4]}, ["y"], {"w": array})
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, text in (("location", location), ("offset", offset), ("length", str(array.nbytes))):
        tensor.external_data.add(key=key, value=text)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path, array


def test_external_data_is_read_from_beside_the_model(tmp_path, mlir_context):
    path, array = external(tmp_path)
    x = floats(2, 4)
    outputs, _, _ = run(path, {"x": x})
    np.testing.assert_allclose(outputs["y"], x @ array, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"location": "elsewhere.bin"}, "does not exist"),
        ({"location": "../weights.bin"}, "not a relative path"),
        ({"location": "/etc/passwd"}, "not a relative path"),
        ({"length": 100}, "truncated"),
        ({"offset": "64"}, "truncated"),
        ({"offset": "soon"}, "no number"),
    ],
)
def test_broken_external_data(tmp_path, change, part):
    path, _ = external(tmp_path, **change)
    message = refusal(lambda: load_model(path))
    assert part in message and "'w'" in message


def test_external_data_without_a_folder(tmp_path):
    path, _ = external(tmp_path)
    assert "no folder" in refusal(lambda: load_model(path.read_bytes()))


def test_initializer_with_missing_elements():
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": [4]}, ["y"], {"w": floats(4)})
    proto.graph.initializer[0].raw_data = b"\0" * 8
    assert "'w'" in refusal(lambda: load_model(proto))


# --- many at once ---------------------------------------------------------------------------------


def two_fallbacks():
    nodes = [
        helper.make_node("Det", ["x"], ["d"], "volume"),
        relu("d", "e", "act"),
        helper.make_node("NonZero", ["e"], ["y"], "best"),
    ]
    return model(nodes, {"x": [4, 3, 3]}, ["y"])


def test_strict_lists_every_fallback(mlir_context):
    from mlirfuse.dialect import WeightStore

    message = refusal(lambda: import_model(two_fallbacks(), WeightStore(), strict=True), UnsupportedOp)
    assert "'volume' (Det)" in message and "'best' (NonZero)" in message and "2 of 3" in message


def test_check_says_it_of_every_node():
    assert [(s.name, s.status) for s in check_model(two_fallbacks())] == [
        ("volume", "fallback"),
        ("act", "native"),
        ("best", "fallback"),
    ]


def test_check_goes_on_after_an_invalid_node():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "product"),
        relu("a", "b", "reader"),
        helper.make_node("Neg", ["x"], ["c"], "other"),
        helper.make_node("Concat", ["b", "c"], ["y"], "both", axis=0),
    ]
    statuses = check_model(model(nodes, {"x": [2, 3]}, ["y"], {"w": floats(5, 5)}))
    assert [s.status for s in statuses] == ["invalid", "invalid", "native", "invalid"]
    assert "inner dimensions" in statuses[0].reason and "'a'" in statuses[1].reason


def test_unknown_domain_is_refused(mlir_context):
    proto = model(
        [helper.make_node("Magic", ["x"], ["y"], "m", domain="my.domain")], {"x": [2]}, ["y"], domains={"my.domain": 1}
    )
    message = refusal(lambda: run(proto, {}), UnsupportedOp)
    assert "my.domain.Magic" in message and "mlirfuse.importers" in message


def test_all_errors_are_ours(tmp_path):
    """Damage anywhere in a file gives a MlirfuseError, or a model that still loads."""
    data = bytearray(model([relu()], {"x": [2, 3]}, ["y"], {"w": floats(3)}).SerializeToString())
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        broken[rng.integers(len(data))] = rng.integers(256)
        with contextlib.suppress(MlirfuseError):
            load_model(bytes(broken))


def test_the_given_model_is_not_modified():
    proto = model(
        [relu(name="")], {"x": ["N", 3]}, ["y"], {"unused": numpy_helper.to_array(numpy_helper.from_array(floats(600)))}
    )
    before = proto.SerializeToString(deterministic=True)
    load_model(proto, {"x": (2, 3)})
    assert proto.SerializeToString(deterministic=True) == before
    assert proto.graph.input[0].type.tensor_type.elem_type == FLOAT


def _outer():
    return helper.make_node("Mul", ["x", "z"], ["y"], "outer")


def _repeated():
    return helper.make_node("Expand", ["x", "shape"], ["y"], "repeated")


@pytest.mark.parametrize("node", [_outer(), _repeated()], ids=["elementwise", "expand"])
def test_results_beyond_every_machine_name_the_node(node, mlir_context):
    inputs = {"x": [1 << 26, 1], "z": [1, 1 << 26]}
    network = model([node], inputs, ["y"], {"shape": np.array([1 << 26, 1 << 26])})
    message = refusal(lambda: run(network, {}))
    assert f"'{node.name}'" in message and "67108864x67108864xfloat32" in message and str(1 << 40) in message
    assert [s.status for s in check_model(network)] == ["invalid"]


@pytest.mark.filterwarnings("error")
def test_a_negative_variance_is_no_warning(mlir_context):
    node = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], "norm")
    statistics = {"s": [1, 1], "b": [0, 0], "m": [0, 0], "v": [-1, 1]}
    constants = {name: np.array(array, np.float32) for name, array in statistics.items()}
    x = floats(1, 2, 3)
    found, _, _ = run(model([node], {"x": [1, 2, 3]}, ["y"], constants), {"x": x})
    assert np.isnan(found["y"][0, 0]).all() and np.allclose(found["y"][0, 1], x[0, 1], rtol=1e-4)


def test_a_tensor_of_the_limit_is_taken():
    assert [s.status for s in check_model(model([relu()], {"x": [1 << 38]}, ["y"]))] == ["native"]
    assert str(1 << 40) in refusal(lambda: load_model(model([relu()], {"x": [(1 << 38) + 1]}, ["y"])))
