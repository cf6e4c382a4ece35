"""Small ONNX models, whole and broken, for the tests of the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def small_model(size: int | str = 4) -> onnx.ModelProto:
    """relu(x * w) + x, one chain of three nodes."""
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["scaled"], name="scale"),
        helper.make_node("Relu", ["scaled"], ["positive"], name="relu"),
        helper.make_node("Add", ["positive", "x"], ["y"], name="join"),
    ]
    return model_of(
        nodes,
        {"w": np.array([1, 3] * 4, np.float32).reshape(1, 8, 1, 1)},
        ["N", 8, size, size] if size == "S" else None,
    )


def rounding_model() -> onnx.ModelProto:
    """y = a * a + a for the bfloat16 a of x, and z = relu(x)."""
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], name="down", to=TensorProto.BFLOAT16),
        helper.make_node("Mul", ["a", "a"], ["b"], name="square"),
        helper.make_node("Add", ["b", "a"], ["c"], name="sum"),
        helper.make_node("Cast", ["c"], ["y"], name="up", to=TensorProto.FLOAT),
        helper.make_node("Relu", ["x"], ["z"], name="clip"),
    ]
    model = model_of(nodes, {})
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 8, 4, 4]))
    return model


def model_of(nodes: list[Any], weights: dict[str, Any], shape: list[int | str] | None = None) -> onnx.ModelProto:
    shape = shape or [1, 8, 4, 4]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def saved(folder: Path, model: onnx.ModelProto, name: str = "small.onnx") -> str:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return str(path)


# --- broken ---------------------------------------------------------------------------------------


def truncated(folder: Path) -> str:
    path = folder / "truncated.onnx"
    data = small_model().SerializeToString()
    path.write_bytes(data[: len(data) // 2])
    return str(path)


def cyclic(folder: Path) -> str:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("Relu", ["b"], ["y"], name="third"),
    ]
    return saved(folder, model_of(nodes, {}), "cyclic.onnx")


def without_external_file(folder: Path) -> str:
    model = small_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    return saved(folder, model, "external.onnx")


def unknown_operator(folder: Path) -> str:
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], name="strange", domain="com.example")]
    model = model_of(nodes, {})
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return saved(folder, model, "unknown.onnx")


def no_model(folder: Path) -> str:
    path = folder / "text.onnx"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    return str(path)


def symbolic(folder: Path) -> str:
    return saved(folder, small_model("S"), "symbolic.onnx")


BROKEN: dict[str, Callable[[Path], str]] = {
    "truncated": truncated,
    "cyclic": cyclic,
    "external": without_external_file,
    "operator": unknown_operator,
    "text": no_model,
    "symbolic": symbolic,
}
