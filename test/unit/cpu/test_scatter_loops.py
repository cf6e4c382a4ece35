"""Scatter and positions of maxima on the CPU, against their NumPy definitions."""

import pytest
from cpu_cases import Case
from group_builder import GroupBuilder


def scatter(shape, indices, updates, axis, kind, dtype="float32"):
    b = GroupBuilder()
    operands = b.input(*shape, dtype=dtype), b.input(*indices, dtype="int64"), b.input(*updates, dtype=dtype)
    return b.group(b.op("scatter", *operands, axis=axis, kind=kind))


def positions(layout=None):
    b = GroupBuilder()
    x = b.op("unary", b.input(1, 16, 7, 9, layout=layout), kind="round")
    y = b.pool(x, "argmax", (2, 3), (2, 2), (1, 1, 0, 1), (4, 4))
    return b.group(y, layouts={y: layout})


CASES = {
    "rows": Case(scatter((4, 64), (3, 1), (3, 64), 0, "sum")),
    "columns": Case(scatter((3, 4), (3, 7), (3, 7), 1, "max")),
    "part": Case(scatter((5, 4, 16), (3, 9, 1), (3, 9, 13), 1, "replace")),
    "integers": Case(scatter((4, 32), (5, 32), (5, 32), 0, "prod", "int32")),
    "positions": Case(positions()),
    "positions_channels_last": Case(positions((0, 2, 3, 1))),
}


@pytest.mark.parametrize("name", CASES)
def test_the_definition_is_met(name, entries):
    assert CASES[name].run(entries[name]) < 1e-6
