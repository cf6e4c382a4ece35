"""What the outputs should be: by ONNX Runtime where it is installed and can, else by onnx's reference evaluator."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlirfuse.errors import MlirfuseError

__all__ = ["Expected", "bound_model", "expected_outputs"]

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Expected:
    """Outputs by name, who computed them, and why nobody better did."""

    by: str
    outputs: dict[str, Any]
    note: str = ""


def expected_outputs(model: Any, shapes: Shapes, inputs: Mapping[str, Any]) -> Expected:
    """Run `model` (a path or ModelProto) elsewhere; MlirfuseError if nobody can."""
    refusals: list[str] = []
    for run in (_onnxruntime, _reference_evaluator):
        try:
            by, outputs = run(model, shapes, inputs)
            return Expected(by, outputs, "; ".join(refusals))
        except _NotHere as reason:
            refusals.append(str(reason))
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            refusals.append(f"{run.__name__.strip('_')}: {type(error).__name__}: {said}")
    raise MlirfuseError(f"Nothing here can say what the outputs should be: {'; '.join(refusals)}.")


class _NotHere(Exception):
    """A package is not installed."""


def _onnxruntime(model: Any, shapes: Shapes, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if importlib.util.find_spec("onnxruntime") is None:
        raise _NotHere("ONNX Runtime is not installed (pip install 'mlirfuse[check]')")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    source = model if isinstance(model, str) and not shapes else bound_model(model, shapes).SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    fed = {value.name: inputs[value.name] for value in session.get_inputs()}
    return f"ONNX Runtime {onnxruntime.__version__}", dict(zip(names, session.run(names, fed), strict=True))


def _reference_evaluator(model: Any, shapes: Shapes, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(bound_model(model, shapes))
    outputs = dict(zip(evaluator.output_names, evaluator.run(None, dict(inputs)), strict=True))
    return f"the reference evaluator of onnx {onnx.__version__}", outputs


def bound_model(model: Any, shapes: Shapes) -> Any:
    """The model with the shapes that were asked for; annotations that they contradict are dropped."""
    import onnx

    if isinstance(model, str):
        model = onnx.load(model)
    if not shapes:
        return model
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    for value in bound.graph.input:
        if value.name in shapes:
            shape = value.type.tensor_type.shape
            shape.Clear()
            for extent in shapes[value.name]:
                shape.dim.add().dim_value = extent
    del bound.graph.value_info[:]
    for output in bound.graph.output:
        output.type.tensor_type.ClearField("shape")
    return bound
