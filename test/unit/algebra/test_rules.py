"""Every generated rule holds: both sides are computed on random shapes and types, and compared as its class says."""

import zlib

import numpy as np
import pytest
from rule_samples import DTYPES, sample

from mlirfuse.lowering.algebra.conditions import CONDITIONS
from mlirfuse.lowering.algebra.functions import FUNCTIONS
from mlirfuse.lowering.algebra.generate import RULES, count_by_family
from mlirfuse.lowering.algebra.properties import NumericClass
from mlirfuse.lowering.algebra.term import Apply, parse_equation, variables

TOLERANCE = {"float16": 2e-2, "float32": 1e-5, "float64": 1e-12}
SAMPLES = 4


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_both_sides_are_equal(rule):
    held = 0
    for dtypes in DTYPES.values():
        for dtype in dtypes:
            if rule.numeric_class(dtype) is None:
                continue
            random = np.random.default_rng(zlib.crc32(f"{rule}{dtype}".encode()))
            for _ in range(SAMPLES):
                case = sample(rule, dtype, random)
                compare(rule, dtype, case.side(0), case.side(1))
                held += 1
    assert held


def compare(rule, dtype, left, right):
    left, right = np.broadcast_arrays(left, right)
    if rule.numeric_class(dtype) == NumericClass.EXACT:
        np.testing.assert_array_equal(left, right)
        if dtype.startswith("float") and left.dtype.kind == "f":
            numbers = ~np.isnan(left)
            np.testing.assert_array_equal(np.signbit(left[numbers]), np.signbit(right[numbers]))
    else:
        scale = np.abs(left.astype(np.float64)).max() + 1
        np.testing.assert_allclose(
            right / scale, left / scale, atol=TOLERANCE.get(dtype, 0), rtol=TOLERANCE.get(dtype, 0) * 4
        )


def test_equations_are_what_they_say():
    for rule in RULES:
        assert f"{rule.sides[0]} = {rule.sides[1]}" == rule.equation
        assert set(variables(rule.sides[1])) <= set(variables(rule.sides[0]))
        assert set(rule.where) <= set(CONDITIONS)
        for side in rule.sides:
            assert set(functions(side)) <= {*FUNCTIONS, "Kept"}
    assert len({(r.equation, r.where) for r in RULES}) == len(RULES)


def functions(term):
    return [] if not isinstance(term, Apply) else [term.function, *(f for a in term.args for f in functions(a))]


def test_a_rule_that_ignores_an_operand_changes_the_domain_of_floats():
    """NaN and infinity in it would be lost."""
    for rule in RULES:
        if set(variables(rule.sides[1])) < set(variables(rule.sides[0])):
            assert rule.floats in (None, NumericClass.DOMAIN), rule


def test_families_have_more_rules_than_were_printed():
    """The paper counts 45, 38 and 66 (section 4.2)."""
    assert count_by_family() == {"associative": 144, "distributive": 50, "commutative": 179}


@pytest.mark.parametrize("text", ["A + B", "A + = B", "foo = A", "A * (B + C = A", "A $ B = A", "Sqrt(A = A"])
def test_what_is_no_equation_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_equation(text)
