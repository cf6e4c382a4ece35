"""Every box of every tile is enough, inside its value, and no output is stored twice: proved by computing with them."""

from dataclasses import replace

import numpy as np
import pytest
from block_groups import BLOCKS
from group_builder import GroupBuilder, random_operands, reference
from tile_interpreter import BoxError, interpret_tiles

from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.boxes import TileBoxes, frame_of
from mlirfuse.lowering.groups.lines import WALKED, walk_problem
from mlirfuse.lowering.groups.stages import stages_of


def check(group, tile, walk=1):
    """The stages on boxes give what the whole group gives."""
    stages = stages_of(group)
    assert not isinstance(stages, str), stages
    assert not isinstance(frame_of(stages), str), frame_of(stages)
    operands = random_operands(group)
    found = interpret_tiles(TileBoxes(stages, tile, walk=walk), dict(zip(group.inputs, operands, strict=True)))
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


def _walks(group):
    """Tiles of any number of rows, and all walks over them."""
    stages = stages_of(group)
    frame = frame_of(stages)
    for rows in range(1, frame[WALKED]):
        boxes = TileBoxes(stages, (1, frame[1], rows, *frame[WALKED + 1 :]))
        for walk in range(2, boxes.tiles[WALKED] + 1):
            if walk_problem(boxes, walk) is None:
                yield boxes.tile, walk


@pytest.mark.parametrize("name", [n for n, block in BLOCKS.items() if len(frame_of(stages_of(block()[0]))) > WALKED])
def test_what_tiles_take_over_in_walks_is_there(name):
    group, _ = BLOCKS[name]()
    for tile, walk in _walks(group):
        check(group, tile, walk)


# --- what the interpreter finds -----------------------------------------------------------------------


def broken(group, tile, change, walk=1):
    stages = stages_of(group)
    boxes = TileBoxes(stages, tile, walk=walk)
    change(boxes)
    operands = dict(zip(group.inputs, random_operands(group), strict=True))
    with pytest.raises(BoxError) as error:
        interpret_tiles(boxes, operands)
    return str(error.value)


def test_a_line_of_too_few_rows_is_found():
    def shorter(boxes):
        (line,) = boxes.walk.lines
        box = boxes.walk.line_boxes[line]
        start = (*box.start[:WALKED], box.start[WALKED] + 1, *box.start[WALKED + 1 :])
        boxes.walk.line_boxes = {
            line: Box(start, (*box.sizes[:WALKED], box.sizes[WALKED] - 1, *box.sizes[WALKED + 1 :]))
        }

    assert "nothing is there" in broken(chain(), (1, 2, 3, 9), shorter, walk=3)


def test_a_strip_that_is_left_out_is_found():
    def fewer(boxes):
        first = min(boxes.walk.first_strips)
        boxes.walk.first_strips[first] -= 1

    assert "nothing is there" in broken(chain(), (1, 2, 3, 9), fewer, walk=3)


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


# --- tightness ----------------------------------------------------------------------------------------


def strips(*layers, size=200, tile=20):
    """Boxes of 1-D convolutions or pools (kernel, stride, dilation), each reading the one before."""
    b = GroupBuilder()
    x = b.input(1, 1, size)
    for kernel, stride, dilation in layers:
        w = b.input(1, 1, kernel)
        x = b.conv(x, w, (stride,), ((kernel - 1) * dilation // 2,) * 2, (dilation,))
    return TileBoxes(stages_of(b.group(x)), (1, 1, tile))


CHAINS = [
    [(1, 1, 1), (3, 1, 1)],
    [(3, 1, 1), (3, 1, 1), (3, 1, 1)],
    [(3, 2, 1), (5, 1, 1), (3, 2, 1)],
    [(3, 1, 1), (1, 2, 1), (3, 1, 4)],
    [(7, 3, 1), (2, 2, 1), (3, 1, 2)],
]


@pytest.mark.parametrize("layers", CHAINS)
def test_boxes_away_from_the_border_are_no_larger_than_what_the_tile_needs(layers):
    """The receptive field of the tile: e elements of a layer need (e - 1) stride + (kernel - 1) dilation + 1."""
    boxes = strips(*layers, size=600)
    extent, fields = boxes.tile[2], []
    for kernel, stride, dilation in reversed(layers):
        fields.append(extent)
        extent = (extent - 1) * stride + (kernel - 1) * dilation + 1
    for stage, field in zip(reversed(boxes.stages.stages), fields, strict=True):
        assert boxes.root_box(stage).sizes == (1, 1, min(field, stage.root.node.out.dims[2]))


def test_a_tile_that_is_all_there_is_needs_no_halo():
    boxes = strips((3, 1, 1), (3, 1, 1), tile=200)
    assert [boxes.root_box(s).sizes[2] for s in boxes.stages] == [200, 200]


def test_of_two_tiles_each_has_one_halo():
    """Padding is no part of a box: at either border a tile needs one row more, not two."""
    boxes = strips((3, 1, 1), (3, 1, 1), (3, 1, 1), size=14, tile=7)
    assert [boxes.root_box(s).sizes[2] for s in boxes.stages] == [9, 8, 7]


def test_a_value_with_several_readers_keeps_the_hull():
    b = GroupBuilder()
    x = b.conv(b.input(1, 1, 90), b.input(1, 1, 1))
    readers = [b.conv(x, b.input(1, 1, k), pads=(k // 2, k // 2)) for k in (1, 3, 7)]
    both = b.op("binary", b.op("binary", readers[0], readers[1], kind="add"), readers[2], kind="add")
    boxes = TileBoxes(stages_of(b.group(both)), (1, 1, 10))
    assert [boxes.root_box(s).sizes[2] for s in boxes.stages] == [16, 10, 10, 10]


def test_a_shuffle_of_whole_groups_of_channels_needs_all_of_them_and_no_halo():
    b = GroupBuilder()
    x = b.conv(b.input(1, 4, 12, 12), b.input(8, 4, 1, 1))
    y = b.op("transpose", b.op("reshape", x, shape=(1, 2, 4, 12, 12)), perm=(0, 2, 1, 3, 4))
    z = b.conv(b.op("reshape", y, shape=(1, 8, 12, 12)), b.input(8, 1, 3, 3), pads=(1,) * 4, groups=8)
    boxes = TileBoxes(stages_of(b.group(z)), (1, 8, 3, 3))
    assert boxes.root_box(boxes.stages.stages[0]).sizes == (1, 8, 5, 5)


def test_a_depthwise_convolution_needs_the_channels_of_the_tile_alone():
    b = GroupBuilder()
    x = b.conv(b.input(1, 4, 12, 12), b.input(8, 4, 1, 1))
    z = b.conv(x, b.input(8, 1, 3, 3), pads=(1,) * 4, groups=8)
    boxes = TileBoxes(stages_of(b.group(z)), (1, 2, 3, 3))
    assert boxes.root_box(boxes.stages.stages[0]).sizes == (1, 2, 5, 5)


def test_a_grouped_convolution_needs_the_channels_of_its_groups_alone():
    b = GroupBuilder()
    x = b.conv(b.input(1, 4, 12, 12), b.input(8, 4, 1, 1))
    z = b.conv(x, b.input(12, 2, 3, 3), pads=(1,) * 4, groups=4)
    boxes = TileBoxes(stages_of(b.group(z)), (1, 3, 3, 3))
    assert boxes.root_box(boxes.stages.stages[0]).sizes == (1, 2, 5, 5)
