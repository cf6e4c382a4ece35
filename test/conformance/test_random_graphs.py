"""What fusion, rewriting and layout choose must not show in the outputs: random networks, compiled in several ways."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, seed, settings
from random_graphs import random_graphs
from random_settings import examples

from mlirfuse.compiler import compile_here
from mlirfuse.options import CompileOptions
from mlirfuse.runtime import load

QUICK = 8
SHARDS, SHARD = 10, 12
WAYS = (
    {},
    {"fusion": "no-cross-layer"},
    {"fusion": "epilogue"},
    {"fusion": "none"},
    {"rewrite": "none"},
    {"rewrite": "exact", "layout": "nchw"},
    {"fusion": "none", "rewrite": "none", "layout": "nchw"},
    {"rewrite": "all"},
)
LIMIT = 1e-4  # of the largest element


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """A cache of kernels: most ways share most of them."""
    return tmp_path_factory.mktemp("kernels")


def oracle(model):
    """ONNX Runtime: the reference evaluator normalises only the first channels in LRN."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def check(random, cache, target="cpu", ways=WAYS):
    expected = oracle(random.model).run(None, {"x": random.x})
    for way in ways:
        artifact = compile_here(random.model, target, CompileOptions(cache_dir=str(cache), workers=1, **way))
        assert artifact.report["totals"]["fallback_nodes"] == 0
        found = load(artifact).run({"x": random.x})
        for (name, got), wanted in zip(found.items(), expected, strict=True):
            assert got.shape == wanted.shape
            error = float(np.abs(got - wanted).max())
            assert error <= LIMIT * max(1.0, float(np.abs(wanted).max())), f"{way}: {name} is off by {error}"


def test_every_way_to_compile_gives_the_same_answers(kernels):
    @examples(QUICK)
    @given(random_graphs())
    def run(random):
        check(random, kernels)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("target", ["cpu", "simulator"])
def test_many_random_networks(target, shard, kernels):
    @seed(shard)
    @settings(examples(SHARD), derandomize=False)
    @given(random_graphs())
    def run(random):
        check(random, kernels, target, WAYS if target == "cpu" else (WAYS[0], WAYS[3]))

    run()
