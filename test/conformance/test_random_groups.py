"""Random groups, under every legal schedule, on the simulator with all its checks and as native code."""

import pytest
from group_runs import gpu_schedules, host_schedules, run_gpu, run_host
from random_cases import each_of
from random_groups import random_groups

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


def test_simulated_kernels_agree_with_the_definitions():
    each_of(random_groups(), QUICK, check_gpu)


def test_native_kernels_agree_with_the_definitions():
    each_of(random_groups(), QUICK, check_host)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("check", [check_gpu, check_host], ids=["simulator", "cpu"])
def test_many_random_groups(check, shard):
    each_of(random_groups(), SHARD, check, shard)
