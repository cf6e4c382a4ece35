"""Softmax, normalisation and reductions by rows, with lanes along rows and across them, against NumPy definitions."""

import dataclasses

import pytest
from cpu_cases import DEVICE, Case
from group_builder import GroupBuilder

from mlirfuse.lowering.schedule.host import choose_host_schedule
from mlirfuse.lowering.schedule.host_map import MapLoops
from mlirfuse.lowering.schedule.host_rows import RowLoops

NHWC = (0, 2, 3, 1)


def softmax(shape, axes, log=False, layout=None, scaled=False):
    b = GroupBuilder()
    x = b.input(*shape, layout=layout)
    source = b.op("binary", x, b.splat(0.5), kind="mul") if scaled else x
    y = b.op("softmax", source, axes=axes, log=log)
    return b.group(y, layouts={y: layout})


def layer_norm(shape, axes, layout=None, **attrs):
    b = GroupBuilder()
    x, other = b.input(*shape, layout=layout), b.input(*shape, layout=layout)
    y = b.op("normalize", b.op("binary", x, other, kind="add"), axes=axes, epsilon=1e-5, **attrs)
    scale = b.input(*(d if a in axes else 1 for a, d in enumerate(shape)))
    y = b.op("binary", y, scale, kind="mul")
    return b.group(y, layouts={y: layout})


def reduction(kind, shape, axes, keepdims=True, layout=None):
    b = GroupBuilder()
    x = b.op("unary", b.input(*shape, layout=layout), kind="tanh")
    return b.group(b.op("unary", b.op("reduce", x, kind=kind, axes=axes, keepdims=keepdims), kind="square"))


def flattened_softmax():
    b = GroupBuilder()
    y = b.op("softmax", b.op("reshape", b.input(2, 3, 4, 5), shape=(6, 20)), axes=(1,), log=False)
    return b.group(b.op("reshape", y, shape=(2, 3, 4, 5)))


def scores_without_background():
    """Class scores as detectors end: a softmax, all but the first class, in one dimension."""
    b = GroupBuilder()
    scores = b.op("softmax", b.input(12, 19), axes=(1,), log=False)
    kept = b.op("slice", scores, starts=(0, 1), sizes=(12, 18), steps=(1, 1))
    return b.group(b.op("reshape", kept, shape=(1, 216)))


GROUPS = {
    "softmax": softmax((3, 1000), (1,)),
    "short_softmax": softmax((40, 7), (1,)),
    "softmax_of_scaled": softmax((4, 12, 35), (2,), scaled=True),
    "log_softmax": softmax((5, 77), (1,), log=True),
    "softmax_across_rows": softmax((2, 10, 5, 13), (1,)),
    "softmax_channels_last": softmax((2, 40, 5, 3), (1,), layout=NHWC),
    "softmax_of_planes_channels_last": softmax((2, 11, 5, 3), (2, 3), layout=NHWC, log=True),
    "softmax_of_everything": softmax((3, 5, 7), (0, 1, 2)),
    "flattened_softmax": flattened_softmax(),
    "scores_without_background": scores_without_background(),
    "layer_norm": layer_norm((6, 9, 100), (2,)),
    "root_mean_square_norm": layer_norm((6, 9, 100), (2,), centred=False),
    "root_mean_square_norm_across_rows": layer_norm((2, 20, 5, 5), (2, 3), NHWC, centred=False),
    "instance_norm": layer_norm((2, 9, 5, 5), (2, 3)),
    "instance_norm_channels_last": layer_norm((2, 20, 5, 5), (2, 3), NHWC),
    "mean_of_planes": reduction("mean", (2, 16, 7, 7), (2, 3)),
    "sum_of_all": reduction("sum", (7, 9, 11), (0, 1, 2), False),
    "largest_of_rows": reduction("max", (5, 130), (1,), False),
    "product_of_channels": reduction("prod", (2, 19, 3, 3), (1,), layout=NHWC),
    "middle_axis_of_three": reduction("min", (4, 9, 33), (0, 2)),
}


NORMS = ("layer_norm", "root_mean_square_norm")


def cases():
    found = {name: Case(group) for name, group in GROUPS.items()}
    for name in ("softmax", "log_softmax", "softmax_across_rows", "instance_norm_channels_last", *NORMS):
        found[f"{name}_read_again"] = Case(GROUPS[name], dataclasses.replace(found[name].schedule, kept=False))
    for name in ("short_softmax", "softmax_channels_last", "largest_of_rows"):
        found[f"{name}_cut"] = Case(GROUPS[name], dataclasses.replace(found[name].schedule, tiles=3))
    return found


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_rows_agree_with_the_definition(name, entries):
    assert isinstance(CASES[name].schedule, RowLoops)
    assert CASES[name].run(entries[name]) < 2e-5


def test_a_reduction_whose_channels_stay_innermost_is_left_to_the_general_loops():
    group = reduction("mean", (1, 64, 7, 7), (2, 3), layout=NHWC)
    assert isinstance(choose_host_schedule(group, DEVICE), MapLoops)


def test_illegal_rows_say_why():
    group = GROUPS["softmax"]
    assert "tiles" in RowLoops(8, 4, True).why_illegal(group, DEVICE)
    assert "lanes" in RowLoops(16, 1, True).why_illegal(GROUPS["softmax_across_rows"], DEVICE)
    assert "scratch" in RowLoops(8, 1, True).why_illegal(softmax((1, 100_000), (1,)), DEVICE)
