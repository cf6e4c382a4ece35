"""What fusion, rewriting and layout choose must not show in the outputs: random networks, compiled in several ways."""

import pytest
from answers import compare, compiled, expected_of, outputs_of
from random_cases import each_of
from random_graphs import random_graphs

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


def check(random, cache, target="cpu", ways=WAYS):
    expected = expected_of(random)
    for way in ways:
        compare(outputs_of(compiled(random, target, cache, **way), random, threads=None), expected, way)


def test_every_way_to_compile_gives_the_same_answers(kernels):
    each_of(random_graphs(), QUICK, lambda random: check(random, kernels))


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("target", ["cpu", "simulator"])
def test_many_random_networks(target, shard, kernels):
    ways = WAYS if target == "cpu" else (WAYS[0], WAYS[3])
    each_of(random_graphs(), SHARD, lambda random: check(random, kernels, target, ways), shard)
