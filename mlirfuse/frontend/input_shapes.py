"""Shapes of the graph inputs: declared ones, and those that the caller binds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper

from mlirfuse.dialect import TensorType
from mlirfuse.dialect.node import REPRESENTABLE
from mlirfuse.errors import InvalidModel, UnsupportedOp
from mlirfuse.frontend.tensor import too_large

__all__ = ["Binding", "bind_inputs"]


@dataclass(frozen=True)
class Binding:
    """The types of the true inputs; whether a static dimension was overridden, and the leading one's change."""

    types: Mapping[str, TensorType]
    overridden: bool
    rebatch: tuple[int, int] | None


def bind_inputs(
    model: str, graph: onnx.GraphProto, weights: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]
) -> Binding:
    """The static type of every input that is not an initializer."""
    true_inputs = [value for value in graph.input if value.name not in weights]
    names = [value.name for value in true_inputs]
    for name in shapes:
        if name not in names:
            raise InvalidModel(
                f"{model} has no input '{name}' to give a shape; its inputs are {', '.join(names) or 'none'}."
            )
    symbols = _symbols(model, true_inputs, shapes)
    types, overridden, rebatch = {}, False, None
    for value in true_inputs:
        declared = _declared(model, value)
        if value.name in shapes:
            shape = tuple(int(d) for d in shapes[value.name])
            for axis, (size, dim) in enumerate(zip(shape, declared if declared is not None else shape, strict=True)):
                if isinstance(dim, int) and dim != size:
                    overridden = True
                    rebatch = (dim, size) if axis == 0 else rebatch
        else:
            shape = _resolved(model, value.name, declared, symbols)
        types[value.name] = TensorType(shape, _dtype(model, value))
        if excess := too_large(types[value.name]):
            raise InvalidModel(
                f"{model}: the input '{value.name}' is a tensor {excess}. Give a smaller shape, for example "
                f"--shape {value.name}={'x'.join('1' for _ in shape)}."
            )
    return Binding(types, overridden, rebatch)


def _declared(model: str, value: onnx.ValueInfoProto) -> tuple[int | str | None, ...] | None:
    """Static sizes, symbols, None where nothing is said; None for an unknown rank."""
    if value.type.WhichOneof("value") != "tensor_type":
        kind = (value.type.WhichOneof("value") or "unknown").removesuffix("_type")
        raise UnsupportedOp(
            f"{model}: the input '{value.name}' is a {kind}; only tensors can be inputs of a compiled model."
        )
    if not value.type.tensor_type.HasField("shape"):
        return None
    dims: list[int | str | None] = []
    for dim in value.type.tensor_type.shape.dim:
        dims.append(dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param or None)
    return tuple(dims)


def _dtype(model: str, value: onnx.ValueInfoProto) -> str:
    element = value.type.tensor_type.elem_type
    try:
        name = helper.tensor_dtype_to_np_dtype(element).name
    except KeyError as error:
        raise InvalidModel(f"{model}: the input '{value.name}' has no element type; export the model again.") from error
    if element == onnx.TensorProto.STRING or name not in REPRESENTABLE:
        name = "string" if element == onnx.TensorProto.STRING else name
        raise UnsupportedOp(
            f"{model}: the input '{value.name}' holds {name}; inputs of a compiled model are numbers or booleans."
        )
    return name


def _symbols(
    model: str, inputs: Sequence[onnx.ValueInfoProto], shapes: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, str]]:
    """What each symbolic dimension is bound to, and by which input."""
    symbols: dict[str, tuple[int, str]] = {}
    for value in inputs:
        if value.name not in shapes:
            continue
        shape, declared = tuple(shapes[value.name]), _declared(model, value)
        if declared is not None and len(declared) != len(shape):
            raise InvalidModel(
                f"{model}: the shape {_text(shape)} given for the input '{value.name}' has {len(shape)} dimensions, "
                f"but the model declares {len(declared)}: {_text(declared)}."
            )
        if any(int(size) < 0 for size in shape):
            raise InvalidModel(
                f"{model}: the shape {_text(shape)} given for the input '{value.name}' has a negative dimension."
            )
        for size, dim in zip(shape, declared if declared is not None else shape, strict=True):
            if not isinstance(dim, str):
                continue
            bound, by = symbols.setdefault(dim, (int(size), value.name))
            if bound != int(size):
                raise InvalidModel(
                    f"{model}: the dimension '{dim}' is {bound} in the shape given for '{by}' and {size} for "
                    f"'{value.name}'; it must be the same in both."
                )
    return symbols


def _resolved(
    model: str, name: str, declared: tuple[int | str | None, ...] | None, symbols: Mapping[str, tuple[int, str]]
) -> tuple[int, ...]:
    if declared is None:
        raise InvalidModel(
            f"{model}: the input '{name}' has no declared shape; give one, for example --shape {name}=1x3x224x224."
        )
    shape = []
    for dim in declared:
        size = symbols[dim][0] if isinstance(dim, str) and dim in symbols else dim
        if not isinstance(size, int):
            example = "x".join(str(d) if isinstance(d, int) else "1" for d in declared)
            raise InvalidModel(
                f"{model}: the input '{name}' has the symbolic dimension '{dim or '?'}' in its shape "
                f"{_text(declared)}, and kernels are compiled for one shape; "
                f"bind it, for example --shape {name}={example}."
            )
        shape.append(size)
    return tuple(shape)


def _text(shape: Sequence[Any]) -> str:
    return "x".join("?" if d is None else str(d) for d in shape) or "scalar"
