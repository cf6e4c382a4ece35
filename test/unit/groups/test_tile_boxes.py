"""Every box of every tile is enough, inside its value, and no output is stored twice: proved by computing with them."""

from dataclasses import replace

import numpy as np
import pytest
from block_groups import BLOCKS
from group_builder import GroupBuilder, random_operands, reference
from tile_interpreter import BoxError, interpret_tiles

from mlirfuse.lowering.groups.boxes import TileBoxes, frame_of
from mlirfuse.lowering.groups.stages import stages_of


def check(group, tile):
    """The stages on boxes give what the whole group gives."""
    stages = stages_of(group)
    assert not isinstance(stages, str), stages
    assert not isinstance(frame_of(stages), str), frame_of(stages)
    operands = random_operands(group)
    found = interpret_tiles(TileBoxes(stages, tile), dict(zip(group.inputs, operands, strict=True)))
    for v, expected in zip(group.outputs, reference(group, operands), strict=True):
        np.testing.assert_allclose(found[v], expected, rtol=1e-5, atol=1e-5)


CASES = [pytest.param(name, tile, id=f"{name} {tile}") for name, block in BLOCKS.items() for tile in block()[1]]


@pytest.mark.parametrize(("name", "tile"), CASES)
def test_blocks_are_computed_tile_by_tile(name, tile):
    check(BLOCKS[name]()[0], tile)


@pytest.mark.parametrize("name", BLOCKS)
def test_one_tile_and_tiles_of_one_element(name):
    group, _ = BLOCKS[name]()
    frame = frame_of(stages_of(group))
    check(group, frame)
    check(group, (1, frame[1], *(1 for _ in frame[2:])))


# --- what the interpreter finds -----------------------------------------------------------------------


def broken(group, tile, change):
    stages = stages_of(group)
    boxes = TileBoxes(stages, tile)
    change(boxes)
    operands = dict(zip(group.inputs, random_operands(group), strict=True))
    with pytest.raises(BoxError) as error:
        interpret_tiles(boxes, operands)
    return str(error.value)


def chain():
    """A 3x3 convolution after a 1x1: stages 0 and 1."""
    b = GroupBuilder()
    y = b.conv(b.input(1, 2, 9, 9), b.input(3, 2, 1, 1))
    return b.group(b.conv(y, b.input(2, 3, 3, 3), pads=(1, 1, 1, 1)))


def narrower(box, by=1):
    return replace(box, sizes=(*box.sizes[:-1], box.sizes[-1] - by))


def test_a_root_box_without_its_halo_is_found():
    def change(boxes):
        boxes._roots[0] = narrower(boxes._roots[0])

    assert "nothing is there" in broken(chain(), (1, 2, 3, 3), change)


def test_a_kept_box_that_is_too_small_is_found():
    def change(boxes):
        boxes.kept = {v: narrower(box) for v, box in boxes.kept.items()}

    assert "outside the box that is kept" in broken(chain(), (1, 2, 3, 3), change)


def test_a_read_box_that_is_too_small_is_found():
    def change(boxes):
        boxes._reads[0] = [(v, narrower(box) if v == 0 else box) for v, box in boxes._reads[0]]

    assert "in none of" in broken(chain(), (1, 2, 3, 3), change)


def test_a_box_that_leaves_its_value_is_found():
    def change(boxes):
        box = boxes._roots[1]
        boxes._roots[1] = replace(box, start=(*box.start[:-1], box.start[-1] + 1))

    assert "leaves" in broken(chain(), (1, 2, 3, 3), change)


def test_what_two_tiles_store_is_found():
    def change(boxes):
        boxes.own = lambda stage: []

    assert "is stored 2 times" in broken(chain(), (1, 2, 4, 3), change)
