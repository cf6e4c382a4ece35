"""Convolutions and contractions in register tiles, on every path that a tile can take, against NumPy definitions."""

import dataclasses

import pytest
from cpu_cases import DEVICE, Case
from group_builder import GroupBuilder

from mlirfuse.lowering.schedule.choose_contract import choose_contract
from mlirfuse.lowering.schedule.host import choose_host_schedule, host_schedule_from_dict, host_schedule_to_dict
from mlirfuse.lowering.schedule.host_contract import ContractTiles
from mlirfuse.lowering.schedule.host_map import MapLoops

NHWC = (0, 2, 3, 1)
LANES = DEVICE.vector_bytes // 4


def convolution(x, w, layout=NHWC, epilogue=True, **options):
    """conv + bias + relu with channels last (or `layout`) on both sides."""
    b = GroupBuilder()
    source, weight = b.input(*x), b.input(*w)
    y = b.conv(source, weight, **options)
    if epilogue:
        bias = b.input(1, w[0], *(1 for _ in x[2:]))
        y = b.op("unary", b.op("binary", y, bias, kind="add"), kind="relu")
    return b.group(y, layouts={source: layout, y: layout} if layout else {})


def product(a, c, equation, constant=False):
    b = GroupBuilder()
    y = b.op("contract", b.input(*a), b.input(*c), constant=(False, constant), equation=equation)
    return b.group(y)


def residual(layouts):
    b = GroupBuilder()
    x, w, bias, other = b.input(1, 24, 9, 9), b.input(40, 24, 3, 3), b.input(1, 40, 1, 1), b.input(1, 40, 9, 9)
    y = b.conv(x, w, pads=(1, 1, 1, 1))
    total = b.op("binary", b.op("binary", y, bias, kind="add"), other, kind="add")
    z = b.op("unary", total, kind="relu")
    return b.group(z, y, layouts=dict.fromkeys((x, other, y, z), NHWC) if layouts else {})


def prologue(concatenated):
    """relu(x * scale + shift) before the convolution; padding is not part of it."""
    b = GroupBuilder()
    if concatenated:
        x = b.op("concat", b.input(1, 16, 8, 8, layout=NHWC), b.input(1, 24, 8, 8, layout=NHWC), axis=1)
    else:
        x = b.input(1, 40, 8, 8, layout=NHWC)
    x = b.op("binary", b.op("binary", x, b.input(1, 40, 1, 1), kind="mul"), b.input(1, 40, 1, 1), kind="add")
    y = b.conv(b.op("unary", x, kind="sigmoid"), b.input(16, 40, 3, 3), pads=(1, 1, 1, 1))
    return b.group(y, layouts={y: NHWC})


def channel_shuffle():
    b = GroupBuilder()
    y = b.conv(b.input(2, 32, 7, 7, layout=NHWC), b.input(64, 8, 1, 1), groups=4)
    y = b.op("transpose", b.op("reshape", y, shape=(2, 4, 16, 49)), perm=(0, 2, 1, 3))
    return b.group(b.op("reshape", y, shape=(2, 64, 7, 7)))


def pooled_operand():
    b = GroupBuilder()
    x = b.pool(b.input(1, 16, 8, 8, layout=NHWC), "max", (2, 2), (2, 2), (0, 0, 0, 0), (4, 4))
    y = b.conv(x, b.input(24, 16, 1, 1))
    return b.group(y, layouts={y: NHWC})


def computed_weight():
    b = GroupBuilder()
    w = b.op("unary", b.input(30, 20), kind="tanh")
    return b.group(b.op("contract", b.input(9, 30), w, equation="mk,kn->mn"))


def attention():
    b = GroupBuilder()
    y = b.op("contract", b.input(2, 3, 17, 12), b.input(2, 3, 19, 12), equation="bhmk,bhnk->bhmn")
    return b.group(b.op("binary", y, b.splat(0.25), kind="mul"))


GROUPS = {
    "one_by_one": convolution((1, 20, 9, 9), (32, 20, 1, 1)),
    "three_by_three": convolution((1, 16, 10, 10), (32, 16, 3, 3), pads=(1, 1, 1, 1)),
    "without_padding": convolution((1, 16, 10, 10), (16, 16, 3, 3)),
    "two_images": convolution((2, 16, 6, 6), (16, 16, 3, 3), pads=(1, 1, 1, 1)),
    "uneven_sizes": convolution((1, 13, 7, 11), (37, 13, 3, 2), pads=(1, 0, 2, 1), strides=(2, 3)),
    "dilated": convolution((1, 8, 12, 12), (16, 8, 3, 3), pads=(2, 2, 2, 2), dilations=(2, 2)),
    "grouped": convolution((1, 32, 8, 8), (48, 8, 3, 3), pads=(1, 1, 1, 1), groups=4),
    "thin_groups": convolution((1, 32, 6, 6), (32, 4, 3, 3), pads=(1, 1, 1, 1), groups=8),
    "row_major_image": convolution((1, 3, 20, 20), (24, 3, 7, 7), layout=None, pads=(3, 3, 3, 3), strides=(2, 2)),
    "negative_padding": convolution((1, 8, 9, 9), (16, 8, 3, 3), pads=(-1, 1, 0, -2)),
    "one_dimension": convolution((1, 12, 20), (8, 12, 5), layout=(0, 2, 1), pads=(2, 2), dilations=(2,)),
    "three_dimensions": convolution((1, 4, 6, 7, 8), (8, 4, 3, 3, 3), layout=None, pads=(1,) * 6, strides=(1, 2, 1)),
    "transposed": convolution((1, 8, 7, 7), (16, 8, 3, 3), pads=(1, 1, 2, 2), input_dilation=(2, 2)),
    "nothing_after": convolution((1, 8, 6, 6), (8, 8, 3, 3), epilogue=False),
    "residual_channels_last": residual(True),
    "residual_row_major": residual(False),
    "prologue": prologue(False),
    "concatenated_prologue": prologue(True),
    "channel_shuffle": channel_shuffle(),
    "pooled_operand": pooled_operand(),
    "matrix": product((33, 40), (40, 70), "mk,kn->mn"),
    "packed_matrix": product((33, 40), (40, 70), "mk,kn->mn", True),
    "row_times_matrix": product((1, 100), (100, 50), "mk,kn->mn", True),
    "row_times_transposed": product((1, 128), (70, 128), "mk,nk->mn", True),
    "product_with_unpacked_transposed": product((10, 128), (70, 128), "mk,nk->mn"),
    "batches": product((3, 33, 20), (3, 20, 18), "bmk,bkn->bmn"),
    "packed_batches": product((3, 33, 20), (3, 20, 18), "bmk,bkn->bmn", True),
    "shared_weight": product((5, 40, 30), (30, 36), "bmk,kn->bmn", True),
    "broadcast_batch": product((1, 6, 10), (4, 10, 16), "bmk,bkn->bmn"),
    "lanes_of_the_first_operand": product((12, 32), (12, 9), "kn,km->mn"),
    "attention": attention(),
    "computed_weight": computed_weight(),
}

# Other ways to compute some of them than the one that is chosen.
FORCED = {
    "six_rows": ("three_by_three", {"rows": 6, "columns": 1, "block": 3}),
    "a_row_at_a_time": ("three_by_three", {"block": 1, "rows": 4, "columns": 2, "panels": 1}),
    "columns_cut": ("three_by_three", {"split": 2, "block": 3, "rows": 3, "columns": 1, "panels": 1}),
    "cut_unevenly": ("uneven_sizes", {"block": 3, "rows": 5, "columns": 2, "panels": 2}),
    "staged_without_need": ("one_by_one", {"staged": True, "split": 1, "block": 4, "rows": 5}),
    "gathered_although_direct": ("matrix", {"weights": "gathered", "rows": 4, "columns": 3}),
    "flat_rows_cut_unevenly": ("packed_matrix", {"block": 10, "rows": 4, "columns": 2, "panels": 2}),
    "unrolled_by_seven": ("matrix", {"unroll": 7}),
    "several_batches_a_tile": ("attention", {"batches": 4}),
}


def cases():
    found = {name: Case(group, choose_contract(group, DEVICE)) for name, group in GROUPS.items()}
    for name, (base, changes) in FORCED.items():
        found[name] = Case(GROUPS[base], dataclasses.replace(choose_contract(GROUPS[base], DEVICE), **changes))
    # a slice of a larger channels-last buffer on both sides, as concatenation without copies needs
    sliced = GROUPS["three_by_three"]
    found["slices_of_larger_buffers"] = Case(
        sliced, output_strides={sliced.outputs[0]: (6400, 1, 640, 64)}, input_strides={0: (4800, 1, 480, 48)}
    )
    return found


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_products_agree_with_the_definition(name, entries):
    assert isinstance(CASES[name].schedule, ContractTiles)
    assert CASES[name].run(entries[name]) < 2e-5


def test_weights_are_packed_in_panels_of_neighbouring_channels():
    plan = CASES["three_by_three"]
    packing = next(iter(plan.packings.values()))
    assert packing.shape[-1] == plan.schedule.columns * LANES
    assert packing.elements == 32 * 16 * 9


@pytest.mark.parametrize(
    "group",
    [
        convolution((1, 16, 8, 8), (16, 1, 3, 3), pads=(1, 1, 1, 1), groups=16),
        convolution((1, 16, 8, 8), (2, 16, 3, 3)),
        product((3, 9), (9, 3), "mk,kn->mn"),
    ],
    ids=["depthwise", "two channels", "three columns"],
)
def test_products_too_narrow_for_lanes_are_left_to_the_general_loops(group):
    assert isinstance(choose_host_schedule(group, DEVICE), MapLoops)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rows": 9, "columns": 2}, "registers"),
        ({"columns": 8, "rows": 1}, "wider"),
        ({"staged": False, "split": -1}, "padded"),
        ({"weights": "direct"}, "neighbours"),
        ({"lane_axis": 2}, "lanes"),
    ],
)
def test_illegal_tiles_say_why(changes, complaint):
    group = GROUPS["three_by_three"]
    tiles = dataclasses.replace(choose_contract(group, DEVICE), **changes)
    assert complaint in tiles.why_illegal(group, DEVICE)


def test_a_schedule_survives_as_plain_data():
    for case in (CASES["grouped"], CASES["attention"]):
        assert host_schedule_from_dict(host_schedule_to_dict(case.schedule)) == case.schedule
