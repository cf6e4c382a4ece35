"""Element-wise ops that a random group may have, each on a value that is there."""

from __future__ import annotations

import numpy as np
from drawing import INTEGERS, Drawing, Unsuitable

from mlirfuse.dialect.scalar import COMPARISONS
from mlirfuse.lowering.kernel.scalar import supports_unary

__all__ = ["POINTWISE"]

# Unary functions of floats and where they are smooth and tame, with values for alpha and beta; None: everywhere.
SMOOTH: dict[str, tuple[tuple[float, float] | None, float, float]] = {
    "abs": (None, 0, 0),
    "acos": ((-0.9, 0.9), 0, 0),
    "acosh": ((1.2, 100.0), 0, 0),
    "asin": ((-0.9, 0.9), 0, 0),
    "asinh": (None, 0, 0),
    "atan": (None, 0, 0),
    "atanh": ((-0.9, 0.9), 0, 0),
    "celu": (None, 1.5, 0),
    "clip": (None, -0.75, 1.5),
    "cos": ((-20.0, 20.0), 0, 0),
    "cosh": ((-5.0, 5.0), 0, 0),
    "elu": (None, 0.7, 0),
    "erf": (None, 0, 0),
    "exp": ((-20.0, 5.0), 0, 0),
    "gelu": (None, 0, 0),
    "gelu_tanh": (None, 0, 0),
    "hardsigmoid": (None, 0.2, 0.5),
    "hardswish": (None, 0, 0),
    "leaky_relu": (None, 0.1, 0),
    "log": ((0.1, 1e6), 0, 0),
    "mish": (None, 0, 0),
    "neg": (None, 0, 0),
    "reciprocal": ((0.1, 1e6), 0, 0),
    "relu": (None, 0, 0),
    "rsqrt": ((0.1, 1e6), 0, 0),
    "selu": (None, 1.67, 1.05),
    "sigmoid": (None, 0, 0),
    "sin": ((-20.0, 20.0), 0, 0),
    "sinh": ((-5.0, 5.0), 0, 0),
    "softplus": (None, 0, 0),
    "softsign": (None, 0, 0),
    "sqrt": ((0.05, 1e6), 0, 0),
    "square": (None, 0, 0),
    "tan": ((-1.2, 1.2), 0, 0),
    "tanh": (None, 0, 0),
}
STEPWISE: dict[str, tuple[float, float]] = {  # functions that jump: of exact values only
    "ceil": (0, 0),
    "floor": (0, 0),
    "isinf": (1, 1),
    "isnan": (0, 0),
    "round": (0, 0),
    "sign": (0, 0),
    "thresholded_relu": (0.5, 0),
}
EXACT_UNARY = frozenset(("abs", "neg", "relu", "clip", *STEPWISE))
EXACT_BINARY = frozenset(("max", "min"))


def _unary(d: Drawing, v: int) -> int:
    dtype = d.type(v).dtype
    if dtype == "bool":
        return d.op("unary", v, kind="not", exact=True)
    if not d.floating(v):
        kind = d.one_of([k for k in ("abs", "clip", "neg", "relu", "sign", "square") if supports_unary(k, dtype)])
        return d.op("unary", v, kind=kind, alpha=-3.0, beta=5.0, exact=True)
    kinds = [*SMOOTH, *(STEPWISE if v in d.exact else ())]
    kind = d.one_of(kinds)
    if kind in STEPWISE:
        alpha, beta = STEPWISE[kind]
    else:
        domain, alpha, beta = SMOOTH[kind]
        x = d.arrays[v]
        if domain is not None and not (x.min() >= domain[0] and x.max() <= domain[1]):
            raise Unsuitable
    return d.op("unary", v, kind=kind, alpha=float(alpha), beta=float(beta), exact=kind in EXACT_UNARY)


def _partner(d: Drawing, v: int) -> int:
    """Another value that broadcasts with v: one that is there, a new operand, or a number."""
    t = d.type(v)
    there = [u for u in d.arrays if d.type(u).dtype == t.dtype and u != v and _broadcasts(d.type(u).dims, t.dims)]
    how = d.one_of(["there", "there", "new", "new", "number"])
    if how == "there" and there:
        return d.one_of(there)
    if how == "number":
        value = d.one_of([2, 3, 1])
        if t.dtype == "bool":
            raise Unsuitable
        return d.splat(value + 0.5 if t.dtype.startswith("float") else value, t.dtype)
    dims = tuple(1 if d.chance(3) else size for size in t.dims)
    if dims and d.chance(4):
        dims = dims[d.integer(1, len(dims)) :]
    elif len(dims) < 4 and d.chance(8):
        dims = (d.one_of([1, 2, 3]), *dims)
    return d.input(dims, t.dtype)


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


def _binary(d: Drawing, v: int) -> int:
    dtype = d.type(v).dtype
    w = _partner(d, v)
    if d.chance(2):
        v, w = w, v
    if dtype == "bool":
        return d.op("binary", v, w, kind=d.one_of(["and", "or", "xor", "equal"]), exact=True)
    kinds = ["add", "sub", "mul", "max", "min"]
    exact = v in d.exact and w in d.exact
    b = d.arrays[w]
    if d.floating(v):
        kinds += ["prelu"]
        if np.abs(b).min() > 0.1:
            kinds += ["div"]
            kinds += ["mod", "fmod"] if exact else []
        if d.arrays[v].min() > 0.1 and np.abs(b).max() < 4:
            kinds += ["pow"]
        kinds += COMPARISONS if exact else ()
    else:
        kinds += ["bit_and", "bit_or", "bit_xor", *COMPARISONS]
        if b.min() > 0 or b.max() < 0:
            kinds += ["div", "fmod", "mod"]
        if b.min() >= 0 and b.max() <= 2 and np.abs(d.arrays[v]).max() < 12:
            kinds += ["pow"]
    kind = d.one_of(kinds)
    return d.op("binary", v, w, kind=kind, exact=not d.floating(v) or kind in (*EXACT_BINARY, *COMPARISONS))


def _select(d: Drawing, v: int) -> int:
    conditions = [
        u for u in d.arrays if d.type(u).dtype == "bool" and _broadcasts(d.type(u).dims, d.type(v).dims) and u != v
    ]
    if conditions and not d.chance(3):
        condition = d.one_of(conditions)
    else:
        condition = d.input(tuple(1 if d.chance(4) else s for s in d.type(v).dims), "bool")
    other = _partner(d, v)
    return d.op("select", condition, *((v, other) if d.chance(2) else (other, v)), exact=True)


def _cast(d: Drawing, v: int) -> int:
    source = d.type(v).dtype
    targets = [t for t in ("float32", "float64", "float16", *INTEGERS, "bool") if t != source]
    target = d.one_of(targets)
    x = d.arrays[v]
    outside = np.abs(x).max() > 100 or (target.startswith("uint") and x.min() <= -1)
    if not target.startswith("float") and d.floating(v) and (v not in d.exact or outside):
        raise Unsuitable
    widening = (source, target) in (("float32", "float64"), ("float16", "float32"), ("float16", "float64"))
    return d.op("cast", v, to=target, exact=not target.startswith("float") or not d.floating(v) or widening)


POINTWISE = (_unary, _unary, _binary, _binary, _binary, _select, _cast)
