"""The fusion dialect, the base class of its operations, and the registry of their semantics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from mlirfuse.dialect.indexing import Expr
from mlirfuse.dialect.mixed import segment_sizes
from mlirfuse.dialect.node import (
    Access,
    Indexing,
    Node,
    TensorType,
    attribute_value,
    from_attribute,
    out_variables,
    to_attribute,
    type_from_mlir,
    type_to_mlir,
)
from mlirfuse.mlir import ext, ir, safe_verifier

__all__ = [
    *("CONSTANTS", "OPS", "Fusion", "FusionOp", "MappingType", "build", "indexing_of", "is_constant", "node_of"),
    "semantics",
]

# Attributes that passes attach and that say nothing about what an op computes.
ANNOTATIONS = frozenset(
    {"onnx_nodes", "mapping", "plan", "verdicts", "proofs", "elided", "buffers"}
    | {"operandSegmentSizes", "resultSegmentSizes"}
)
CONSTANTS = ("fusion.weight", "fusion.splat")


class MappingType:
    """How output elements map to input elements (DNNFusion, table 1), from simple to complex."""

    ONE_TO_ONE = "one-to-one"
    REORGANIZE = "reorganize"
    SHUFFLE = "shuffle"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"
    ORDER = (ONE_TO_ONE, REORGANIZE, SHUFFLE, ONE_TO_MANY, MANY_TO_MANY)


class Fusion(ext.Dialect, name="fusion"):
    """Inference on ranked tensors: few, orthogonal operations that carry their own semantics."""


OPS: dict[str, type[FusionOp]] = {}


class FusionOp(ext.Operation, dialect=Fusion, traits=[ext.Pure]):
    """Base of the operations; subclasses define their semantics as static functions of a `Node`.

    Every op with one tensor result defines `infer`, `indexing` and `reference`; `complaint`, `mapping`
    and `flops` have defaults.
    """

    # Not annotated: annotations of an op class are its operands, attributes and results.
    mapping_type = ""
    structural = False  # sources and fall-backs have no semantics to check operands against

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in kwargs:
            OPS[kwargs["name"]] = cls

    @staticmethod
    def complaint(node: Node) -> str | None:
        """What is wrong with this call site, or None."""
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        """The result type that operands and attributes determine."""
        raise NotImplementedError(node.op)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        """Where one result element reads each operand (the source of boxes, halos, traffic and code)."""
        out = out_variables(node.out.dims)
        return Indexing(out, (), tuple(Access(out) for _ in node.inputs))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        """The result in NumPy: the definition that tests use."""
        raise NotImplementedError(node.op)

    @classmethod
    def mapping(cls, node: Node) -> str:
        """The mapping type at this call site."""
        return cls.mapping_type

    @staticmethod
    def flops(node: Node) -> int:
        """Floating-point operations (a multiply-add counts two); data movement has none."""
        return 0

    @safe_verifier
    def verify_invariants(self: Any) -> str | None:
        cls = semantics(self.operation.name)
        if cls.structural:
            return cls.complaint_of_op(self)  # type: ignore[attr-defined]
        if not isinstance(self.operation.results[0].type, ir.RankedTensorType):
            return f"works on ranked tensors, not {self.operation.results[0].type}"
        node = node_of(self)
        if not all(t.static for t in (*node.inputs, *node.outputs)):
            return "works on static shapes; only fusion.fallback may have dimensions known at run time"
        if complaint := cls.complaint(node):
            return complaint
        expected = cls.infer(node)
        if (expected.shape, expected.dtype) != (node.out.shape, node.out.dtype):
            return f"should give {expected}, but its result is declared {node.out}"
        return None


def semantics(name: str) -> type[FusionOp]:
    """The class of an op by its name, with or without the dialect prefix."""
    return OPS[name.removeprefix("fusion.")]


@lru_cache(maxsize=4096)
def indexing_of(node: Node) -> Indexing:
    """Where one element of the node's result reads each operand; remembered, since searches ask again and again."""
    return semantics(node.op).indexing(node)


def is_constant(value: Any) -> bool:
    """Whether a value is a weight or a splat."""
    owner = value.owner
    return isinstance(owner, ir.Operation | ir.OpView) and owner.operation.name in CONSTANTS


def node_of(op: Any) -> Node:
    """The frozen form of an op."""
    operation = op.operation
    attributes = operation.attributes
    return Node(
        operation.name.removeprefix("fusion."),
        {name: from_attribute(attributes[name]) for name in attributes if name not in ANNOTATIONS},
        tuple(type_from_mlir(v.type) for v in operation.operands),
        tuple(type_from_mlir(r.type) for r in operation.results),
        tuple(is_constant(v) for v in operation.operands),
    )


def build(
    name: str,
    operands: Sequence[Any],
    attrs: dict[str, Any] | None = None,
    *,
    result: TensorType | Sequence[TensorType] | None = None,
    onnx_nodes: Sequence[str] = (),
    loc: Any = None,
) -> Any:
    """Create op `name` at the insertion point; the result type is inferred unless given. Returns its value.

    A sequence as `result` makes an op with that many results (fusion.fallback), and a tuple of values is returned.
    Raises ValueError with the op's complaint if the call site is wrong.
    """
    attrs = attrs or {}
    values = [v.result if hasattr(v, "result") and not isinstance(v, ir.Value) else v for v in operands]
    if result is None:
        node = Node(name, attrs, tuple(type_from_mlir(v.type) for v in values), (), tuple(map(is_constant, values)))
        cls = semantics(name)
        result = cls.infer(node)
        if complaint := cls.complaint(Node(name, attrs, node.inputs, (result,), node.constant)):
            raise ValueError(f"fusion.{name} {complaint}")
    attributes = {key: to_attribute(value) for key, value in attrs.items()}
    if onnx_nodes:
        attributes["onnx_nodes"] = to_attribute(tuple(onnx_nodes))
    results = [result] if isinstance(result, TensorType) else list(result)
    types = [type_to_mlir(t) for t in results]
    if name in ("concat", "fallback"):
        attributes |= segment_sizes([v.type for v in values], types if name == "fallback" else None)
    op = ir.Operation.create(f"fusion.{name}", results=types, operands=values, attributes=attributes, loc=loc)
    return op.results[0] if isinstance(result, TensorType) else tuple(op.results)


def onnx_nodes(op: Any) -> tuple[str, ...]:
    """The ONNX nodes that an op stands for."""
    return attribute_value(op, "onnx_nodes", ())


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcast shape; ValueError if there is none."""
    return tuple(np.broadcast_shapes(*shapes))


def broadcast_access(shape: tuple[int, ...], out: tuple[Expr, ...]) -> Access:
    """Read an operand of `shape` that broadcasts to the result's index `out`."""
    aligned = out[len(out) - len(shape) :]
    return Access(tuple(Expr(0) if size == 1 else e for size, e in zip(shape, aligned, strict=True)))


def like_operand(node: Node) -> TensorType:
    """The shape and element type of the first operand."""
    return TensorType(node.inputs[0].shape, node.inputs[0].dtype)


def elements(node: Node) -> int:
    return math.prod(node.out.dims)
