"""What the search reckons with, in numbers alone, is what tiles really touch."""

import pytest
from block_groups import BLOCKS

from mlirfuse.lowering.groups.boxes import TileBoxes, frame_of
from mlirfuse.lowering.groups.extents import Extents
from mlirfuse.lowering.groups.stages import stages_of


def _cases():
    for name, block in BLOCKS.items():
        group, tiles = block()
        frame = frame_of(stages_of(group))
        for tile in dict.fromkeys((*tiles, frame, (1, frame[1], *(1 for _ in frame[2:])))):
            # A cut through the channels of a concatenation, and padding on one side alone, are not alike in all tiles.
            if tile[1] >= frame[1] and name != "negative padding":
                yield name, tile


@pytest.mark.parametrize(("name", "tile"), list(_cases()), ids=str)
def test_extents_are_the_sizes_of_the_boxes(name, tile):
    stages = stages_of(BLOCKS[name]()[0])
    boxes, found = TileBoxes(stages, tile), Extents(stages).of(tile)
    assert found.roots == tuple(boxes.root_box(s).sizes for s in stages)
    assert found.kept == {v: box.sizes for v, box in boxes.kept.items()}
