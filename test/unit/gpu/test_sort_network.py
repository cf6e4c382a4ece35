"""The sorting network and merge path in kernels, on the simulator with all its checks, against NumPy."""

import dataclasses

import numpy as np
import pytest
from group_builder import GroupBuilder, reference

from mlirfuse.device import CHIPS, GRAPHICS, device_for
from mlirfuse.dialect.sorting import LONGEST_RUN
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.schedule.simt import MapTiles
from mlirfuse.lowering.schedule.simt_choice import choose_schedule
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.lowering.schedule.sorting import SortTiles
from mlirfuse.mlir import context
from mlirfuse.simulator import Kernel

DEVICE = device_for("sm_90")


def launch(group, operands, schedule=None):
    """The outputs of a group's kernel."""
    schedule = schedule or choose_schedule(group, DEVICE)
    assert schedule.why_illegal(group, DEVICE) is None
    program = tile_program(group, schedule)
    with context():
        text = str(emit_kernel(program, "kernel"))
    buffers = [np.ascontiguousarray(a).reshape(-1) for a in operands]
    buffers = [a.view(a.dtype.name.removeprefix("u")) for a in buffers]  # buffers are signless
    outputs = [np.zeros(group.types[v].size, group.types[v].dtype) for v in group.outputs]
    Kernel.from_text(text, "kernel").launch(program.tiles, (program.workers, 1, 1), buffers + outputs, mode="check")
    return [o.reshape(group.types[v].dims) for o, v in zip(outputs, group.outputs, strict=True)]


def numbers(shape, dtype, seed=0):
    """Elements with ties; floats with zeros of both signs, infinities and NaN."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0 if dtype.startswith("u") else -9, 9, shape).astype(dtype)
    if dtype.startswith("float") and x.size > 5:
        x.reshape(-1)[:5] = np.nan, -0.0, np.inf, 0.0, -np.inf
    return x


def sort_group(shape, dtype, axis, run, keep, largest):
    b = GroupBuilder()
    x = b.input(*shape, dtype=dtype)
    return b.group(b.op("sort", x, axis=axis, run=run, keep=keep, largest=largest))


@pytest.mark.parametrize("largest", [False, True], ids=("smallest", "largest"))
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint64", "int32", "uint8"])
def test_positions_come_in_order_and_equal_elements_by_position(dtype, largest):
    group = sort_group((3, 70), dtype, 1, 64, 40, largest)
    x = numbers((3, 70), dtype)
    np.testing.assert_array_equal(launch(group, [x])[0], reference(group, [x])[0])


@pytest.mark.parametrize(
    ("shape", "axis", "run", "keep"),
    [((1,), 0, 64, 1), ((2,), 0, 2, 2), ((5, 33, 2), 1, 1024, 7), ((300,), 0, 128, 128), ((4, 3), 0, 3, 1)],
)
def test_runs_of_any_length(shape, axis, run, keep):
    group = sort_group(shape, "float32", axis, run, keep, True)
    x = numbers(shape, "float32", 1)
    np.testing.assert_array_equal(launch(group, [x], SortTiles(32))[0], reference(group, [x])[0])


def test_positions_by_counting_are_the_same():
    group = sort_group((2, 11, 3), "float32", 1, 4, 3, True)
    x = numbers((2, 11, 3), "float32", 4)
    np.testing.assert_array_equal(launch(group, [x], MapTiles(32, 1))[0], reference(group, [x])[0])


def test_what_follows_and_what_precedes_a_sort_share_its_kernel():
    b = GroupBuilder()
    order = b.op("sort", b.op("unary", b.input(4, 20), kind="abs"), axis=1, run=20, keep=5, largest=True)
    group = b.group(b.op("reshape", b.op("cast", order, to="float32"), shape=(20,)), order)
    x = numbers((4, 20), "float32", 2)
    for found, expected in zip(launch(group, [x]), reference(group, [x]), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("largest", [False, True], ids=("smallest", "largest"))
@pytest.mark.parametrize(
    ("shape", "axis", "run", "keep"),
    [((64,), 0, 16, 32), ((2, 50), 1, 16, 9), ((2, 50), 1, 16, 32), ((3, 17, 2), 1, 4, 8), ((5,), 0, 8, 5)],
)
def test_merged_runs_are_sorted(shape, axis, run, keep, largest):
    x = numbers(shape, "float32", 3)
    sorting = sort_group(shape, "float32", axis, run, run, largest)
    [order] = reference(sorting, [x])
    b = GroupBuilder()
    values, runs = b.input(*shape), b.input(*order.shape, dtype="int64")
    group = b.group(b.op("merge", values, runs, axis=axis, run=run, keep=keep, largest=largest))
    [found] = launch(group, [x, order], MapTiles(32, 1))
    np.testing.assert_array_equal(found, reference(group, [x, order])[0])


@pytest.mark.parametrize("device", [*CHIPS, *GRAPHICS])
def test_the_longest_run_fits_every_device(device):
    group = sort_group((4096,), "float64", 0, LONGEST_RUN, LONGEST_RUN, True)
    assert isinstance(choose_schedule(group, device_for(device)), SortTiles)


def test_a_sort_that_does_not_fit_is_refused_with_its_reason():
    group = sort_group((4096,), "float64", 0, LONGEST_RUN, LONGEST_RUN, True)
    small = dataclasses.replace(DEVICE, shared_bytes_per_block=8192)
    assert f"{12 * LONGEST_RUN} bytes of shared memory" in SortTiles().why_illegal(group, small)
    assert "no whole number of warps" in SortTiles(48).why_illegal(group, DEVICE)
    b = GroupBuilder()
    assert "one sort op" in SortTiles().why_illegal(b.group(b.op("unary", b.input(4), kind="abs")), DEVICE)
