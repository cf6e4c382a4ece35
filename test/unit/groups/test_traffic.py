"""Bytes from and to DRAM by indexing alone, against sets of addresses listed one by one and against the simulator."""

import itertools
import random

import numpy as np
import pytest
from block_groups import BLOCKS
from group_builder import GroupBuilder

from mlirfuse.device import device_for
from mlirfuse.dialect.indexing import Condition, fetch, maximum, minimum, var
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.groups.sectors import Sectors
from mlirfuse.lowering.groups.traffic import Lying, launch_traffic
from mlirfuse.lowering.schedule.simt import MapTiles
from mlirfuse.lowering.schedule.simt_choice import choose_schedule
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context
from mlirfuse.simulator import Kernel

DEVICE = device_for("sm_90")


def listed(strides, accesses, item, offset):
    """Sectors of accesses, element by element."""
    found = set()
    for index, conditions in accesses:
        variables = sorted({v for e in (*index, *(c.value for c in conditions)) for v in e.variables()}, key=repr)
        for point in itertools.product(*(range(v.lo, v.hi + 1) for v in variables)):
            values = dict(zip(variables, point, strict=True))
            if all(c.lo <= c.value.evaluate(values) <= c.hi for c in conditions):
                element = sum(e.evaluate(values) * s for e, s in zip(index, strides, strict=True))
                found |= {(element * item + offset) // 32, ((element + 1) * item - 1 + offset) // 32}
    return len(found)


def drawn(draw):
    """A random access of a tensor [6, 5, 12]: independent, shared, divided and clamped indices."""
    a, b, c, d = (var(name, draw.choice((1, 2, 3, 5))) for name in "abcd")
    flat = var("e", 30)
    rows = draw.choice([a, minimum(a + b, 5), flat // 5, maximum(a * 2 - 1, 0)])
    columns = draw.choice([b, flat % 5, minimum(c, 4)])
    inner = draw.choice([c * 2 + d, d + 3, flat // 3, d * 2, c])
    conditions = [Condition(a * 2 + c - 1, 0, 5), Condition(flat + d, 3, 20)]
    return (rows, columns, inner), tuple(c for c in conditions if draw.random() < 0.4 and not c.always)


@pytest.mark.parametrize("seed", range(60))
def test_any_access_is_counted_as_if_it_were_listed(seed):
    draw = random.Random(seed)
    dims, item, offset = (6, 5, 12), draw.choice((1, 4, 8)), draw.choice((0, 4, 12)) * 8 % 32
    strides = draw.choice(((60, 12, 1), (1, 6, 30), (80, 16, 1), (12, 72, 1), (300, 60, 5)))
    accesses = [drawn(draw) for _ in range(draw.choice((1, 1, 3)))]
    sectors = Sectors(dims, strides, item, offset)
    for index, conditions in accesses:
        sectors.touch(index, conditions)
    assert sectors.count == listed(strides, accesses, item, offset)


def test_fetched_rows_count_as_many_as_there_are_places_to_fetch_from():
    table = Sectors((1000, 16), (16, 1), 4)
    table.touch((fetch(1, (var("d0", 10),), 1000), var("d1", 16)))
    assert table.bytes == 10 * 64
    few = Sectors((4, 16), (16, 1), 4)
    few.touch((fetch(1, (var("d0", 10),), 4), var("d1", 16)))
    assert few.bytes == 4 * 64


def test_a_fetched_row_may_lie_in_one_sector_more_than_the_first_does():
    table = Sectors((40, 3), (3, 1), 4)
    table.touch((fetch(1, (), 40), var("d1", 3)))
    assert table.bytes == 64  # 12 bytes from any multiple of 12 on
    table.touch((fetch(2, (), 40), var("d1", 3)))
    assert table.bytes == 128
    table.touch((fetch(2, (), 40), var("d1", 3)))
    assert table.bytes == 128  # the same fetch again
    tiny = Sectors((3, 3), (3, 1), 4)
    tiny.touch((fetch(1, (var("d0", 2),), 3), var("d1", 3)))
    assert tiny.bytes == 64  # all there is


def test_a_strided_convolution_reads_the_rows_that_it_uses():
    b = GroupBuilder()
    y = b.conv(b.input(1, 3, 16, 16), b.input(8, 3, 1, 1), strides=(2, 2))
    assert launch_traffic(b.group(y)).read == (3 * 8 * 64, 96)  # every second row, of which each sector is touched


def test_a_window_leaves_out_the_border_that_it_does_not_reach():
    b = GroupBuilder()
    y = b.pool(b.input(1, 2, 8, 8), "max", (3, 3), (2, 2), (0, 0, 0, 0), (2, 2))
    assert launch_traffic(b.group(y)).read == (2 * 5 * 32,)  # rows 0 to 4


def test_slices_and_padding_read_what_is_left():
    b = GroupBuilder()
    x = b.input(4, 32)
    cut = b.op("slice", x, starts=(1, 8), sizes=(2, 8), steps=(1, 1))
    padded = b.op("pad", cut, low=(1, 0), high=(0, 4), mode="constant", value=0.0)
    group = b.group(padded)
    assert launch_traffic(group).read == (2 * 32,)
    assert launch_traffic(group).written == (3 * 12 * 4 + 16,)


def test_a_part_of_a_buffer_counts_the_sectors_at_its_ends():
    b = GroupBuilder()
    group = b.group(b.op("unary", b.input(2, 8), kind="relu"))
    apart = {1: Lying((32, 1), 16)}
    assert launch_traffic(group, apart).written == (2 * 64,)
    assert launch_traffic(group, {1: Lying((8, 1), 16)}).written == (96,)


def test_a_value_read_twice_counts_once():
    b = GroupBuilder()
    x = b.input(1, 4, 6, 8)
    w = b.input(4, 4, 3, 3)
    y = b.op("binary", b.conv(x, w, pads=(1, 1, 1, 1)), x, kind="add")
    assert launch_traffic(b.group(y)).read == (4 * 6 * 32, 4 * 4 * 9 * 4)


def simulated(group, schedule):
    program = tile_program(group, schedule)
    with context():
        text = str(emit_kernel(program, "kernel"))
    buffers = [np.zeros(group.types[v].size, np.float32) for v in (*group.inputs, *group.outputs)]
    counts = Kernel.from_text(text, "kernel").launch(program.tiles, (program.workers, 1, 1), buffers, mode="count")
    return counts.argument_bytes


@pytest.mark.parametrize("name", BLOCKS)
def test_tiles_of_a_block_move_what_the_simulator_counts(name):
    group, _ = BLOCKS[name]()
    schedule = choose_schedule(group, DEVICE)
    traffic = launch_traffic(group, None, getattr(schedule, "tile", None), getattr(schedule, "walk", 1))
    assert (*traffic.read, *traffic.written) == simulated(group, schedule)


def test_a_walk_leaves_out_rows_that_only_lie_between_others():
    """Of what a strided layer reads, a tile by itself computes a box; one that follows another, the new rows alone."""
    b = GroupBuilder()
    x = b.conv(b.input(1, 2, 11, 10), b.input(4, 2, 1, 3))
    x = b.conv(x, b.input(4, 4, 1, 1), strides=(2, 2))
    group = b.group(b.conv(x, b.input(2, 4, 2, 1)))
    each = MapTiles(128, 1)
    tile = (1, 2, 1, 4)
    read = []
    for walk in (1, 5):
        traffic = launch_traffic(group, None, tile, walk)
        assert (*traffic.read, *traffic.written) == simulated(group, CrossLayerTiles(128, tile, (each,) * 3, walk=walk))
        read.append(traffic.read)
    assert read[1][0] < read[0][0] and read[1][1:] == read[0][1:]
