"""Sorted runs and merges on the CPU, against NumPy definitions."""

import pytest
from cpu_cases import DEVICE, Case
from group_builder import GroupBuilder

from mlirfuse.lowering.schedule.sorting import SortLoops


def sort(shape, axis, run, keep, largest=True, dtype="float32"):
    b = GroupBuilder()
    x = b.input(*shape, dtype=dtype)
    order = b.op("sort", x, axis=axis, run=run, keep=keep, largest=largest)
    return b.group(b.op("cast", order, to="float32"), order)


CASES = {
    "rows": Case(sort((5, 100), 1, 1024, 10)),
    "columns": Case(sort((33, 4), 0, 16, 16, False)),
    "runs": Case(sort((2, 300), 1, 128, 50), SortLoops(3)),
    "integers": Case(sort((7, 9), 1, 9, 9, True, "int64")),
    "bytes": Case(sort((3, 50), 1, 20, 3, False, "uint8")),
    "doubles": Case(sort((3, 50), 1, 20, 3, False, "float64")),
    "one": Case(sort((1,), 0, 8, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_sorted_positions(name, entries):
    assert CASES[name].run(entries[name]) == 0.0


def test_tiles_are_runs():
    group = sort((2, 300), 1, 128, 50)
    assert SortLoops(6).why_illegal(group, DEVICE) is None
    assert "7 tiles for 6 runs" in SortLoops(7).why_illegal(group, DEVICE)
