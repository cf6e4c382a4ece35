"""Every kernel template executed by a Vulkan driver, against the ops' definitions in NumPy."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import sampling_groups
from attention_groups import CASES, attention, grouped_queries, prologue_and_moves
from group_builder import GroupBuilder, random_operands, reference
from shader_runs import device_here, lanes_here, needs_vulkan, run_group

from mlirfuse.device import GRAPHICS
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, RowTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_choice import choose_schedule
from mlirfuse.lowering.schedule.simt_deep import TILES, DeepTiles
from mlirfuse.lowering.schedule.simt_forms import SimtSchedule
from mlirfuse.lowering.schedule.sorting import SortTiles

pytestmark = needs_vulkan


def test_every_kind_of_schedule_is_executed_by_a_test_of_this_folder():
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [kind for kind in get_args(SimtSchedule) if f"{kind.__name__}(" not in text] == []


def error(group, schedule=None, operands=None, device=None, subgroup=0):
    """The largest error relative to the largest element, over the outputs."""
    operands = random_operands(group) if operands is None else operands
    found = run_group(group, operands, schedule, device, subgroup)
    return max(
        np.abs(f.astype(np.float64) - e).max() / max(1, np.abs(e).max())
        for f, e in zip(found, reference(group, operands), strict=True)
    )


def convolution(channels=6, filters=20, size=(9, 7), **attributes):
    b = GroupBuilder()
    y = b.conv(b.input(2, channels, *size), b.input(filters, channels, 3, 3), pads=(1, 1, 1, 1), **attributes)
    return b.group(b.op("unary", y, kind="relu"))


def row_group(op, length=200, **attributes):
    b = GroupBuilder()
    x = b.op("binary", b.input(5, length), b.splat(2.0), kind="mul")
    return b.group(b.op("unary", b.op(op, x, axes=(1,), **attributes), kind="tanh"))


def sums(length=300):
    b = GroupBuilder()
    y = b.op("reduce", b.op("unary", b.input(7, length), kind="abs"), kind="mean", axes=(1,), keepdims=False)
    return b.group(b.op("unary", y, kind="sqrt"))


@pytest.mark.parametrize("schedule", [MapTiles(64, 1), MapTiles(32, 4)], ids=str)
def test_maps(schedule):
    b = GroupBuilder()
    x = b.op("transpose", b.input(4, 6, 10), perm=(2, 0, 1))
    assert error(b.group(b.op("binary", x, b.input(10, 4, 6), kind="add"), x), schedule) < 1e-6


@pytest.mark.parametrize("schedule", [TeamTiles(64, 32, 1), TeamTiles(128, 128, 1), TeamTiles(64, 32, 4)], ids=str)
def test_teams(schedule):
    assert error(sums(), schedule) < 1e-6


@pytest.mark.parametrize(
    "schedule", [RowTiles(128, 32, True), RowTiles(64, 64, True), RowTiles(64, 64, False)], ids=str
)
@pytest.mark.parametrize("op", ["softmax", "normalize"])
def test_rows(op, schedule):
    group = row_group(op, log=False) if op == "softmax" else row_group(op, epsilon=1e-5)
    assert error(group, schedule) < 1e-5


@pytest.mark.parametrize("make", [sums, lambda: row_group("softmax", log=False)], ids=["team", "row"])
def test_subgroups_exchange_values_where_the_driver_has_them(make):
    """The steps of a reduction within a subgroup by its shuffles, those beyond it through memory."""
    lanes = lanes_here()
    if lanes < 2:
        pytest.skip("this driver has no subgroups that exchange values")
    schedule = TeamTiles(128, 128, 1) if make is sums else RowTiles(64, 64, True)
    for subgroup in {2, lanes}:
        assert error(make(), schedule, subgroup=subgroup) < 1e-5


TILED = [ContractTiles(32, 32, 8, 4, 4), ContractTiles(64, 32, 4, 8, 4), ContractTiles(32, 32, 16, 4, 4, k_groups=2)]


@pytest.mark.parametrize("schedule", TILED, ids=str)
def test_register_tiles(schedule):
    assert error(convolution(), schedule, device=device_here("intel-xe-lp")) < 1e-5


@pytest.mark.parametrize("name", GRAPHICS)
def test_every_device_holds_a_register_tile(name):
    device, group = device_here(name), convolution()
    schedule = choose_schedule(group, device)
    assert isinstance(schedule, ContractTiles)
    assert schedule.least_registers <= device.registers_per_thread
    assert error(group, schedule, device=device) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_attention_is_one_kernel(name):
    assert error(attention(**CASES[name])) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("make", [prologue_and_moves, grouped_queries])
def test_several_anchors_read_through_moves(make):
    assert error(make()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "part"), [(8, 16), (1, 24), (5, 8)])
def test_rows_walked_in_parts(rows, part):
    group = attention(rows=37, keys=96 if 96 % part == 0 else 80, depth=10, width=13)
    tile = TILES[128][1]
    schedule = DeepTiles(128, rows, (tile, RowTiles(128, 32, False), tile), part)
    assert error(group, schedule, device=device_here("intel-xe-lp")) < 1e-5


@pytest.mark.parametrize("name", ["bilinear", "mean_of_regions"])
def test_samples(name):
    assert error(sampling_groups.GROUPS[name]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", sampling_groups.GROUPS)
def test_all_samples(name):
    assert error(sampling_groups.GROUPS[name]) < 1e-4


@pytest.mark.parametrize("kind", ["replace", "sum"])
def test_scatters(kind):
    b = GroupBuilder()
    operands = b.input(5, 4, 6), b.input(3, 9, 1, dtype="int64"), b.input(3, 9, 4)
    assert error(b.group(b.op("scatter", *operands, axis=1, kind=kind))) < 1e-5


def order_of(shape, dtype, axis, run, keep):
    b = GroupBuilder()
    return b.group(b.op("sort", b.input(*shape, dtype=dtype), axis=axis, run=run, keep=keep, largest=True))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "float16"])
def test_sorts(dtype):
    group = order_of((3, 70), dtype, 1, 64, 40)
    x = np.random.default_rng(3).integers(0, 9, (3, 70)).astype(dtype)
    assert error(group, SortTiles(32), [x]) == 0


def test_merges():
    x = np.random.default_rng(3).integers(-9, 9, (2, 50)).astype(np.float32)
    [order] = reference(order_of((2, 50), "float32", 1, 16, 16), [x])
    b = GroupBuilder()
    values, runs = b.input(2, 50), b.input(*order.shape, dtype="int64")
    group = b.group(b.op("merge", values, runs, axis=1, run=16, keep=32, largest=True))
    assert error(group, MapTiles(32, 1), [x, order]) == 0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64", "bool"])
def test_integers_of_every_width(dtype):
    """Neighbours in a word are stored by different threads; signs and wrapping are those of the type."""
    b = GroupBuilder()
    x, y = b.input(3, 37, dtype=dtype), b.input(3, 37, dtype=dtype)
    values = np.random.default_rng(1).integers(-(1 << 7), 1 << 7, (2, 3, 37))
    if dtype == "bool":
        group = b.group(b.op("binary", x, y, kind="and"), b.op("binary", x, y, kind="or"))
    else:
        low = b.op("binary", x, y, kind="min")
        group = b.group(
            b.op("binary", b.op("binary", x, y, kind="mul"), low, kind="sub"),
            b.op("binary", x, y, kind="less"),
            b.op("cast", x, to="float32"),
            b.op("cast", x, to="int64"),
        )
    operands = [v.astype(dtype) if dtype != "bool" else v > 0 for v in values]
    assert error(group, MapTiles(32, 1), operands) == 0
