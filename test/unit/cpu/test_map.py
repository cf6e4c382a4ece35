"""Every kind of op through the generic loops, on row-major and on other layouts, against the ops' NumPy definitions.

All kernels are compiled in one module, since starting LLVM costs more than most of them.
"""

import dataclasses
import random

import pytest
from cpu_cases import DEVICE, Case
from group_builder import GroupBuilder

from mlirfuse.lowering.schedule.host_map import MapLoops, map_sections
from mlirfuse.lowering.schedule.host_map_choice import choose_map, price_map
from mlirfuse.mlir import context, ir

NHWC = (0, 2, 3, 1)
GROUPS = {}


def group(make):
    """Register what `make(builder)` returns (a value, or several) as the outputs of a group."""
    builder = GroupBuilder()
    made = make(builder)
    outputs = made if isinstance(made, tuple) else (made,)
    GROUPS[make.__name__] = builder.group(*outputs)
    return make


@group
def tanh_of_scaled_channels(b):
    return b.op("unary", b.op("binary", b.input(1, 16, 9, 7), b.input(1, 16, 1, 1), kind="mul"), kind="tanh")


@group
def one_element(b):
    return b.op("unary", b.input(), kind="exp")


@group
def three_elements(b):
    return b.op("unary", b.input(3), kind="sigmoid")


@group
def a_long_vector(b):
    return b.op("unary", b.input(100_003), kind="relu")


@group
def outputs_of_two_shapes(b):
    x = b.op("unary", b.input(2, 8, 6), kind="relu")
    return x, b.op("transpose", x, perm=(2, 0, 1))


@group
def integers_and_booleans(b):
    x, y = b.input(4, 11, dtype="int64"), b.input(4, 11, dtype="int64")
    chosen = b.op("select", b.op("binary", x, y, kind="less"), x, b.op("binary", y, b.splat(3, "int64"), kind="mod"))
    return chosen, b.op("binary", x, chosen, kind="equal")


@group
def casts(b):
    x = b.input(5, 20)
    return (
        b.op("cast", x, to="int32"),
        b.op("cast", x, to="float16"),
        b.op("cast", b.op("cast", x, to="bool"), to="float64"),
    )


@group
def bytes_add(b):
    return b.op("binary", b.input(40, dtype="uint8"), b.input(40, dtype="uint8"), kind="add")


@group
def data_movement(b):
    y = b.op("concat", b.input(1, 16, 9, 9), b.input(1, 8, 9, 9), axis=1)
    y = b.op("transpose", b.op("reshape", y, shape=(1, 2, 12, 9, 9)), perm=(0, 2, 1, 3, 4))
    return b.op("pad", b.op("reshape", y, shape=(1, 24, 9, 9)), low=(0, 0, 1, 1), high=(0, 0, 1, 2), mode="reflect")


@group
def padded_and_cropped(b):
    return b.op("pad", b.input(2, 7, 9), low=(0, 2, -1), high=(0, 1, 3), mode="constant", value=1.5)


@group
def reversed_slice(b):
    return b.op("slice", b.input(2, 16, 9), starts=(0, 15, 1), sizes=(2, 8, 4), steps=(1, -2, 2))


@group
def gathered_rows_then_cast(b):
    return b.op("cast", b.op("gather", b.input(5, 16), b.input(3, 2, dtype="int64"), axis=0), to="int32")


@group
def gathered_columns(b):
    return b.op("gather", b.input(4, 9), b.input(10, dtype="int32"), axis=1)


@group
def expanded(b):
    return b.op("expand", b.input(1, 5, 1), shape=(3, 5, 17))


@group
def max_pool(b):
    return b.pool(b.input(2, 16, 11, 11), "max", (3, 3), (2, 2), (0, 0, 1, 1), (6, 6))


@group
def mean_pool_of_what_is_inside(b):
    return b.pool(b.input(1, 24, 11, 11), "mean", (3, 3), (2, 2), (1, 1, 1, 1), (6, 6))


@group
def mean_pool_with_padding(b):
    return b.pool(b.input(1, 8, 9, 9), "mean", (3, 3), (1, 1), (1, 1, 1, 1), (9, 9), count_include_pad=True)


@group
def local_response_normalisation(b):
    x = b.input(1, 16, 6, 6)
    total = b.pool(b.op("unary", x, kind="square"), "sum", (5,), (1,), (2, 2), (16,), axes=(1,))
    scaled = b.op("binary", b.op("binary", total, b.splat(1e-4), kind="mul"), b.splat(1.0), kind="add")
    return b.op("binary", x, b.op("binary", scaled, b.splat(0.75), kind="pow"), kind="div")


@group
def windows_of_wide_rows(b):
    return b.pool(b.input(1, 2, 6, 45), "sum", (3, 5), (1, 1), (1, 2, 1, 2), (6, 45))


@group
def padded_before_a_window(b):
    x = b.op("pad", b.input(1, 2, 5, 40), low=(0, 0, 0, 3), high=(0, 0, 0, 2), mode="constant", value=0.5)
    return b.pool(x, "max", (1, 3), (1, 1), (0, 1, 0, 1), (5, 45))


@group
def depthwise(b):
    y = b.conv(b.input(1, 40, 12, 12), b.input(40, 1, 3, 3), pads=(1, 1, 1, 1), groups=40)
    return b.op("unary", b.op("binary", y, b.input(1, 40, 1, 1), kind="add"), kind="clip", alpha=0.0, beta=6.0)


@group
def strided_depthwise(b):
    return b.conv(b.input(1, 16, 12, 12), b.input(16, 1, 3, 3), strides=(2, 2), pads=(0, 0, 1, 1), groups=16)


@group
def transposed_convolution(b):
    return b.conv(b.input(1, 8, 7, 7), b.input(12, 8, 3, 3), pads=(1, 1, 2, 2), input_dilation=(2, 2))


@group
def integer_convolution(b):
    return b.conv(b.input(1, 3, 6, 6, dtype="int32"), b.input(4, 3, 3, 3, dtype="int32"))


@group
def double_product(b):
    return b.op("contract", b.input(5, 9, dtype="float64"), b.input(9, 18, dtype="float64"), equation="mk,kn->mn")


@group
def softmax_of_rows(b):
    return b.op("softmax", b.input(3, 21), axes=(1,), log=False)


@group
def logarithmic_softmax_of_channels(b):
    return b.op("softmax", b.input(2, 10, 4, 8), axes=(1,), log=True)


@group
def normalised_planes(b):
    y = b.op("normalize", b.input(2, 8, 5, 5), axes=(2, 3), epsilon=1e-5)
    return b.op("binary", y, b.input(1, 8, 1, 1), kind="mul")


@group
def mean_of_planes(b):
    return b.op("reduce", b.op("unary", b.input(2, 16, 5, 5), kind="relu"), kind="mean", axes=(2, 3), keepdims=True)


@group
def product_of_rows(b):
    return b.op("reduce", b.input(4, 19), kind="prod", axes=(1,), keepdims=False)


@group
def first_of_the_largest(b):
    return b.op("reduce", b.input(6, 10, dtype="int32"), kind="argmax", axes=(1,), keepdims=False)


@group
def last_of_the_smallest(b):
    return b.op("reduce", b.input(6, 10, dtype="int32"), kind="argmin", axes=(0,), keepdims=True, select_last=True)


def shuffled(original, seed):
    """The group with a random layout for every operand and output."""
    rng = random.Random(seed)
    shown = {*original.inputs, *original.outputs}

    def layout(v, t):
        order = rng.sample(range(t.rank), t.rank)
        return dataclasses.replace(t, layout=tuple(order)) if v in shown else t

    return dataclasses.replace(original, types=tuple(layout(v, t) for v, t in enumerate(original.types)))


def many_tiles(original):
    """The chosen loops cut into as many tiles as they allow, up to 3 x 2."""
    schedule = choose_map(original, DEVICE)
    sections = map_sections(original, schedule)
    vectors = [max(1, s.inner_size // s.width) for s in sections]
    return dataclasses.replace(
        schedule, outer=tuple(min(3, s.outer_size) for s in sections), inner=tuple(-(-v // -(-v // 2)) for v in vectors)
    )


def windows_over_channels_last():
    """Windows that slide over the lanes, of several vectors."""
    b = GroupBuilder()
    x = b.input(1, 96, 3, 5)
    total = b.pool(b.op("unary", x, kind="square"), "sum", (5,), (1,), (2, 2), (96,), axes=(1,))
    y = b.op("binary", x, total, kind="sub")
    return b.group(y, layouts={x: NHWC, y: NHWC})


def cases():
    found = {}
    for name, original in GROUPS.items():
        found[name] = Case(original)
        found[f"{name}_cut"] = Case(original, many_tiles(original))
        if any(t.rank > 1 for t in original.types):
            mixed = shuffled(original, name)
            found[f"{name}_in_other_layouts"] = Case(mixed, many_tiles(mixed))
    channels_last = dataclasses.replace(
        GROUPS["depthwise"],
        types=tuple(
            dataclasses.replace(t, layout={(1, 40, 12, 12): NHWC, (40, 1, 3, 3): (1, 2, 3, 0)}.get(t.dims))
            for t in GROUPS["depthwise"].types
        ),
    )
    found["depthwise_channels_last"] = Case(channels_last)
    slid = windows_over_channels_last()
    found["windows_over_channels_last"] = Case(slid)
    found["windows_over_channels_last_cut"] = Case(slid, many_tiles(slid))
    strided = GROUPS["tanh_of_scaled_channels"]
    found["slice_of_a_larger_buffer"] = Case(
        strided, output_strides={strided.outputs[0]: (5000, 100, 10, 1)}, input_strides={0: (1, 2, 300, 40)}
    )
    return found


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_elements_agree_with_the_definition(name, entries):
    assert CASES[name].run(entries[name]) < 2e-5


def test_channel_lanes_are_chosen_for_channels_last_pooling():
    b = GroupBuilder()
    y = b.pool(b.input(1, 64, 12, 12), "max", (3, 3), (2, 2), (0, 0, 1, 1), (6, 6))
    loops = choose_map(b.group(y, layouts={0: NHWC, y: NHWC}), DEVICE)
    assert loops.collapse == (1,) and loops.widths[0] % (DEVICE.vector_bytes // 4) == 0 and loops.rows == (4,)


def test_vectors_within_an_operand_are_read_whole():
    """Of a window over the lanes, only the vectors that a border cuts are read lane by lane."""
    case = Case(windows_over_channels_last())
    assert case.schedule.widths[0] >= DEVICE.vector_bytes // 4
    with context():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            text = str(case.emit("kernel"))
    branches = [lines.split("} else {")[0] for lines in text.split("-> (vector<")[1:] if "} else {" in lines]
    assert branches and all("vector.load" in inside and "memref.load" not in inside for inside in branches)


def test_windows_over_lanes_cost_by_the_vectors_that_borders_cut():
    costs = []
    for layout in (NHWC, None):
        b = GroupBuilder()
        x = b.input(1, 64, 8, 64)
        y = b.pool(x, "sum", (5,), (1,), (2, 2), (64,), axes=(1,))
        costs.append(price_map(b.group(y, layouts={x: layout, y: layout}), DEVICE)[0])
    assert costs[0] < 10 * costs[1]


def test_element_wise_loops_forget_the_shape():
    b = GroupBuilder()
    y = b.op("unary", b.input(3, 5, 7), kind="relu")
    assert choose_map(b.group(y), DEVICE).collapse == (3,)


def test_illegal_loops_say_why():
    b = GroupBuilder()
    original = b.group(b.op("unary", b.input(3, 5), kind="relu"))
    assert "sections" in MapLoops((1, 1), (8, 8), (1, 1), (1, 1), (1, 1)).why_illegal(original, DEVICE)
    assert "dimensions" in MapLoops((4,), (8,), (1,), (1,), (1,)).why_illegal(original, DEVICE)
    assert "registers" in MapLoops((1,), (4096,), (1,), (1,), (1,)).why_illegal(original, DEVICE)
