"""The parts that need no kernel: linear forms, wavefronts, sectors."""

import numpy as np
import pytest

from mlirfuse.simulator.audit import NONE, distinct_per_warp, wavefronts
from mlirfuse.simulator.linear import Linear
from mlirfuse.simulator.numerics import NAMESPACE

LANE = np.arange(32).reshape(1, 32, 1)


def test_linear_forms() -> None:
    a, b = Linear.variable("a"), Linear.variable("b")
    s = a.scale(3) + b - a + Linear(constant=5)
    assert (s.text(), (s - s).text()) == ("2*a+b+5", "0")
    assert (b - a.scale(2)).text() == "-2*a+b"
    whole, rest = (a.scale(6) + b + Linear(constant=-1)).quotient_and_rest(3)
    assert (whole.text(), rest.text()) == ("2*a-1", "b+2")


@pytest.mark.parametrize(
    ("first_byte", "size", "expected"),
    [
        (LANE * 4, 4, (1, 1)),  # one word per bank
        (LANE * 0, 4, (1, 1)),  # broadcast
        (LANE * 8, 4, (2, 1)),  # every second bank twice
        (LANE * 128, 4, (32, 1)),  # one bank
        (LANE * 2, 2, (1, 1)),  # two lanes per word
        (LANE * 8, 8, (2, 2)),  # two phases of sixteen lanes
        (LANE * 16, 16, (4, 4)),  # four phases of eight
        (LANE * 32, 16, (8, 4)),  # each phase wraps onto itself
        (np.where(LANE < 4, LANE * 16, NONE), 16, (1, 1)),
        (np.full((1, 32, 1), NONE), 4, (0, 0)),
    ],
)
def test_wavefronts(first_byte: np.ndarray, size: int, expected: tuple[int, int]) -> None:
    assert wavefronts(first_byte, size) == expected


def test_distinct_values_per_warp() -> None:
    values = np.stack([np.arange(32) // 8, np.zeros(32, int), np.arange(32)[::-1] % 5, np.full(32, NONE)], axis=-1)
    assert distinct_per_warp(values[None]) == 4 + 1 + 5
    values[5] = NONE
    assert distinct_per_warp(values[None]) == 4 + 1 + 5


def test_rounding_halves_away() -> None:
    x = np.array([0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 8388609.0], np.float32)
    assert NAMESPACE["round_half_away"](x).tolist() == [1, -1, 2, 3, -3, 0, 8388609]
