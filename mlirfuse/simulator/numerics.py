"""The functions that translated kernels call on values: scalars, or arrays over lanes."""

import functools
import itertools
import math
from typing import Any

import numpy as np

__all__ = ["NAMESPACE"]

_UNSIGNED = {np.int8: np.uint8, np.int16: np.uint16, np.int32: np.uint32, np.int64: np.uint64}
_INDEX_MASK = (1 << 64) - 1
_ERF_LIMIT = 6.0  # erf(6) rounds to 1 in every format below f64's last bit


def fma(x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded twice (hardware rounds once)."""
    product = x * y
    if isinstance(product, np.ndarray) and (np.ndim(z) == 0 or z.shape == product.shape):
        return np.add(product, z, out=product)
    return product + z


def select(condition: Any, a: Any, b: Any) -> Any:
    """condition ? a : b, lane by lane; a number that stands for a whole vector becomes one beside a vector."""
    if isinstance(condition, np.ndarray):
        return np.where(condition, a, b)
    chosen, other = (a, b) if condition else (b, a)
    return chosen if np.ndim(chosen) >= np.ndim(other) else np.broadcast_to(chosen, other.shape)


def cast(x: Any, dtype: np.dtype) -> Any:
    """To another element type, with C's rules."""
    if isinstance(x, np.ndarray):
        return x.astype(dtype, copy=False)
    return np.asarray(x).astype(dtype)[()]


def to_index(x: Any) -> Any:
    """To an index: a Python integer where uniform."""
    return x.astype(np.int64, copy=False) if isinstance(x, np.ndarray) else int(x)


def unsigned(x: Any) -> Any:
    """The same bits as an unsigned integer."""
    if isinstance(x, (bool, np.bool_)):
        return int(x)
    if isinstance(x, int):
        return x & _INDEX_MASK
    if x.dtype == np.bool_:
        return x.astype(np.uint8)
    return x.view(_UNSIGNED[x.dtype.type])


def signed(x: Any, dtype: np.dtype) -> Any:
    """The same bits as a signed integer of type `dtype` (i1: zero or not)."""
    if isinstance(x, int):
        return x - (_INDEX_MASK + 1) if x >> 63 else x
    return x.astype(dtype) if dtype == np.bool_ else x.view(dtype)


def larger(a: Any, b: Any) -> Any:
    """Maximum; Python integers stay so."""
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else np.maximum(a, b)


def smaller(a: Any, b: Any) -> Any:
    """Minimum; Python integers stay so."""
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else np.minimum(a, b)


def _divisor(b: Any) -> Any:
    """`b`, or 1 where it is 0: hoisted divisions may run for lanes that never asked for them."""
    return np.where(b == 0, 1, b).astype(b.dtype) if isinstance(b, np.ndarray) else b or type(b)(1)


def floor_quotient(a: Any, b: Any) -> Any:
    """Division that rounds down."""
    return a // _divisor(b)


def modulo(a: Any, b: Any) -> Any:
    """The rest of `floor_quotient`."""
    return a % _divisor(b)


def quotient(a: Any, b: Any) -> Any:
    """Division that rounds towards zero."""
    b = _divisor(b)
    floor = a // b
    return floor + ((floor < 0) & (floor * b != a))


def remainder(a: Any, b: Any) -> Any:
    """The rest of `quotient`: it has the sign of `a`."""
    return a - quotient(a, b) * _divisor(b)


def rsqrt(x: Any) -> Any:
    """1 / sqrt(x)"""
    return np.reciprocal(np.sqrt(x))


def round_half_away(x: Any) -> Any:
    """To the nearest integer, halves away from zero."""
    return np.copysign(np.trunc(np.abs(x) + np.nextafter(x.dtype.type(0.5), x.dtype.type(0))), x)


@functools.cache
def _erf_coefficients() -> list[float]:
    """Chebyshev coefficients of erf(x) / x in x**2 on [0, 36], fitted once against math.erf."""

    def ratio(t: Any) -> Any:
        root = np.sqrt((t + 1) * _ERF_LIMIT**2 / 2)
        return np.array([math.erf(r) / r if r else 2 / math.sqrt(math.pi) for r in root])

    return np.polynomial.chebyshev.chebinterpolate(ratio, 60).tolist()


def erf(x: Any) -> Any:
    """The error function: exact to rounding for f64 scalars, to 1e-12 in front of the rounding elsewhere."""
    dtype = x.dtype
    if dtype == np.float64 or np.ndim(x) == 0:
        return np.vectorize(math.erf, otypes=[np.float64])(x).astype(dtype)[()]
    clipped = np.clip(x.astype(np.float64), -_ERF_LIMIT, _ERF_LIMIT)
    value = clipped * np.polynomial.chebyshev.chebval(clipped * clipped * (2 / _ERF_LIMIT**2) - 1, _erf_coefficients())
    return value.astype(dtype)


def erfc(x: Any) -> Any:
    """1 - erf(x), exact to rounding (and slow: element by element)."""
    return np.vectorize(math.erfc, otypes=[np.float64])(x).astype(x.dtype)[()]


# Masks: True (every lane), False (none), or an array.


def _collapse(mask: Any) -> Any:
    if not isinstance(mask, np.ndarray):
        return bool(mask)
    if not mask.any():
        return False
    return True if mask.all() else mask


def enter(mask: Any, condition: Any) -> Any:
    """The lanes of `mask` where `condition` holds."""
    return _collapse(condition if mask is True else mask & condition)


def split(mask: Any, condition: Any) -> tuple[Any, Any]:
    """The lanes of `mask` where `condition` holds, and the others."""
    return enter(mask, condition), enter(mask, np.logical_not(condition))


def merge(condition: Any, then: Any, otherwise: Any, a: Any, b: Any) -> Any:
    """The result of a branch whose sides ran under masks `then` and `otherwise`."""
    if otherwise is False or b is None:
        return a
    return b if then is False else select(condition, a, b)


def keep(mask: Any, new: Any, old: Any) -> Any:
    """`new` in the lanes of `mask`, `old` elsewhere."""
    return new if mask is True or old is None else np.where(mask, new, old)


# Vectors: vector dimensions in front, then threads and blocks.


def splat(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A vector value that repeats a scalar."""
    x = np.asarray(x)
    return np.broadcast_to(x if x.ndim else x.reshape(1, 1), shape + (x.shape if x.ndim else (1, 1)))


def stack(elements: tuple[Any, ...], shape: tuple[int, ...]) -> np.ndarray:
    """A vector value of scalar (or smaller vector) values, in row-major order."""
    parts = np.broadcast_arrays(*(np.asarray(e) if np.ndim(e) else np.reshape(e, (1, 1)) for e in elements))
    return np.stack(parts).reshape(*shape, *parts[0].shape[-2:])


def insert(value: Any, vector: np.ndarray, position: tuple[Any, ...]) -> np.ndarray:
    """`vector` with `value` at a static position (integers and slices)."""
    lanes = np.broadcast_shapes(np.shape(value)[-2:], vector.shape[-2:])
    result = np.broadcast_to(vector, vector.shape[:-2] + lanes).copy()
    result[position] = value
    return result


def pick(vector: np.ndarray, position: Any) -> np.ndarray:
    """The element of a one-dimensional vector at a position that may differ between lanes."""
    if not isinstance(position, np.ndarray):
        return vector[int(position)]
    lanes = np.broadcast_shapes(position.shape, vector.shape[1:])
    where = np.broadcast_to(position, lanes)[None]
    return np.take_along_axis(np.broadcast_to(vector, vector.shape[:1] + lanes), where, 0)[0]


def put(value: Any, vector: np.ndarray, position: Any) -> np.ndarray:
    """`vector` with `value` at a position that may differ between lanes."""
    steps = np.arange(vector.shape[0]).reshape(-1, 1, 1)
    return np.where(steps == position, value, vector)


def reinterpret(vector: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """vector.bitcast: the last vector dimension is the one that changes."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(vector, -3, -1)).view(dtype), -1, -3)


NAMESPACE: dict[str, Any] = {
    "np": np,
    "itertools": itertools,
    **{
        f.__name__: f
        for f in (
            cast, enter, erf, erfc, floor_quotient, fma, insert, keep, larger, merge, modulo, pick, put, quotient,
            reinterpret, remainder, round_half_away, rsqrt, select, signed, smaller, splat, split, stack, to_index,
            unsigned,
        )
    },
}  # fmt: skip
