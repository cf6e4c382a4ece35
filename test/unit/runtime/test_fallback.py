"""Nodes on the host, through ONNX Runtime and without it; old opsets against ONNX Runtime or by hand."""

import importlib.util
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mlirfuse.errors import InvalidModel, MlirfuseError
from mlirfuse.runtime.fallback import FallbackNode
from mlirfuse.runtime.legacy_ops import legacy_op
from mlirfuse.subgraphs import captured_names

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)


def fallback(
    op: str, inputs: list[str], outputs: list[str], opset: int, domain: str = "", **attributes: Any
) -> FallbackNode:
    node = helper.make_node(op, inputs, outputs, domain=domain, **attributes)
    return FallbackNode(node.SerializeToString(), {"": opset})


@pytest.fixture(params=["onnxruntime", "reference"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the test with ONNX Runtime, then as if it were not installed."""
    if request.param == "onnxruntime":
        pytest.importorskip("onnxruntime")
    else:
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    return request.param


def test_a_node_runs(engine: str) -> None:
    np.testing.assert_allclose(fallback("Add", ["a", "b"], ["c"], 17).run([X, X])[0], X + X)


def test_the_same_value_may_be_used_twice(engine: str) -> None:
    np.testing.assert_allclose(fallback("Mul", ["a", "a"], ["c"], 17).run([X, X])[0], X * X)


def test_optional_inputs_may_be_left_out(engine: str) -> None:
    clip = fallback("Clip", ["x", "", "high"], ["y"], 13)
    high = np.array(0.5, np.float32)
    np.testing.assert_allclose(clip.run([X, None, high])[0], np.minimum(X, 0.5))
    np.testing.assert_allclose(clip.run([X, high])[0], np.minimum(X, 0.5))


def test_optional_outputs_may_be_left_out(engine: str) -> None:
    values, indices = fallback("TopK", ["x", "k"], ["", "i"], 13, axis=-1).run([X, np.array([2], np.int64)])
    assert values is None
    np.testing.assert_array_equal(indices, np.argsort(-X, -1)[..., :2])


def test_shapes_may_depend_on_the_data_and_change(engine: str) -> None:
    node = fallback("NonZero", ["x"], ["y"], 13)
    for x in (np.array([1, 0, 2], np.float32), np.array([0, 3, 4, 5], np.float32)):
        np.testing.assert_array_equal(node.run([x])[0], np.array(np.nonzero(x)))


def test_sequences_pass_through(engine: str) -> None:
    made = fallback("SplitToSequence", ["x"], ["s"], 17, axis=0, keepdims=1).run([X])[0]
    assert len(made) == 2
    np.testing.assert_array_equal(fallback("ConcatFromSequence", ["s"], ["y"], 17, axis=0).run([made])[0], X)


def test_subgraphs_see_outer_values(engine: str) -> None:
    def branch(op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x", "y"], ["r"])], op, [], [out])

    node = helper.make_node("If", ["c"], ["z"], then_branch=branch("Add"), else_branch=branch("Sub"))
    assert captured_names(node) == ["x", "y"]
    prepared = FallbackNode(node.SerializeToString(), {"": 17})
    for condition, expected in ((True, X + 1), (False, X - 1)):
        one = np.ones((), np.float32)
        np.testing.assert_allclose(prepared.run([np.array(condition), X, one])[0], expected, rtol=1e-6)


def test_bfloat16_goes_to_the_reference_evaluator() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = X.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(fallback("Relu", ["x"], ["y"], 17).run([x])[0], np.maximum(x, 0))


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
@pytest.mark.parametrize("opset", [7, 11, 12])
def test_softmax_before_opset_13_flattens(op: str, axis: int | None, opset: int) -> None:
    if axis == -1 and opset < 11:
        pytest.skip("negative axes came with opset 11")
    runtime = pytest.importorskip("onnxruntime")
    node = fallback(op, ["x"], ["y"], opset, **({} if axis is None else {"axis": axis}))
    session = runtime.InferenceSession(node._model({"x": X}).SerializeToString(), providers=["CPUExecutionProvider"])
    legacy = legacy_op(node.node, opset)
    assert legacy is not None
    np.testing.assert_allclose(legacy(X)[0], session.run(None, {"x": X})[0], rtol=1e-5, atol=1e-6)


def test_softmax_flattens_without_onnxruntime(engine: str) -> None:
    flat = np.exp(X.reshape(2, 12))
    expected = (flat / flat.sum(1, keepdims=True)).reshape(X.shape)
    np.testing.assert_allclose(fallback("Softmax", ["x"], ["y"], 9).run([X])[0], expected, rtol=1e-5)
    last = np.exp(X) / np.exp(X).sum(-1, keepdims=True)
    np.testing.assert_allclose(fallback("Softmax", ["x"], ["y"], 13).run([X])[0], last, rtol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(1, 1, 2, 3), (1, 1, 0.5, 1.5)])
def test_resize_10_agrees_with_onnxruntime(mode: str, scales: tuple[float, ...]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    image, factors = RNG.standard_normal((1, 2, 4, 6)).astype(np.float32), np.array(scales, np.float32)
    node = fallback("Resize", ["x", "s"], ["y"], 10, mode=mode)
    session = runtime.InferenceSession(node._model({"x": image, "s": factors}).SerializeToString())
    legacy = legacy_op(node.node, 10)
    assert legacy is not None
    expected = session.run(None, {"x": image, "s": factors})[0]
    np.testing.assert_allclose(legacy(image, factors)[0], expected, rtol=1e-5, atol=1e-6)


def _values(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("op", "opset", "inputs", "attributes"),
    [
        ("BatchNormalization", 7, [_values(2, 3, 4), *(_values(3) for _ in range(3)), np.abs(_values(3))], {}),
        (
            "BatchNormalization",
            9,
            [_values(2, 3, 4), *(_values(3) for _ in range(3)), np.abs(_values(3))],
            {"epsilon": 0.1},
        ),
        ("LRN", 7, [_values(1, 6, 3, 3)], {"size": 5, "alpha": 0.1}),
        ("LRN", 13, [_values(2, 6, 3, 3)], {"size": 3, "alpha": 0.1, "beta": 0.5, "bias": 2.0}),
        ("OneHot", 9, [np.int64([1, 2, -1]), np.int64([4]), np.float32([0, 5])], {}),
        ("OneHot", 11, [np.int64([[1, 2], [-1, 9]]), np.int64([4]), np.float32([1, 5])], {"axis": 1}),
        ("DequantizeLinear", 10, [np.uint8([[3, 200]]), np.array(0.02, np.float32), np.array(3, np.uint8)], {}),
        ("DequantizeLinear", 13, [np.int8([[3, -9], [4, 5]]), np.float32([0.5, 2])], {"axis": 0}),
        ("Scatter", 9, [_values(3, 3), np.int64([[1, 0, 2]]), _values(1, 3)], {}),
        ("GlobalLpPool", 2, [_values(1, 2, 6, 6)], {"p": 3}),
        ("RoiAlign", 10, [_values(1, 1, 8, 8), np.float32([[0, 0, 5, 5]]), np.int64([0])], {"output_height": 2}),
    ],
    ids=lambda value: str(value) if isinstance(value, (str, int)) else "",
)
def test_corrections_of_the_reference_evaluator_agree_with_onnxruntime(
    op: str, opset: int, inputs: list[np.ndarray], attributes: dict[str, Any]
) -> None:
    pytest.importorskip("onnxruntime")
    names = [f"i{number}" for number in range(len(inputs))]
    node = fallback(op, names, ["y"], max(opset, 7), **attributes)
    given = dict(zip(names, inputs, strict=True))
    native = node._onnxruntime(given)
    legacy = node._legacy(given)
    assert native is not None
    assert legacy is not None
    np.testing.assert_allclose(legacy(given)[0], native(given)[0], rtol=1e-5, atol=1e-6)


def test_arithmetic_before_opset_7_broadcasts_at_an_axis(engine: str) -> None:
    row = np.arange(3, dtype=np.float32)
    made = fallback("Add", ["a", "b"], ["c"], 6, broadcast=1, axis=1).run([X, row])[0]
    np.testing.assert_allclose(made, X + row[:, None])


def test_shape_attributes_of_the_first_opsets(engine: str) -> None:
    assert fallback("Reshape", ["x"], ["y"], 1, shape=[0, -1]).run([X])[0].shape == (2, 12)
    assert fallback("Concat", ["x", "x"], ["y"], 3).run([X, X])[0].shape == (2, 6, 4)
    assert fallback("Upsample", ["x"], ["y"], 7, scales=[1.0, 2.0, 2.0]).run([X])[0].shape == (2, 6, 8)


def test_an_unknown_operator_names_the_node() -> None:
    with pytest.raises(MlirfuseError, match=r"The host node 'y' \(Nothing\)"):
        fallback("Nothing", ["x"], ["y"], 17).run([X])


def test_bytes_that_are_no_node_are_refused() -> None:
    with pytest.raises(InvalidModel, match="NodeProto"):
        FallbackNode(b"\xff\xff\xff", {"": 17})
