"""Arithmetic, comparison, logic and choice, with NumPy broadcasting."""

import numpy as np

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, importer
from mlirfuse.frontend.rules.pooling import power
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []

BINARY = {
    "Add": "add", "And": "and", "BitwiseAnd": "bit_and", "BitwiseOr": "bit_or", "BitwiseXor": "bit_xor",
    "Div": "div", "Equal": "equal", "Greater": "greater", "GreaterOrEqual": "greater_equal", "Less": "less",
    "LessOrEqual": "less_equal", "Mul": "mul", "Or": "or", "Sub": "sub", "Xor": "xor",
}  # fmt: skip
VARIADIC = {"Max": "max", "Mean": "add", "Min": "min", "Sum": "add"}


@importer(*BINARY)
def binary(b: OpBuilder, node: NodeCall) -> Tensor:
    """Both operands broadcast."""
    x, y = node.input(0), node.input(1)
    if node.opset < 7 and node.attr("broadcast", 0) and node.has("axis"):
        axis = node.axis(0, x.rank)  # the old rule: y is aligned with x from this axis on
        y = b.reshape(y, (*y.dims, *(1,) * (x.rank - axis - y.rank)))
    return b.binary(BINARY[node.op_type], x, y)


@importer(*VARIADIC)
def variadic(b: OpBuilder, node: NodeCall) -> Tensor:
    """From left to right; a mean divides at the end."""
    first, *rest = node.given()
    result = first
    for operand in rest:
        result = b.binary(VARIADIC[node.op_type], result, operand)
    return b.binary("div", result, len(rest) + 1) if node.op_type == "Mean" and rest else result


@importer("Mod")
def mod(b: OpBuilder, node: NodeCall) -> Tensor:
    """The sign of the divisor, or of the dividend with fmod."""
    return b.binary("fmod" if node.attr("fmod", 0) else "mod", node.input(0), node.input(1))


@importer("Pow")
def pow_(b: OpBuilder, node: NodeCall) -> Tensor:
    """The result has the base's type, whatever the exponent's is."""
    x, y = node.input(0), node.input(1)
    if y.known and y.type.size == 1 and y.rank <= x.rank and x.floating:
        exponent = float(y.array.reshape(-1)[0])
        if exponent in (1.0, 2.0, 0.5, -1.0):
            return power(b, x, exponent)
    if not x.floating and y.floating:
        return b.cast(b.binary("pow", b.cast(x, y.dtype), y), x.dtype)
    return b.binary("pow", x, b.cast(y, x.dtype))


@importer("BitwiseNot")
def bitwise_not(b: OpBuilder, node: NodeCall) -> Tensor:
    """x xor all ones."""
    x = node.input()
    return b.binary("bit_xor", x, b.constant(np.array(0, x.dtype) ^ np.invert(np.array(0, x.dtype))))


@importer("BitShift")
def bit_shift(b: OpBuilder, node: NodeCall) -> Tensor:
    """By a distance of the same type; by its width or more, nothing but a sign is left."""
    x, direction = node.input(0), node.attr("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise InvalidNode(f"has direction '{direction}', which is neither LEFT nor RIGHT")
    return b.binary("shift_left" if direction == "LEFT" else "shift_right", x, node.input(1))


@importer("Where")
def where(b: OpBuilder, node: NodeCall) -> Tensor:
    """All three broadcast."""
    return b.select(node.input(0), node.input(1), node.input(2))
