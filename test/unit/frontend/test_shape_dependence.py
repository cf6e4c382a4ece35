"""Operators whose import depends on shapes: nothing to sum over, long rows, windows side by side, a new batch size."""

import numpy as np
import pytest
from models import floats, model, run
from onnx import helper


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


def test_a_new_batch_size_reaches_frozen_reshapes(mlir_context):
    proto = model([helper.make_node("Reshape", ["x", "s"], ["y"])], {"x": [1, 3, 4]}, ["y"], {"s": np.array([1, 12])})
    outputs, _, _ = run(proto, {"x": floats(8, 3, 4)}, {"x": (8, 3, 4)})
    assert outputs["y"].shape == (8, 12)
