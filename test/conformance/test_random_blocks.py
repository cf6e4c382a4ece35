"""Random blocks of networks, tile by tile: in NumPy, on the simulator with all its checks, and as native code."""

import numpy as np
import pytest
from block_runs import drawn_parts, drawn_walk, gpu_schedule, host_schedule, refusal
from group_runs import run_gpu, run_host
from random_blocks import random_blocks
from random_cases import each_of
from tile_interpreter import interpret_tiles

from mlirfuse.lowering.groups.boxes import TileBoxes

QUICK = 300
SHARDS, SHARD = 20, 300


def check_boxes(random):
    """Every box is enough, inside its value, and every output is stored once."""
    if isinstance(random.stages, str):
        return
    operands = dict(zip(random.group.inputs, random.operands, strict=True))
    tile, walk = drawn_walk(random)
    boxes = TileBoxes(random.stages, tile, drawn_parts(random) if walk == 1 else (), walk=walk)
    found = interpret_tiles(boxes, operands)
    for v, expected in zip(random.group.outputs, random.expected, strict=True):
        largest = float(np.abs(expected).max(initial=1.0))  # sums of such may cancel
        np.testing.assert_allclose(found[v], expected, rtol=0, atol=1e-4 * largest)


def check_gpu(random):
    if refusal(random) is None and (schedule := gpu_schedule(random)) is not None:
        assert (wrong := run_gpu(random, schedule)) is None, f"{schedule}: {wrong}"


def check_host(random):
    if refusal(random) is None and (schedule := host_schedule(random)) is not None:
        (wrong,) = run_host(random, [schedule]).values()
        assert wrong is None, f"{schedule}: {wrong}"


def test_boxes_are_enough():
    each_of(random_blocks(), QUICK // 2, check_boxes)


def test_simulated_kernels_agree_with_the_definitions():
    each_of(random_blocks(), QUICK, check_gpu)


def test_native_kernels_agree_with_the_definitions():
    each_of(random_blocks(), QUICK // 4, check_host)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("check", [check_boxes, check_gpu, check_host], ids=["boxes", "simulator", "cpu"])
def test_many_random_blocks(check, shard):
    each_of(random_blocks(), SHARD, check, shard)
