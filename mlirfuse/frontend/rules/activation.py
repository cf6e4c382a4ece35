"""Functions of one element: activations, mathematics, predicates, casts."""

import math

import numpy as np
from onnx import helper

from mlirfuse.dialect.node import REPRESENTABLE
from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []

PLAIN = {
    "Abs": "abs", "Acos": "acos", "Acosh": "acosh", "Asin": "asin", "Asinh": "asinh", "Atan": "atan",
    "Atanh": "atanh", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp",
    "Floor": "floor", "HardSwish": "hardswish", "IsNaN": "isnan", "Log": "log", "Mish": "mish", "Neg": "neg",
    "Not": "not", "Reciprocal": "reciprocal", "Relu": "relu", "Round": "round", "Sigmoid": "sigmoid",
    "Sign": "sign", "Sin": "sin", "Sinh": "sinh", "Softplus": "softplus", "Softsign": "softsign",
    "Sqrt": "sqrt", "Tan": "tan", "Tanh": "tanh",
}  # fmt: skip

# Operator: kind, then (attribute, default) of alpha and beta.
PARAMETRIC = {
    "Celu": ("celu", ("alpha", 1.0), None),
    "Elu": ("elu", ("alpha", 1.0), None),
    "HardSigmoid": ("hardsigmoid", ("alpha", 0.2), ("beta", 0.5)),
    "LeakyRelu": ("leaky_relu", ("alpha", 0.01), None),
    "Selu": ("selu", ("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)),
    "ThresholdedRelu": ("thresholded_relu", ("alpha", 1.0), None),
}


@importer(*PLAIN)
def plain(b: OpBuilder, node: NodeCall) -> Tensor:
    """Functions without parameters."""
    return b.unary(PLAIN[node.op_type], node.input())


@importer(*PARAMETRIC)
def parametric(b: OpBuilder, node: NodeCall) -> Tensor:
    """Functions with numbers as parameters."""
    kind, *parameters = PARAMETRIC[node.op_type]
    given = {key: float(node.attr(*p)) for key, p in zip(("alpha", "beta"), parameters, strict=True) if p}
    return b.unary(kind, node.input(), **given)


@importer("IsInf")
def is_inf(b: OpBuilder, node: NodeCall) -> Tensor:
    """alpha: whether negative infinity counts, beta: whether positive does."""
    return b.unary(
        "isinf", node.input(), alpha=float(node.attr("detect_negative", 1)), beta=float(node.attr("detect_positive", 1))
    )


@importer("Gelu")
def gelu(b: OpBuilder, node: NodeCall) -> Tensor:
    """Exact, or by tanh."""
    return b.unary("gelu_tanh" if node.attr("approximate", "none") == "tanh" else "gelu", node.input())


@importer("Swish")
def swish(b: OpBuilder, node: NodeCall) -> Tensor:
    """x * sigmoid(alpha * x)."""
    x, alpha = node.input(), float(node.attr("alpha", 1.0))
    return b.binary("mul", x, b.unary("sigmoid", x if alpha == 1.0 else b.binary("mul", x, alpha)))


@importer("Shrink")
def shrink(b: OpBuilder, node: NodeCall) -> Tensor:
    """x + bias below -lambd, x - bias above lambd, zero between."""
    x, bias, limit = node.input(), node.attr("bias", 0.0), node.attr("lambd", 0.5)
    zero = b.constant(0, x.dtype)
    above = b.select(b.binary("greater", x, limit), b.binary("sub", x, bias), zero)
    return b.select(b.binary("less", x, -limit), b.binary("add", x, bias), above)


@importer("PRelu")
def prelu(b: OpBuilder, node: NodeCall) -> Tensor:
    """The slope broadcasts to x."""
    x, slope = node.input(0), node.input(1)
    if node.opset < 7 and slope.rank == 1 and slope.type.size > 1:
        slope = b.reshape(slope, (*slope.dims, *(1,) * (x.rank - 2)))  # the old rule: one for each channel
    y = b.binary("prelu", x, slope)
    if y.dims != x.dims:
        raise InvalidNode(f"has a slope {slope.type} that does not broadcast to its input {x.type}")
    return y


@importer("Clip")
def clip(b: OpBuilder, node: NodeCall) -> Tensor:
    """One op where the bounds are numbers, else a maximum and a minimum."""
    x = node.input()
    if node.opset < 11:
        bounds = [b.constant(node.attr(name), x.dtype) if node.has(name) else None for name in ("min", "max")]
    else:
        bounds = [node.optional(1), node.optional(2)]
    if x.floating and all(v is None or v.known for v in bounds):
        lo, hi = (
            default if v is None else float(v.array.reshape(-1)[0])
            for v, default in zip(bounds, (-math.inf, math.inf), strict=True)
        )
        return x if (lo, hi) == (-math.inf, math.inf) else b.unary("clip", x, alpha=lo, beta=hi)
    for kind, bound in zip(("max", "min"), bounds, strict=True):
        if bound is not None:
            x = b.binary(kind, x, b.reshape(bound, ()))
    return x


@importer("Cast")
def cast(b: OpBuilder, node: NodeCall) -> Tensor:
    """Between numbers and booleans."""
    return cast_to(b, node.input(), helper.tensor_dtype_to_np_dtype(node.attr("to")))


@importer("CastLike")
def cast_like(b: OpBuilder, node: NodeCall) -> Tensor:
    """Cast to the other input's type."""
    return cast_to(b, node.input(0), node.input(1).dtype)


def cast_to(b: OpBuilder, x: Tensor, dtype: np.dtype | str) -> Tensor:
    """A cast, where the dialect has both types."""
    name = "string" if dtype == "string" or np.dtype(dtype).kind in "OSU" else np.dtype(dtype).name
    if not x.representable or name not in REPRESENTABLE:
        raise NoRule(f"casts {x.dtype} to {name}, for which there are no kernels")
    return b.cast(x, name)
