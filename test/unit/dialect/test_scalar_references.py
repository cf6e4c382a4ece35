"""Scalar definitions at the edges where a shorter formula would be wrong."""

import numpy as np
import pytest

from mlirfuse.dialect.scalar import BINARY, UNARY


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8])
def test_integer_division_truncates(dtype):
    low = 0 if np.iinfo(dtype).min == 0 else -9
    x, y = np.meshgrid(np.arange(low, 10, dtype=dtype), np.arange(low // 3, 5, dtype=dtype))
    expected = [
        [int(a / b) if b else 0 for a, b in zip(r, s, strict=True)] for r, s in zip(x.tolist(), y.tolist(), strict=True)
    ]
    found = BINARY["div"](x, y)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_integer_division_is_exact_beyond_doubles():
    x = np.array([2**62 + 1, -(2**62) - 1], np.int64)
    np.testing.assert_array_equal(BINARY["div"](x, np.array([1, 1], np.int64)), x)


SATURATING = (
    "celu", "elu", "gelu", "gelu_tanh", "hardswish", "mish", "selu", "sigmoid", "softplus", "softsign", "tanh",
)  # fmt: skip


@pytest.mark.parametrize("kind", SATURATING)
def test_overflow_does_not_become_nan(kind):
    x = np.array([-100, -50, 50, 100], np.float32)
    with np.errstate(over="ignore"):
        assert np.isfinite(UNARY[kind](x, 1.0, 1.0)).all()
