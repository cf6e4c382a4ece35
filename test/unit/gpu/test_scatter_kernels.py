"""Scatter and positions of maxima in kernels, on the simulator with all its checks, against their NumPy definitions."""

import pytest
from group_builder import GroupBuilder
from test_emit import run

SHAPES = {
    "rows": ((4, 6), (3, 1), (3, 6), 0),
    "columns": ((3, 4), (3, 7), (3, 7), 1),
    "part": ((5, 4, 6), (3, 9, 1), (3, 9, 4), 1),
    "vector": ((4,), (2,), (2,), 0),
}


@pytest.mark.parametrize("kind", ["replace", "sum", "prod", "max", "min"])
@pytest.mark.parametrize("name", SHAPES)
def test_elements_meet_their_updates(name, kind):
    shape, indices, updates, axis = SHAPES[name]
    b = GroupBuilder()
    operands = b.input(*shape), b.input(*indices, dtype="int64"), b.input(*updates)
    y = b.op("scatter", *operands, axis=axis, kind=kind)
    assert run(b.group(b.op("unary", y, kind="relu"), y)) < 1e-5


@pytest.mark.parametrize("padded", [False, True])
def test_the_first_maximum_of_a_window_is_found(padded):
    b = GroupBuilder()
    x = b.op("unary", b.input(2, 3, 7, 9), kind="round")
    pads, sizes = ((1, 1, 0, 1), (4, 4)) if padded else ((0, 0, 0, 0), (3, 4))
    assert run(b.group(b.pool(x, "argmax", (2, 3), (2, 2), pads, sizes))) == 0.0
