"""Kernels that read between elements, on the CPU, against their NumPy definitions."""

import pytest
from cpu_cases import Case
from sampling_groups import GROUPS

CASES = {name: Case(group) for name, group in GROUPS.items()}


@pytest.mark.parametrize("name", CASES)
def test_samples_are_those_of_the_definition(name, entries):
    assert CASES[name].run(entries[name]) < 1e-4
