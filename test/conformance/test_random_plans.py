"""Fusion must not show: random graphs of the table's operators under every fusion option and under random plans."""

import pytest
from answers import compare, compiled, expected_of, outputs_of
from random_cases import each_of
from random_plan import random_plan
from random_sketches import random_sketches

from mlirfuse.lowering.plan import plan as plan_pass

QUICK = 8
SHARDS, SHARD = 20, 60
PLANS = 3  # random plans of each graph
FUSIONS = ("full", "epilogue", "none")


def check(random, target, cache, plans=PLANS):
    """Every way to compile gives what ONNX Runtime gives."""
    expected = expected_of(random)
    for fusion in FUSIONS:
        compare(outputs_of(compiled(random, target, cache, fusion=fusion), random), expected, fusion)
    for number in range(plans):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plan_pass, "plan_graph", lambda graph, *_, n=number: random_plan(graph, n))
            compare(outputs_of(compiled(random, target, cache), random), expected, f"random plan {number}")


@pytest.mark.parametrize(("target", "count", "plans"), [("simulator", QUICK, PLANS), ("cpu", QUICK // 2, 1)])
def test_any_plan_gives_the_same_answers(target, count, plans, kernels):
    each_of(random_sketches(), count, lambda random: check(random, target, kernels, plans))


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("target", ["simulator", "cpu"])
def test_many_random_plans(target, shard, kernels):
    each_of(random_sketches(), SHARD, lambda random: check(random, target, kernels), shard)
