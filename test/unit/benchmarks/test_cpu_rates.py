"""The cycles measured on a CPU's core, and the cost model held to them."""

import dataclasses

import pytest
from cpu_rates import CONSTANTS, cases, fitted, means, rates, read_cases
from measured import RESULTS

from mlirfuse.lowering.groups import cpu_rates

CASES, CORE = read_cases(RESULTS / "cpu_rates.json")


def test_every_kind_was_measured() -> None:
    assert {case.kernel for case in CASES} == set(cases())
    assert {case.kind for case in CASES} == set(CONSTANTS)
    assert all(case.cycles > 0 for case in CASES)


def test_the_model_says_what_was_measured() -> None:
    ratios = means(CASES, CORE)
    assert ratios["product"] == pytest.approx(1, rel=0.15)
    assert all(0.5 < ratio < 2 for ratio in ratios.values()), ratios
    wrong = {c.kernel: c.predicted(CORE) / c.cycles for c in CASES if not 1 / 3 < c.predicted(CORE) / c.cycles < 3}
    assert not wrong


def test_constants_are_found_again_in_cycles_made_of_them() -> None:
    true = {"L3_BYTES_PER_CYCLE": 14.0, "STORE_CYCLES": 9.0, "TAP_CYCLES": 2.5}
    with rates(true):
        made = [dataclasses.replace(case, cycles=case.predicted(CORE)) for case in CASES]
    with rates(found := fitted(made, CORE)):
        assert all(case.predicted(CORE) == pytest.approx(case.cycles, rel=0.03) for case in made)
    assert found["L3_BYTES_PER_CYCLE"] == pytest.approx(14.0, rel=0.05)
    assert found["TAP_CYCLES"] == pytest.approx(2.5, rel=0.05)
    assert cpu_rates.TAP_CYCLES != 2.5  # the model's own constants are back
