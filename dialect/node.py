"""An operation as frozen Python data: what analyses, schedules and tile programs work on.

`Node` is the call site of one fusion op without MLIR: attributes as plain values, operand and
result types. The semantics of every op (shape inference, indexing, reference, FLOPs) are functions
of a `Node`, so they run on IR and on data alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from mlirfuse.dialect.indexing import Condition, Expr, Var, var
from mlirfuse.element_types import element_bytes
from mlirfuse.mlir import ir

__all__ = [
    "REPRESENTABLE",
    "Access",
    "Indexing",
    "Node",
    "TensorType",
    "attribute_value",
    "from_attribute",
    "to_attribute",
    "type_from_mlir",
    "type_to_mlir",
]

_MLIR_DTYPES = {
    "float32": "f32",
    "float16": "f16",
    "float64": "f64",
    "bfloat16": "bf16",
    "bool": "i1",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "ui8",
    "uint16": "ui16",
    "uint32": "ui32",
    "uint64": "ui64",
}
_NUMPY_DTYPES = {mlir: numpy for numpy, mlir in _MLIR_DTYPES.items()}
REPRESENTABLE = frozenset(_MLIR_DTYPES)  # element types that tensors of the dialect can have


@dataclass(frozen=True)
class TensorType:
    """Shape (None: known only at run time), numpy dtype name, and layout.

    `layout` lists the logical dimensions from outermost to innermost in memory; None is row-major.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    layout: tuple[int, ...] | None = None

    @property
    def static(self) -> bool:
        return None not in self.shape

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape of a static tensor."""
        if None in self.shape:
            raise ValueError(f"{self} has dimensions that are known only at run time")
        return self.shape  # type: ignore[return-value]

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        return self.size * element_bytes(self.dtype)

    @property
    def rank(self) -> int:
        return len(self.shape)

    def strides(self) -> tuple[int, ...]:
        """Elements between neighbours along each logical dimension."""
        order = self.layout if self.layout is not None else tuple(range(self.rank))
        strides = [0] * self.rank
        step = 1
        for axis in reversed(order):
            strides[axis] = step
            step *= self.dims[axis]
        return tuple(strides)

    def __str__(self) -> str:
        dims = "x".join("?" if d is None else str(d) for d in self.shape)
        return f"{dims}{'x' if dims else ''}{self.dtype}"


@dataclass(frozen=True)
class Node:
    """One operation: `op` is its name without the dialect prefix.

    `constant[i]` says that operand i is a weight or splat, known when compiling.
    """

    op: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[TensorType, ...] = ()
    outputs: tuple[TensorType, ...] = ()
    constant: tuple[bool, ...] = ()

    @cached_property
    def _hash(self) -> int:
        return hash((self.op, self.inputs, self.outputs, self.constant))  # attributes are a dictionary

    def __hash__(self) -> int:
        return self._hash

    def __getstate__(self) -> dict[str, Any]:
        """Without the hash, which is another in every process."""
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}

    @property
    def out(self) -> TensorType:
        return self.outputs[0]

    def get(self, name: str, default: Any = None) -> Any:
        return self.attrs.get(name, default)


@dataclass(frozen=True)
class Access:
    """Where one operand is read: an index for each of its dimensions, valid where all conditions hold.

    Elsewhere the operand's value is `fill` (padding).
    """

    index: tuple[Expr, ...]
    conditions: tuple[Condition, ...] = ()
    fill: float = 0.0


@dataclass(frozen=True)
class Indexing:
    """How one element of the result is computed: result index, reduction domain, operand accesses.

    `out` are the variables of the result's dimensions (constants where a dimension is 1), `reduction` those of
    the reduced domain. From this one description follow the boxes that a tile needs, its halos,
    its traffic, and the code of every stage.
    """

    out: tuple[Expr, ...]
    reduction: tuple[Expr, ...]
    operands: tuple[Access, ...]

    @property
    def reduction_sizes(self) -> tuple[int, ...]:
        return tuple(e.range[1] - e.range[0] + 1 for e in self.reduction)

    def box(self, operand: int, box: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        """The inclusive box of `operand` that the inclusive `box` of the result needs (before clipping).

        Bounds are those of interval arithmetic; indices in padding lie outside the operand's shape.
        """
        values = {
            e.terms[0][0]: _between(e.terms[0][0], lo, hi) for e, (lo, hi) in zip(self.out, box, strict=True) if e.terms
        }
        return tuple(e.substitute(values).range for e in self.operands[operand].index)  # type: ignore[arg-type]


def _between(variable: Any, lo: int, hi: int) -> Expr:
    assert isinstance(variable, Var)
    return var(variable.name, hi - lo + 1, lo)


@lru_cache(maxsize=1024)
def out_variables(shape: tuple[int, ...]) -> tuple[Expr, ...]:
    """The result's index variables d0, d1, ..."""
    return tuple(var(f"d{i}", size) for i, size in enumerate(shape))


def type_from_mlir(mlir_type: Any) -> TensorType:
    """The type of a ranked tensor; an array as encoding is its layout."""
    tensor = ir.RankedTensorType(mlir_type)
    if tensor.has_static_shape:
        shape: tuple[int | None, ...] = tuple(tensor.shape)
    else:
        shape = tuple(None if tensor.is_dynamic_dim(i) else tensor.get_dim_size(i) for i in range(tensor.rank))
    encoding = tensor.encoding
    layout = None if encoding is None else tuple(ir.IntegerAttr(axis).value for axis in ir.ArrayAttr(encoding))
    element = tensor.element_type
    # Printing a type takes longer than all else here, and most tensors are of single precision.
    dtype = "float32" if isinstance(element, ir.F32Type) else _NUMPY_DTYPES[str(element)]
    return TensorType(shape, dtype, layout)


def type_to_mlir(tensor: TensorType) -> ir.Type:
    """The ranked tensor type of `tensor`, in the entered context."""
    dynamic = ir.ShapedType.get_dynamic_size()
    shape = [dynamic if d is None else d for d in tensor.shape]
    # An array attribute: MLIR prints a dense array here, but does not read it back.
    i64 = ir.IntegerType.get_signless(64)
    encoding = None if tensor.layout is None else ir.ArrayAttr.get([ir.IntegerAttr.get(i64, a) for a in tensor.layout])
    return ir.RankedTensorType.get(shape, ir.Type.parse(_MLIR_DTYPES[tensor.dtype]), encoding)


def to_attribute(value: Any) -> ir.Attribute:
    """A plain value as an attribute: bool, int, float, str, sequences of int, or of str."""
    if isinstance(value, ir.Attribute):
        return value
    if isinstance(value, bool | np.bool_):
        return ir.BoolAttr.get(bool(value))
    if isinstance(value, int | np.integer):
        return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), int(value))
    if isinstance(value, float | np.floating):
        return ir.FloatAttr.get(ir.F64Type.get(), float(value))
    if isinstance(value, str):
        return ir.StringAttr.get(value)
    items = list(value)
    if items and isinstance(items[0], str):
        return ir.ArrayAttr.get([ir.StringAttr.get(item) for item in items])
    return ir.DenseI64ArrayAttr.get([int(item) for item in items])


def from_attribute(attr: ir.Attribute) -> Any:
    """The plain value of an attribute made by `to_attribute` (others: the attribute itself)."""
    match attr:
        case ir.BoolAttr() | ir.IntegerAttr() | ir.FloatAttr() | ir.StringAttr():
            return attr.value
        case ir.DenseI64ArrayAttr():
            return tuple(attr)
        case ir.ArrayAttr():
            return tuple(from_attribute(item) for item in attr)
    return attr


def attribute_value(op: Any, name: str, default: Any = None) -> Any:
    """The plain value of an op's attribute, or `default`."""
    attributes = op.operation.attributes
    return from_attribute(attributes[name]) if name in attributes else default
