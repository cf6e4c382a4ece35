"""Constants as arrays: reading weights and splats, and making ops of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mlirfuse.dialect import TensorType, active_store, attribute_value, build, onnx_nodes, to_attribute, type_from_mlir
from mlirfuse.mlir import ir

__all__ = ["constant_array", "make_constant", "owner_of", "splat_value", "unite"]


def owner_of(value: Any, name: str = "") -> ir.Operation | None:
    """The op that makes a value, if it is called `fusion.<name>` (any, if empty); None for arguments."""
    if isinstance(value.owner, ir.Block):
        return None
    owner = value.owner.operation
    return owner if not name or owner.name == f"fusion.{name}" else None


def splat_value(value: Any) -> bool | int | float | None:
    """The one number of a splat, or None."""
    owner = owner_of(value, "splat")
    return None if owner is None else attribute_value(owner, "value")


def constant_array(value: Any) -> Any | None:
    """The elements of a weight whose bytes are at hand, or of a splat (a view of one element); else None."""
    if (owner := owner_of(value)) is None:
        return None
    tensor = type_from_mlir(value.type)
    if owner.name == "fusion.splat":
        return np.broadcast_to(np.asarray(attribute_value(owner, "value")).astype(tensor.dtype), tensor.dims)
    if owner.name != "fusion.weight" or tensor.layout is not None:
        return None
    array = active_store().get(attribute_value(owner, "key"))
    return None if array is None else np.asarray(array).reshape(tensor.dims)


def make_constant(array: Any, loc: Any, names: Sequence[str] = ()) -> Any:
    """A splat if all elements are the same number, else a weight with its bytes in the store."""
    array = np.asarray(array)
    tensor = TensorType(array.shape, array.dtype.name)
    number = _uniform(array)
    if number is not None:
        return build("splat", [], {"value": number}, result=tensor, onnx_nodes=names, loc=loc)
    return build("weight", [], {"key": active_store().put(array)}, result=tensor, onnx_nodes=names, loc=loc)


def unite(survivor: ir.Operation | None, merged: Iterable[ir.Operation]) -> None:
    """Let an op stand for the ONNX nodes of ops that it replaces, after its own."""
    if survivor is None:
        return
    names = dict.fromkeys(onnx_nodes(survivor))
    names.update(dict.fromkeys(name for op in merged for name in onnx_nodes(op)))
    if names:
        survivor.attributes["onnx_nodes"] = to_attribute(tuple(names))


def _uniform(array: Any) -> bool | int | float | None:
    """The number that all elements are, if an attribute can hold it."""
    if not array.size:
        return None
    first = array.flat[0]
    if not (array == first).all():  # NaN is not equal to itself, and stays a weight
        return None
    if first == 0 and array.dtype.kind not in "iub" and np.signbit(array).any() != np.signbit(array).all():
        return None
    number = first.item()
    if isinstance(number, int) and not -(2**63) <= number < 2**63:
        return None
    return number
