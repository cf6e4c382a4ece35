"""Random blocks of convolutional networks, tile by tile: in NumPy on the boxes of the analysis."""

import numpy as np
import pytest
from random_blocks import random_blocks
from random_cases import each_of
from tile_interpreter import interpret_tiles

from mlirfuse.lowering.groups.boxes import TileBoxes

QUICK = 150
SHARDS, SHARD = 20, 300


def check_boxes(random):
    """Every box is enough, inside its value, and every output is stored once."""
    if isinstance(random.stages, str):
        return
    operands = dict(zip(random.group.inputs, random.operands, strict=True))
    found = interpret_tiles(TileBoxes(random.stages, random.tile), operands)
    for v, expected in zip(random.group.outputs, random.expected, strict=True):
        np.testing.assert_allclose(found[v], expected, rtol=1e-4, atol=1e-4)


def test_boxes_are_enough():
    each_of(random_blocks(), QUICK, check_boxes)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("check", [check_boxes], ids=["boxes"])
def test_many_random_blocks(check, shard):
    each_of(random_blocks(), SHARD, check, shard)
