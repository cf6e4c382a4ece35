"""Values that are known while importing: constants, and what only depends on shapes."""

import numpy as np
from onnx import helper

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.tensor import Tensor, known

__all__: list[str] = []

RANGE_LIMIT = 1 << 28


@importer("Constant")
def constant(b: OpBuilder, node: NodeCall) -> Tensor:
    """Every way of writing one down, but strings."""
    for name, dtype in (
        ("value", None),
        ("value_float", "float32"),
        ("value_floats", "float32"),
        ("value_int", "int64"),
        ("value_ints", "int64"),
    ):
        if node.has(name):
            return b.constant(node.attr(name), dtype)
    raise NoRule("is a constant of strings or sparse")


@importer("ConstantOfShape")
def constant_of_shape(b: OpBuilder, node: NodeCall) -> Tensor:
    """One value in a known shape; takes no memory."""
    shape = node.array(0, "shape")
    assert shape is not None
    value = np.asarray(node.attr("value", np.zeros(1, np.float32)))
    return known(np.broadcast_to(value.reshape(()), [int(d) for d in shape]))


@importer("Shape")
def shape(b: OpBuilder, node: NodeCall) -> Tensor:
    """The shape, or a piece of it; needs no elements."""
    x = node.input()
    piece = x.type.shape[slice(node.attr("start", 0), node.attr("end", None))]
    if None in piece:
        raise NoRule("reads a dimension that is known only at run time")
    return b.constant(piece, "int64")


@importer("Size")
def size(b: OpBuilder, node: NodeCall) -> Tensor:
    """How many elements."""
    x = node.input()
    if not x.static:
        raise NoRule("counts elements of a shape that is known only at run time")
    return b.constant(x.type.size, "int64")


@importer("Range")
def range_(b: OpBuilder, node: NodeCall) -> Tensor:
    """start, start + delta, ... below limit, all known."""
    given = [node.array(i, what) for i, what in enumerate(("start", "limit", "delta"))]
    if any(array is None or array.size != 1 for array in given):
        raise InvalidNode("needs a start, a limit and a delta, one number each")
    start, limit, delta = (np.asarray(array).reshape(()) for array in given)
    if not delta:
        raise InvalidNode("has a delta of zero")
    count = max(0, int(np.ceil((float(limit) - float(start)) / float(delta))))
    if count > RANGE_LIMIT:
        raise InvalidNode(f"has {count} elements")
    dtype = node.input().dtype
    return b.constant((start + np.arange(count).astype(dtype) * delta).reshape(-1), dtype)


@importer("EyeLike")
def eye_like(b: OpBuilder, node: NodeCall) -> Tensor:
    """A diagonal of ones in the shape of the input."""
    x = node.input()
    if x.rank != 2 or not x.static:
        raise NoRule("needs a matrix of static shape")
    dtype = helper.tensor_dtype_to_np_dtype(node.attr("dtype")).name if node.has("dtype") else x.dtype
    rows, columns = x.dims
    return b.constant(np.eye(rows, columns, k=int(node.attr("k", 0))), dtype)


@importer("OptionalHasElement")
def optional_has_element(b: OpBuilder, node: NodeCall) -> Tensor:
    """A tensor is an element; nothing is none."""
    if not node.proto.input or not node.proto.input[0]:
        return b.constant(False)
    return b.constant(isinstance(node.input(), Tensor))


@importer("OptionalGetElement")
def optional_get_element(b: OpBuilder, node: NodeCall) -> Tensor:
    """Of a tensor, itself."""
    return node.input()
