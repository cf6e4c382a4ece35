"""What attributes meant before they became inputs, against ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
from models import floats, model, run
from onnx import helper

CASES = {
    "Softmax-11": (11, ["Softmax"], [2, 3, 4], {"axis": 1}, {}),
    "Softmax-11 last": (11, ["Softmax"], [2, 3, 4], {"axis": 2}, {}),
    "LogSoftmax-9": (9, ["LogSoftmax"], [2, 3, 4], {}, {}),
    "Hardmax-11": (11, ["Hardmax"], [2, 3, 4], {"axis": 1}, {}),
    "Softmax-13": (13, ["Softmax"], [2, 3, 4], {}, {}),
    "Clip-6": (9, ["Clip"], [3, 4], {"min": -0.5, "max": 0.5}, {}),
    "Clip-11": (11, ["Clip"], [3, 4], {}, {"low": np.float32(-0.5), "high": np.float32(0.5)}),
    "Clip-12 only max": (12, ["Clip", ""], [3, 4], {}, {"high": np.float32(0.1)}),
    "Slice-1": (9, ["Slice"], [5, 6], {"starts": [1, -4], "ends": [4, 100], "axes": [0, 1]}, {}),
    "Slice-11": (
        11,
        ["Slice"],
        [5, 6],
        {},
        {"s": np.array([4, 0]), "e": np.array([-100, 5]), "a": np.array([0, 1]), "p": np.array([-2, 2])},
    ),
    "Pad-2": (10, ["Pad"], [3, 4], {"pads": [0, 1, 2, 1], "mode": "reflect"}, {}),
    "Pad-2 value": (10, ["Pad"], [3, 4], {"pads": [0, 1, 2, 1], "value": 2.5}, {}),
    "Pad-11": (11, ["Pad"], [3, 4], {"mode": "edge"}, {"p": np.array([1, 1, 0, 2])}),
    "Pad-18 axes": (18, ["Pad"], [3, 4], {}, {"p": np.array([1, 2]), "v": np.float32(3), "a": np.array([-1])}),
    "Squeeze-11": (11, ["Squeeze"], [1, 3, 1], {"axes": [0]}, {}),
    "Squeeze-13": (13, ["Squeeze"], [1, 3, 1], {}, {"a": np.array([-1])}),
    "Squeeze all": (13, ["Squeeze"], [1, 3, 1], {}, {}),
    "Unsqueeze-11": (11, ["Unsqueeze"], [3, 4], {"axes": [0, 3]}, {}),
    "Unsqueeze-13": (13, ["Unsqueeze"], [3, 4], {}, {"a": np.array([1, -1])}),
    "ReduceSum-11": (11, ["ReduceSum"], [2, 3, 4], {"axes": [1], "keepdims": 0}, {}),
    "ReduceSum-13": (13, ["ReduceSum"], [2, 3, 4], {"keepdims": 0}, {"a": np.array([-1, 0])}),
    "ReduceMean-17": (17, ["ReduceMean"], [2, 3, 4], {"axes": [-1]}, {}),
    "ReduceMean-18": (18, ["ReduceMean"], [2, 3, 4], {}, {"a": np.array([-1])}),
    "ReduceL2 all": (18, ["ReduceL2"], [2, 3, 4], {}, {}),
    "ReduceSum noop": (13, ["ReduceSum"], [2, 3], {"noop_with_empty_axes": 1}, {}),
    "Dropout-7": (7, ["Dropout"], [3, 4], {"ratio": 0.5}, {}),
    "Dropout-12": (12, ["Dropout"], [3, 4], {}, {"r": np.float32(0.5), "t": np.array(False)}),
    "Upsample-7": (7, ["Upsample"], [1, 2, 3, 3], {"scales": [1.0, 1.0, 2.0, 2.0]}, {}),
    "Upsample-9 linear": (9, ["Upsample"], [1, 2, 3, 3], {"mode": "linear"}, {"s": np.array([1, 1, 2, 3], np.float32)}),
    "Resize-10": (10, ["Resize"], [1, 1, 4, 4], {}, {"s": np.array([1, 1, 1.5, 0.5], np.float32)}),
    "Resize-13": (13, ["Resize", ""], [1, 1, 4, 4], {"mode": "linear"}, {"s": np.array([1, 1, 1.5, 2], np.float32)}),
    "Resize-13 sizes": (
        13,
        ["Resize", "", ""],
        [1, 1, 4, 6],
        {"mode": "cubic", "coordinate_transformation_mode": "align_corners"},
        {"z": np.array([1, 1, 7, 9])},
    ),
    "Resize-18 axes": (
        18,
        ["Resize", ""],
        [1, 1, 4, 6],
        {"mode": "linear", "antialias": 1, "axes": [2, 3]},
        {"s": np.array([0.5, 0.6], np.float32)},
    ),
    "BatchNormalization-7": (
        7,
        ["BatchNormalization"],
        [2, 3, 4],
        {"epsilon": 0.01},
        {k: np.abs(floats(3)) for k in "sbmv"},
    ),
    "BatchNormalization-15": (15, ["BatchNormalization"], [2, 3, 4], {}, {k: np.abs(floats(3)) for k in "sbmv"}),
    "Gemm-7": (7, ["Gemm"], [3, 4], {"transB": 1, "alpha": 0.5, "beta": 2.0}, {"b": floats(5, 4), "c": floats(5)}),
    "GroupNormalization-21": (
        21,
        ["GroupNormalization"],
        [2, 4, 3],
        {"num_groups": 2},
        {"s": floats(4), "b": floats(4)},
    ),
    "Gelu-20": (20, ["Gelu"], [3, 4], {"approximate": "tanh"}, {}),
    "AveragePool-7": (
        7,
        ["AveragePool"],
        [1, 2, 7, 7],
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
        {},
    ),
    "AveragePool-10 ceil": (
        10,
        ["AveragePool"],
        [1, 2, 8, 8],
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {},
    ),
    "AveragePool-19": (
        19,
        ["AveragePool"],
        [1, 2, 9, 9],
        {"kernel_shape": [3, 2], "dilations": [2, 3], "count_include_pad": 1, "pads": [1, 0, 1, 1]},
        {},
    ),
    "LpPool-18": (18, ["LpPool"], [1, 2, 8, 8], {"kernel_shape": [3, 3], "p": 3}, {}),
    "LRN-13": (13, ["LRN"], [1, 7, 3, 3], {"size": 5, "alpha": 0.2}, {}),
    "ConvTranspose": (
        11,
        ["ConvTranspose"],
        [1, 4, 5, 6],
        {"strides": [2, 3], "pads": [1, 0, 0, 1], "group": 2, "output_padding": [1, 2], "dilations": [2, 1]},
        {"w": floats(4, 3, 3, 2), "b": floats(6)},
    ),
    "ConvTranspose same": (
        11,
        ["ConvTranspose"],
        [1, 2, 5],
        {"strides": [2], "auto_pad": "SAME_LOWER"},
        {"w": floats(2, 3, 4)},
    ),
    "ConvTranspose shape": (
        11,
        ["ConvTranspose"],
        [1, 2, 5],
        {"strides": [2], "output_shape": [11]},
        {"w": floats(2, 3, 4)},
    ),
    "Conv same": (
        11,
        ["Conv"],
        [1, 4, 6, 7],
        {"auto_pad": "SAME_UPPER", "strides": [2, 3], "group": 2},
        {"w": floats(6, 2, 3, 4)},
    ),
    "Conv 3d": (
        11,
        ["Conv"],
        [1, 2, 5, 5, 5],
        {"dilations": [1, 2, 1], "pads": [1, 1, 1, 0, 0, 0]},
        {"w": floats(3, 2, 2, 2, 3)},
    ),
    "Einsum three": (12, ["Einsum"], [2, 3], {"equation": "ij,jk,kl->il"}, {"b": floats(3, 4), "c": floats(4, 5)}),
    "Einsum ellipsis": (12, ["Einsum"], [2, 5, 3], {"equation": "...ij,jk->...ki"}, {"b": floats(3, 4)}),
    "MatMul ranks": (13, ["MatMul"], [2, 1, 3, 4], {}, {"b": floats(5, 4, 2)}),
    "MatMul vector": (13, ["MatMul"], [2, 3, 4], {}, {"b": floats(4)}),
    "Split-18": (18, ["Split"], [2, 7], {"axis": 1, "num_outputs": 3}, {}),
    "DepthToSpace CRD": (13, ["DepthToSpace"], [1, 8, 2, 3], {"blocksize": 2, "mode": "CRD"}, {}),
    "ScatterND": (13, ["ScatterND"], [4, 3], {}, {"i": np.array([[2], [0]]), "u": floats(2, 3)}),
    "ScatterElements": (13, ["ScatterElements"], [3, 4], {"axis": 1}, {"i": np.array([[1, -1]]), "u": floats(1, 2)}),
    "GatherElements": (13, ["GatherElements"], [3, 4], {"axis": 1}, {"i": np.array([[1, -1], [0, 3]])}),
    "GatherND batch": (13, ["GatherND"], [2, 3, 4], {"batch_dims": 1}, {"i": np.array([[[1], [0]], [[2], [-1]]])}),
    "CumSum": (14, ["CumSum"], [2, 5], {"reverse": 1, "exclusive": 1}, {"a": np.array(1)}),
    "Trilu": (14, ["Trilu"], [3, 4, 4], {"upper": 0}, {"k": np.array(1)}),
    "ReduceLogSumExp": (18, ["ReduceLogSumExp"], [3, 4], {"keepdims": 0}, {"a": np.array([1])}),
    "PRelu": (9, ["PRelu"], [2, 3, 4], {}, {"s": floats(3, 1)}),
    "Tile": (13, ["Tile"], [2, 3], {}, {"r": np.array([2, 3])}),
    "Expand": (13, ["Expand"], [2, 1], {}, {"s": np.array([3, 1, 4])}),
}


@pytest.mark.parametrize("name", CASES)
def test_old_and_new_spellings(name, mlir_context):
    opset, (op, *left_out), shape, attributes, constants = CASES[name]
    outputs = ["y0", "y1", "y2"][: attributes.get("num_outputs", 1)]
    node = helper.make_node(op, ["x", *left_out, *constants], outputs, **attributes)
    proto = model([node], {"x": shape}, outputs, constants, opset=opset)
    proto.ir_version = 8
    x = floats(*shape)
    wanted = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    found, statuses, _ = run(proto, {"x": x})
    assert [s.status for s in statuses] == ["native"], statuses
    for output, want in zip(outputs, wanted, strict=True):
        assert found[output].dtype == want.dtype
        np.testing.assert_allclose(found[output], want, rtol=1e-4, atol=1e-5)
