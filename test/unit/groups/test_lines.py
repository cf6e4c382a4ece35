"""What a tile takes over from the one before it, where blocks walk over several."""

import numpy as np
import pytest
from block_groups import BLOCKS
from group_builder import GroupBuilder

from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.extents import Extents
from mlirfuse.lowering.groups.lines import first_strips_of, later_strips_of, walk_problem
from mlirfuse.lowering.groups.stages import stages_of


def chain(layers=3, size=24, kernel=3, channels=4):
    b = GroupBuilder()
    x = b.input(1, channels, size, size)
    for _ in range(layers):
        x = b.conv(x, b.input(channels, channels, kernel, kernel), pads=(kernel // 2,) * 4)
    return b.group(x)


def expanded(size=56, channels=8, wide=48):
    """An inverted residual block without its sum: 1x1, depthwise 3x3, 1x1."""
    b = GroupBuilder()
    x = b.op("unary", b.conv(b.input(1, channels, size, size), b.input(wide, channels, 1, 1)), kind="relu")
    x = b.op("unary", b.conv(x, b.input(wide, 1, 3, 3), pads=(1,) * 4, groups=wide), kind="relu")
    return b.group(b.conv(x, b.input(channels, wide, 1, 1)))


def test_a_tile_takes_over_what_the_window_reaches_beyond_its_stride():
    boxes = TileBoxes(stages_of(chain(kernel=5)), (1, 4, 4, 24), walk=6)
    assert [line.rows for line in boxes.walk.lines.values()] == [4, 4]
    assert [boxes.share(s).sizes[2] * boxes.walk.later_strips[s.number] for s in boxes.stages] == [4, 4, 4]


def test_a_walk_over_the_whole_computes_next_to_nothing_again():
    group = chain()
    assert TileBoxes(stages_of(group), (1, 4, 2, 24)).recomputed_flops > group.flops / 2
    boxes = TileBoxes(stages_of(group), (1, 4, 2, 24), walk=12)
    assert boxes.recomputed_flops < group.flops / 10  # at the border, where the last tile is moved inwards


def test_a_walk_that_begins_inside_the_image_computes_the_halo_before_it():
    boxes = TileBoxes(stages_of(group := chain(2)), (1, 4, 4, 24), walk=3)
    assert boxes.walks == (1, 1, 2, 1)
    first, second = boxes.stages
    assert boxes.computed(second) == 24 * 24 * 4
    assert 24 * 24 * 4 < boxes.computed(first) <= (24 + 2 * 4) * 24 * 4
    assert boxes.recomputed_flops < TileBoxes(stages_of(group), (1, 4, 4, 24)).recomputed_flops


def test_rows_that_lead_in_are_cut_finer_than_tiles_where_they_are_few():
    assert later_strips_of(*map(np.array, (1, 8, 4))) == 4  # 9 rows first, of which 8 are new: strips of 2
    assert later_strips_of(*map(np.array, (8, 8, 2))) == 1
    assert later_strips_of(*map(np.array, (1, 8, 50))) == 1  # 7 rows too many, of 400
    assert first_strips_of(1, 8, 4) == 5


@pytest.mark.parametrize(
    ("group", "tile", "walk"),
    [
        (chain(2), (1, 4, 3, 24), 8),
        (chain(2), (1, 4, 3, 24), 4),
        (chain(3), (1, 4, 4, 12), 6),
        (chain(3), (1, 4, 2, 24), 3),
        (expanded(), (1, 8, 7, 56), 8),
        (expanded(), (1, 8, 4, 28), 7),
    ],
)
def test_extents_are_those_of_the_boxes(group, tile, walk):
    stages = stages_of(group)
    boxes, found = TileBoxes(stages, tile, walk=walk), Extents(stages).of(tile, walk)
    assert found.roots == tuple(boxes.share(s).sizes for s in stages)
    assert found.runs == tuple(boxes.walk.runs(s) for s in stages)
    assert found.kept == {v: box.sizes for v, box in boxes.kept.items()}
    assert found.line_elements == sum(box.elements for box in boxes.walk.line_boxes.values())


@pytest.mark.parametrize(
    ("group", "tile", "walk", "why"),
    [
        (chain(), (1, 4, 4, 24), 4, "walks of 4 tiles do not divide 6"),
        (chain(), (1, 4, 24, 4), 2, "do not divide 1"),
        (chain(kernel=1), (1, 4, 4, 24), 2, "nothing in common"),
        (BLOCKS["squeeze and excitation"]()[0], (1, 8, 1, 6), 6, "nothing in common"),
    ],
)
def test_what_is_not_computed_in_walks_says_why(group, tile, walk, why):
    assert why in walk_problem(TileBoxes(stages_of(group), tile), walk)
