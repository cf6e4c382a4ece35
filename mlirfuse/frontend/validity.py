"""What onnx itself says about a graph, as one paragraph of ours."""

import re

import onnx

from mlirfuse.errors import InvalidModel

__all__ = ["check_skeleton"]


def check_skeleton(name: str, model: onnx.ModelProto) -> None:
    """InvalidModel if the graph is not valid ONNX, or newer than the installed onnx package knows."""
    if not model.graph.output:
        raise InvalidModel(
            f"{name} has no outputs, so there is nothing to compute; the file is truncated or not an inference graph."
        )
    names = [output.name for output in model.graph.output]
    if twice := next((output for output in names if names.count(output) > 1), None):
        raise InvalidModel(
            f"{name} lists the output '{twice}' {names.count(twice)} times, but outputs are told apart by their names; "
            "list it once, or give the others names of their own through Identity nodes."
        )
    if not model.opset_import:
        raise InvalidModel(
            f"{name} does not say which opset it uses (no opset_import); export it again with a current exporter."
        )
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise InvalidModel(
                f"{name} uses opset {opset.version}, but the installed onnx package {onnx.__version__} knows opsets up "
                f"to {newest}; update onnx, or export the model with an older opset."
            )
    if model.ir_version > onnx.IR_VERSION:
        model.ir_version = onnx.IR_VERSION  # later versions only add fields that inference does not read
    try:
        onnx.checker.check_model(_with_shapes(model))
    except onnx.checker.ValidationError as error:
        raise InvalidModel(
            f"{name} is not a valid ONNX model: {_paragraph(str(error))} Export the model again."
        ) from error


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose inputs and outputs all have types and shapes: onnx asks for them, and we infer them."""
    complete = onnx.ModelProto()
    complete.CopyFrom(model)
    complete.ir_version = max(complete.ir_version, 4)  # before, initializers had to be inputs as well, and are not here
    for value in (*complete.graph.input, *complete.graph.output):
        if value.type.WhichOneof("value") in (None, "tensor_type"):
            tensor = value.type.tensor_type
            tensor.elem_type = tensor.elem_type or onnx.TensorProto.FLOAT
            tensor.shape.SetInParent()
    return complete


def _paragraph(message: str) -> str:
    """onnx's message on one line, without its source locations and context dump."""
    kept = [line.strip() for line in message.splitlines() if line.strip()]
    text = " ".join(kept)
    text = re.sub(r"\s*==> Context:", " Context:", text)
    text = re.sub(r"^.*?\.(?:h|cc|cpp):\d+:\s*\S*:\s*", "", text)
    return (text[:500] + "...") if len(text) > 500 else (text if text.endswith(".") else text + ".")
