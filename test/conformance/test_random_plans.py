"""Fusion must not show: random graphs of the table's operators under every fusion option and under random plans."""

import numpy as np
import pytest
from hypothesis import given, seed, settings
from random_plan import random_plan
from random_settings import examples
from random_sketches import random_sketches
from test_random_graphs import oracle

from mlirfuse.compiler import compile_here
from mlirfuse.lowering.plan import plan as plan_pass
from mlirfuse.options import CompileOptions
from mlirfuse.runtime import load

QUICK = 8
SHARDS, SHARD = 20, 60
PLANS = 3  # random plans of each graph
LIMIT = 1e-4  # of the largest element, or of one
FUSIONS = ("full", "epilogue", "none")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """A cache of kernels: plans share many of them."""
    return str(tmp_path_factory.mktemp("kernels"))


def run(random, target, cache, **options):
    artifact = compile_here(random.model, target, CompileOptions(cache_dir=cache, workers=1, strict=True, **options))
    executable = load(artifact, threads=1) if target == "cpu" else load(artifact)
    if target == "simulator":
        executable._executor.mode = "check"
    return executable.run(random.arrays)


def check(random, target, cache, plans=PLANS):
    """Every way to compile gives what ONNX Runtime gives."""
    expected = oracle(random.model).run(None, random.arrays)

    def compare(found, way):
        for (name, got), wanted in zip(found.items(), expected, strict=True):
            assert got.shape == wanted.shape
            error = float(np.abs(got.astype(np.float64) - wanted).max(initial=0))
            assert error <= LIMIT * max(1.0, float(np.abs(wanted).max(initial=0))), f"{way}: {name} is off by {error}"

    for fusion in FUSIONS:
        compare(run(random, target, cache, fusion=fusion), fusion)
    for number in range(plans):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plan_pass, "plan_graph", lambda graph, *_, n=number: random_plan(graph, n))
            compare(run(random, target, cache), f"random plan {number}")


@pytest.mark.parametrize(("target", "count"), [("simulator", QUICK), ("cpu", QUICK // 2)])
def test_any_plan_gives_the_same_answers(target, count, kernels):
    @examples(count)
    @given(random_sketches())
    def run_all(random):
        check(random, target, kernels, plans=1 if target == "cpu" else PLANS)

    run_all()


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("target", ["simulator", "cpu"])
def test_many_random_plans(target, shard, kernels):
    @seed(shard)
    @settings(examples(SHARD), derandomize=False)
    @given(random_sketches())
    def run_all(random):
        check(random, target, kernels)

    run_all()
