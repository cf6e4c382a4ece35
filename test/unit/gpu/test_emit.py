"""Every kind of kernel, run on the simulator with all its checks, against the ops' NumPy definitions."""

import dataclasses

import numpy as np
import pytest
from group_builder import GroupBuilder, random_operands, reference, to_memory

from mlirfuse.device import device_for
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, RowTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_choice import choose_schedule, weight_layouts
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context
from mlirfuse.simulator import Kernel

DEVICE = device_for("sm_90")


def run(group, schedule=None):
    """Run a group's kernel; the largest error of its outputs relative to their largest element."""
    schedule = schedule or choose_schedule(group, DEVICE)
    assert schedule.why_illegal(group, DEVICE) is None
    layouts = weight_layouts(group, schedule)
    types = tuple(dataclasses.replace(t, layout=layouts.get(v, t.layout)) for v, t in enumerate(group.types))
    group = dataclasses.replace(group, types=types)
    program = tile_program(group, schedule)
    with context():
        text = str(emit_kernel(program, "kernel"))
    operands = random_operands(group)
    buffers = [to_memory(a, group.types[v]) for a, v in zip(operands, group.inputs, strict=True)]
    outputs = [to_memory(np.zeros(group.types[v].dims), group.types[v]) for v in group.outputs]
    Kernel.from_text(text, "kernel").launch(program.tiles, (program.workers, 1, 1), buffers + outputs, mode="check")
    worst = 0.0
    for v, found, expected in zip(group.outputs, outputs, reference(group, operands), strict=True):
        wanted = to_memory(expected, group.types[v]).astype(np.float64)
        worst = max(worst, float(np.abs(found - wanted).max() / max(1e-9, np.abs(wanted).max())))
    return worst


def residual_block():
    b = GroupBuilder()
    x, w, bias, other = b.input(1, 16, 14, 14), b.input(40, 16, 3, 3), b.input(1, 40, 1, 1), b.input(1, 40, 14, 14)
    conv = b.conv(x, w, pads=(1, 1, 1, 1))
    total = b.op("binary", b.op("binary", conv, bias, kind="add"), other, kind="add")
    return b, conv, b.op("unary", total, kind="relu")


@pytest.mark.parametrize(
    "schedule",
    [
        None,
        ContractTiles(64, 32, 8, 4, 4),
        ContractTiles(32, 32, 16, 4, 4),
        ContractTiles(128, 64, 8, 8, 4),
        ContractTiles(32, 32, 32, 4, 4, k_groups=4),
        ContractTiles(64, 32, 16, 4, 4, k_groups=2),
        MapTiles(128, 1),
    ],
    ids=str,
)
def test_convolution_with_residual_epilogue(schedule):
    b, _, y = residual_block()
    assert run(b.group(y), schedule) < 2e-5


def test_a_value_before_the_activation_may_be_an_output_too():
    b, conv, y = residual_block()
    assert run(b.group(y, conv)) < 2e-5


@pytest.mark.parametrize(
    "schedule", [None, ContractTiles(32, 32, 16, 4, 4), ContractTiles(16, 16, 16, 4, 4, k_groups=4)], ids=str
)
def test_grouped_strided_convolution_then_channel_shuffle(schedule):
    b = GroupBuilder()
    y = b.conv(b.input(2, 16, 15, 15), b.input(40, 4, 3, 3), strides=(2, 2), pads=(1, 0, 1, 0), groups=4)
    n, _, h, w = b.types[y].dims
    y = b.op("reshape", y, shape=(n, 4, 10, h * w))
    y = b.op("transpose", y, perm=(0, 2, 1, 3))
    assert run(b.group(y), schedule) < 2e-5


def test_prologue_before_a_convolution_is_applied_to_what_is_read_and_not_to_padding():
    b = GroupBuilder()
    x = b.op("unary", b.op("binary", b.input(1, 8, 9, 9), b.input(1, 8, 1, 1), kind="add"), kind="sigmoid")
    y = b.conv(x, b.input(16, 8, 3, 3), pads=(1, 1, 1, 1))
    assert run(b.group(y), ContractTiles(32, 32, 16, 4, 4)) < 2e-5


@pytest.mark.parametrize(
    ("shape", "weight", "options"),
    [
        ((1, 12, 20), (8, 12, 5), {"pads": (2, 2), "dilations": (2,)}),
        ((1, 4, 6, 7, 8), (8, 4, 3, 3, 3), {"pads": (1,) * 6, "strides": (1, 2, 1)}),
        ((1, 8, 7, 7), (12, 8, 3, 3), {"pads": (1, 1, 2, 2), "input_dilation": (2, 2)}),
        ((1, 16, 12, 12), (16, 1, 3, 3), {"pads": (1, 1, 1, 1), "groups": 16}),
    ],
    ids=["1-D dilated", "3-D", "transposed", "depthwise"],
)
def test_convolutions_of_other_kinds(shape, weight, options):
    b = GroupBuilder()
    assert run(b.group(b.conv(b.input(*shape), b.input(*weight), **options))) < 2e-5


@pytest.mark.parametrize(
    ("a", "c", "equation"),
    [
        ((64, 100), (100, 70), "mk,kn->mn"),
        ((1, 128), (70, 128), "mk,nk->mn"),
        ((3, 33, 20), (3, 20, 18), "bmk,bkn->bmn"),
        ((2, 4, 17, 8), (2, 4, 19, 8), "bhmk,bhnk->bhmn"),
        ((5, 40, 30), (30, 36), "bmk,kn->bmn"),
    ],
)
def test_contractions(a, c, equation):
    b = GroupBuilder()
    assert run(b.group(b.op("contract", b.input(*a), b.input(*c), equation=equation))) < 2e-5


@pytest.mark.parametrize("kind", ["max", "mean", "sum"])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1)])
def test_pooling(kind, pads):
    b = GroupBuilder()
    assert run(b.group(b.pool(b.input(3, 16, 24, 24), kind, (3, 3), (2, 2), pads, (12, 12)))) < 1e-6


def test_local_response_normalisation_is_one_kernel():
    b = GroupBuilder()
    x = b.input(1, 16, 24, 24)
    total = b.pool(b.op("unary", x, kind="square"), "sum", (5,), (1,), (2, 2), (16,), axes=(1,))
    scaled = b.op("binary", b.op("binary", total, b.splat(1e-4), kind="mul"), b.splat(1.0), kind="add")
    y = b.op("binary", x, b.op("binary", scaled, b.splat(0.75), kind="pow"), kind="div")
    assert run(b.group(y)) < 1e-6


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("shape", [(2, 1000), (50, 100), (3, 7)])
def test_softmax(shape, log):
    b = GroupBuilder()
    assert run(b.group(b.op("softmax", b.input(*shape), axes=(1,), log=log))) < 1e-6


def test_a_row_too_long_for_shared_memory_is_read_again():
    b = GroupBuilder()
    y = b.op("softmax", b.input(2, 300), axes=(1,), log=False)
    assert run(b.group(y), RowTiles(256, 256, False)) < 1e-6


def test_normalisation_over_two_axes():
    b = GroupBuilder()
    y = b.op(
        "binary", b.op("normalize", b.input(2, 8, 12, 12), axes=(2, 3), epsilon=1e-5), b.input(1, 8, 1, 1), kind="mul"
    )
    assert run(b.group(y)) < 1e-5


@pytest.mark.parametrize("schedule", [RowTiles(), RowTiles(256, 256, False), MapTiles(128, 1)], ids=str)
def test_normalisation_that_is_not_centred(schedule):
    b = GroupBuilder()
    y = b.op("normalize", b.op("unary", b.input(5, 300), kind="exp"), axes=(1,), epsilon=1e-5, centred=False)
    assert run(b.group(y), schedule) < 1e-5


@pytest.mark.parametrize("schedule", [TeamTiles(), TeamTiles(256, 256, 1), MapTiles(128, 1)], ids=str)
@pytest.mark.parametrize("kind", ["mean", "max", "sum"])
def test_reductions_with_prologue(kind, schedule):
    b = GroupBuilder()
    x = b.op("unary", b.input(2, 16, 9, 9), kind="relu")
    assert run(b.group(b.op("reduce", x, kind=kind, axes=(2, 3), keepdims=True)), schedule) < 1e-5


def test_argmax_takes_the_first_of_equals():
    b = GroupBuilder()
    assert run(b.group(b.op("reduce", b.input(6, 10, dtype="int32"), kind="argmax", axes=(1,), keepdims=False))) == 0


def test_elementwise_in_vectors_of_four():
    b = GroupBuilder()
    y = b.op("unary", b.op("binary", b.input(1, 16, 32, 32), b.input(1, 16, 1, 1), kind="mul"), kind="tanh")
    assert run(b.group(y), MapTiles(256, 4)) < 1e-6


def test_data_movement_is_index_arithmetic():
    b = GroupBuilder()
    y = b.op("concat", b.input(1, 16, 9, 9), b.input(1, 8, 9, 9), axis=1)
    y = b.op("transpose", b.op("reshape", y, shape=(1, 2, 12, 9, 9)), perm=(0, 2, 1, 3, 4))
    y = b.op("pad", b.op("reshape", y, shape=(1, 24, 9, 9)), low=(0, 0, 1, 1), high=(0, 0, 1, 2), mode="reflect")
    assert run(b.group(y)) == 0


def test_gather_then_cast():
    b = GroupBuilder()
    y = b.op("cast", b.op("gather", b.input(5, 16), b.input(3, 2, dtype="int64"), axis=0), to="int32")
    assert run(b.group(y)) == 0


def test_integers_and_booleans():
    b = GroupBuilder()
    x, y = b.input(4, 8, dtype="int64"), b.input(4, 8, dtype="int64")
    chosen = b.op("select", b.op("binary", x, y, kind="less"), x, b.op("binary", y, b.splat(3, "int64"), kind="mod"))
    assert run(b.group(chosen, b.op("binary", x, chosen, kind="equal"))) == 0


def test_channels_last_operands_and_results():
    b, _, y = residual_block()
    assert run(b.group(y, layouts={0: (0, 2, 3, 1), 3: (0, 2, 3, 1), y: (0, 2, 3, 1)})) < 2e-5
