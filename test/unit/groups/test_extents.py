"""What the search reckons with, in numbers alone, is what tiles really touch."""

import pytest
from block_groups import BLOCKS

from mlirfuse.lowering.groups.boxes import TileBoxes, frame_of
from mlirfuse.lowering.groups.extents import Extents
from mlirfuse.lowering.groups.stages import stages_of

SHUFFLED = ("shuffle unit", (1, 2, 2, 2))  # parts of channels that a shuffle tears apart are reckoned a little larger


def _cases():
    for name, block in BLOCKS.items():
        group, tiles = block()
        frame = frame_of(stages_of(group))
        for tile in dict.fromkeys((*tiles, frame, (1, frame[1], *(1 for _ in frame[2:])))):
            if name != "negative padding":  # padding on one side alone is not alike in all tiles
                yield name, tile


@pytest.mark.parametrize(("name", "tile"), list(_cases()), ids=str)
def test_extents_are_the_sizes_of_the_boxes(name, tile):
    stages = stages_of(BLOCKS[name]()[0])
    boxes, found = TileBoxes(stages, tile), Extents(stages).of(tile)
    if (name, tile) == SHUFFLED:
        sizes = [size for stage in stages for size in boxes.root_box(stage).sizes]
        assert all(a >= b for a, b in zip((n for root in found.roots for n in root), sizes, strict=True))
        return
    assert found.roots == tuple(boxes.root_box(s).sizes for s in stages)
    assert found.kept == {v: box.sizes for v, box in boxes.kept.items()}
