"""Random groups, under every legal schedule, on the simulator with all its checks and as native code."""

import pytest
from group_runs import gpu_schedules, host_schedules, run_gpu, run_host
from hypothesis import given, seed, settings
from random_groups import random_groups
from random_settings import examples

QUICK = 40
SHARDS, SHARD = 20, 100


def check_gpu(random):
    schedules = gpu_schedules(random.group)
    assert schedules, "no schedule is legal"
    for schedule in schedules:
        assert (wrong := run_gpu(random, schedule)) is None, f"{schedule}: {wrong}"


def check_host(random):
    for schedule, wrong in run_host(random, host_schedules(random.group)).items():
        assert wrong is None, f"{schedule}: {wrong}"


@examples(QUICK)
@given(random_groups())
def test_simulated_kernels_agree_with_the_definitions(random):
    check_gpu(random)


@examples(QUICK)
@given(random_groups())
def test_native_kernels_agree_with_the_definitions(random):
    check_host(random)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("check", [check_gpu, check_host], ids=["simulator", "cpu"])
def test_many_random_groups(check, shard):
    @seed(shard)
    @settings(examples(SHARD), derandomize=False)
    @given(random_groups())
    def run(random):
        check(random)

    run()
