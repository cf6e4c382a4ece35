"""Element-wise operations: one family each for unary, binary, select and cast."""

from typing import Any

import numpy as np

from mlirfuse.dialect.core import FusionOp, MappingType, broadcast_access, broadcast_shapes, elements
from mlirfuse.dialect.node import Indexing, Node, TensorType, out_variables
from mlirfuse.dialect.scalar import BINARY, COMPARISONS, LOGICAL, UNARY
from mlirfuse.mlir import ext, ir

__all__ = ["BinaryOp", "CastOp", "SelectOp", "UnaryOp"]

Tensor = ext.Operand[Any]


def _broadcasting(node: Node) -> Indexing:
    out = out_variables(node.out.dims)
    return Indexing(out, (), tuple(broadcast_access(t.dims, out) for t in node.inputs))


def _broadcast_mapping(node: Node) -> str:
    """One-to-One, unless a value known only at run time is repeated."""
    for tensor, constant in zip(node.inputs, node.constant, strict=True):
        if not constant and tensor.size < node.out.size:
            return MappingType.ONE_TO_MANY
    return MappingType.ONE_TO_ONE


class UnaryOp(FusionOp, name="unary"):
    """f(x), element by element; `kind` names f, `alpha` and `beta` are its parameters where it has any.

    Clip uses them as lower and upper bound; LeakyRelu, Elu, HardSigmoid and the others as ONNX does.
    Predicates (`isnan`, `isinf`) give booleans.
    """

    x: Tensor
    kind: ir.StringAttr
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_ONE

    @staticmethod
    def complaint(node: Node) -> str | None:
        return (
            None
            if node.attrs["kind"] in UNARY
            else f"has no unary kind '{node.attrs['kind']}'; known: {', '.join(UNARY)}"
        )

    @staticmethod
    def infer(node: Node) -> TensorType:
        dtype = "bool" if node.get("kind") in ("isnan", "isinf", "not") else node.inputs[0].dtype
        return TensorType(node.inputs[0].shape, dtype)

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        with np.errstate(all="ignore"):
            value = UNARY[node.attrs["kind"]](arrays[0], node.get("alpha", 0.0), node.get("beta", 0.0))
        return np.asarray(value).astype(node.out.dtype)

    flops = staticmethod(elements)


class BinaryOp(FusionOp, name="binary"):
    """f(a, b) with NumPy broadcasting; `kind` names f. Comparisons and logic give booleans."""

    a: Tensor
    b: Tensor
    kind: ir.StringAttr
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_ONE

    @staticmethod
    def complaint(node: Node) -> str | None:
        if node.attrs["kind"] not in BINARY:
            return f"has no binary kind '{node.attrs['kind']}'; known: {', '.join(BINARY)}"
        a, b = node.inputs
        if a.dtype != b.dtype:
            return f"needs operands of one element type, not {a} and {b}"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        a, b = node.inputs
        dtype = "bool" if node.attrs["kind"] in (*COMPARISONS, *LOGICAL) else a.dtype
        return TensorType(broadcast_shapes(a.dims, b.dims), dtype)

    indexing = staticmethod(_broadcasting)

    @classmethod
    def mapping(cls, node: Node) -> str:
        return _broadcast_mapping(node)

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.asarray(BINARY[node.attrs["kind"]](*arrays)).astype(node.out.dtype)

    flops = staticmethod(elements)


class SelectOp(FusionOp, name="select"):
    """condition ? a : b with NumPy broadcasting of all three; `condition` is boolean."""

    condition: Tensor
    a: Tensor
    b: Tensor
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_ONE

    @staticmethod
    def complaint(node: Node) -> str | None:
        condition, a, b = node.inputs
        if condition.dtype != "bool" or a.dtype != b.dtype:
            return f"needs a boolean condition and two values of one type, not {condition}, {a}, {b}"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        return TensorType(broadcast_shapes(*(t.dims for t in node.inputs)), node.inputs[1].dtype)

    indexing = staticmethod(_broadcasting)

    @classmethod
    def mapping(cls, node: Node) -> str:
        return _broadcast_mapping(node)

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        return np.where(*arrays)

    flops = staticmethod(elements)


class CastOp(FusionOp, name="cast"):
    """The value in element type `to` (a NumPy name): floats truncate towards zero, booleans are x != 0."""

    x: Tensor
    to: ir.StringAttr
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_ONE

    @staticmethod
    def infer(node: Node) -> TensorType:
        return TensorType(node.inputs[0].shape, node.attrs["to"])

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        with np.errstate(all="ignore"):
            return arrays[0].astype(node.attrs["to"])
