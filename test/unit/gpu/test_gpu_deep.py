"""Several anchors in one kernel on the simulator, with its checks of races and bounds."""

import dataclasses

import numpy as np
import pytest
from attention_groups import CASES, attention, grouped_queries, prologue_and_moves
from group_builder import GroupBuilder, random_operands, reference, to_memory

from mlirfuse.device import device_for
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.schedule.simt import RowTiles
from mlirfuse.lowering.schedule.simt_choice import choose_schedule
from mlirfuse.lowering.schedule.simt_deep import TILES, DeepTiles, choose_deep
from mlirfuse.lowering.schedule.simt_forms import schedule_from_dict, schedule_to_dict
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context
from mlirfuse.simulator import Kernel

DEVICE = device_for("sm_90")


def launch(group, schedule=None, operands=None):
    """The outputs of a group's kernel, and what the simulator counted."""
    schedule = schedule or choose_schedule(group, DEVICE)
    assert isinstance(schedule, DeepTiles)
    assert schedule.why_illegal(group, DEVICE) is None
    program = tile_program(group, schedule)
    with context():
        text = str(emit_kernel(program, "kernel"))
    operands = random_operands(group) if operands is None else operands
    buffers = [to_memory(a, group.types[v]) for a, v in zip(operands, group.inputs, strict=True)]
    outputs = [np.full(group.types[v].size, 55, np.float32) for v in group.outputs]
    counts = Kernel.from_text(text, "kernel").launch(
        program.tiles, (program.workers, 1, 1), buffers + outputs, mode="check"
    )
    return [o.reshape(group.types[v].dims) for o, v in zip(outputs, group.outputs, strict=True)], counts


def error(group, schedule=None):
    """The largest error relative to the largest element."""
    [found], _ = launch(group, schedule)
    [expected] = reference(group, random_operands(group))
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_attention_is_one_kernel(name):
    assert error(attention(**CASES[name])) < 2e-6


@pytest.mark.parametrize("make", [prologue_and_moves, grouped_queries])
def test_operands_are_read_through_what_moves_them(make):
    assert error(make()) < 2e-6


@pytest.mark.parametrize("rows", [1, 8, 16, 32])
@pytest.mark.parametrize("threads", TILES)
def test_any_number_of_rows_gives_the_same(rows, threads):
    group = attention(rows=37, keys=70, depth=12, width=20)
    chosen = choose_deep(group, DEVICE)
    first, row, _ = chosen.stages
    tile = TILES[threads][0]
    schedule = DeepTiles(threads, rows, (tile, dataclasses.replace(row, threads=threads), tile))
    assert first is not None
    assert error(group, schedule) < 2e-6


def test_a_tensor_between_anchors_never_reaches_memory():
    """What a launch moves is its operands and its result, each once: no byte of the scores."""
    group = attention(batch=1, heads=2, rows=64, keys=64, depth=32, width=32, mask=(1, 1, 1, 64))
    _, counts = launch(group)
    assert counts.dram_read_bytes == sum(group.types[v].bytes for v in group.inputs)
    assert counts.dram_write_bytes == sum(group.types[v].bytes for v in group.outputs)


def test_large_scores_do_not_overflow_and_a_row_of_minus_infinity_is_nan():
    group = attention(rows=6, keys=8, scale=None, mask=(1, 1, 6, 8))
    q, k, v, mask = random_operands(group)
    mask[:, :, 1, :5] = -np.inf
    mask[:, :, 2, :] = -np.inf
    mask[:, :, 3, :] = np.finfo(np.float32).min
    operands = [q * 200, k, v, mask]
    [found], _ = launch(group, operands=operands)
    [expected] = reference(group, operands)
    assert np.isnan(found[:, 2]).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def in_parts(group, rows, part, threads=128):
    """A schedule that walks rows in parts, the reduction carried."""
    tile = TILES[threads][1]
    return DeepTiles(threads, rows, (tile, RowTiles(threads, 32, False), tile), part)


@pytest.mark.parametrize(("rows", "part"), [(16, 16), (8, 48), (1, 24), (37, 8)])
def test_rows_walked_in_parts_give_the_same(rows, part):
    group = attention(rows=37, keys=96, depth=10, width=13, mask=(1, 1, 37, 96))
    assert error(group, in_parts(group, rows, part)) < 2e-6


def test_what_is_carried_stays_a_number_until_a_row_has_one():
    """A first part of -inf alone, growing maxima, and a row that is masked altogether."""
    group = attention(rows=6, keys=24, scale=None, mask=(1, 1, 6, 24))
    q, k, v, mask = random_operands(group)
    mask[:, :, 1, :9] = -np.inf
    mask[:, :, 2, :] = -np.inf
    mask[:, :, 3, :] = np.arange(24) * 50
    [found], _ = launch(group, in_parts(group, 4, 8), [q * 100, k, v, mask])
    [expected] = reference(group, [q * 100, k, v, mask])
    assert np.isnan(found[:, 2]).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_rows_too_long_to_keep_are_walked_in_parts():
    schedule = choose_deep(attention(heads=12, rows=4096, keys=4096, depth=64, width=64), DEVICE)
    assert schedule.part
    assert schedule.rows >= 32


def test_parts_that_do_not_divide_or_cannot_be_carried_are_refused():
    group = attention(rows=8, keys=96)
    assert "do not divide" in in_parts(group, 8, 36).why_illegal(group, DEVICE)
    b = GroupBuilder()
    x = b.op("contract", b.input(2, 32, 8), b.input(2, 8, 64), equation="amk,akn->amn")
    x = b.op("normalize", x, axes=(2,), epsilon=1e-5)
    group = b.group(b.op("contract", x, b.input(2, 64, 12), equation="amk,akn->amn"))
    assert "cannot be carried" in in_parts(group, 8, 32).why_illegal(group, DEVICE)


def test_a_normalisation_takes_the_place_of_the_softmax():
    b = GroupBuilder()
    x = b.op("contract", b.input(2, 33, 8), b.input(2, 8, 24), equation="amk,akn->amn")
    x = b.op("normalize", b.op("unary", x, kind="relu"), axes=(2,), epsilon=1e-5)
    x = b.op("contract", x, b.input(2, 24, 12), equation="amk,akn->amn")
    assert error(b.group(x)) < 2e-5


def test_schedules_survive_attributes():
    schedule = choose_schedule(attention(**CASES["odd sizes"]), DEVICE)
    assert schedule_from_dict(schedule_to_dict(schedule)) == schedule


def test_what_does_not_fit_in_shared_memory_is_refused():
    group = attention(rows=64, keys=4096)
    schedule = choose_schedule(group, DEVICE)
    assert isinstance(schedule, DeepTiles)
    assert "bytes of shared memory" in dataclasses.replace(schedule, rows=64, part=0).why_illegal(group, DEVICE)
