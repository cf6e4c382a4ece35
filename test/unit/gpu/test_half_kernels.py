"""Kernels of 16-bit floats on the simulator: computed in single precision, rounded when stored, counted by bytes."""

import dataclasses
import re

import numpy as np
import pytest
from group_builder import to_memory
from half_groups import HALF_GROUPS, exact_and_operands, halved

from mlirfuse.device import device_for
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.groups.traffic import launch_traffic
from mlirfuse.lowering.nvvm.compile import compile_kernels
from mlirfuse.lowering.schedule.side_by_side import SideBySide
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles
from mlirfuse.lowering.schedule.simt_choice import choose_schedule, weight_layouts
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles
from mlirfuse.lowering.schedule.simt_deep import DeepTiles
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context
from mlirfuse.simulator import Kernel

DEVICE = device_for("sm_90")
ROUNDED = {"float16": 2.0**-11, "bfloat16": 2.0**-8}  # half a unit in the last place, relative


def scheduled(group, schedule):
    """The group with its weights in the order that the schedule wants, and the schedule."""
    schedule = schedule or choose_schedule(group, DEVICE)
    assert schedule.why_illegal(group, DEVICE) is None
    layouts = weight_layouts(group, schedule)
    types = tuple(dataclasses.replace(t, layout=layouts.get(v, t.layout)) for v, t in enumerate(group.types))
    return dataclasses.replace(group, types=types), schedule


def kernel_text(group, schedule):
    with context():
        return str(emit_kernel(tile_program(group, schedule), "kernel"))


BRAIN = ("map of vectors", "convolution in register tiles", "attention")  # the rest differs in nothing


@pytest.mark.parametrize(("name", "dtype"), [*((n, "float16") for n in HALF_GROUPS), *((n, "bfloat16") for n in BRAIN)])
def test_only_operands_and_results_are_rounded(name, dtype):
    single, schedule = HALF_GROUPS[name]
    group, schedule = scheduled(halved(single, dtype), schedule)
    expected, operands = exact_and_operands(single, dtype)
    buffers = [to_memory(a, group.types[v]) for a, v in zip(operands, group.inputs, strict=True)]
    outputs = [np.full(group.types[v].size, 55, dtype) for v in group.outputs]
    program = tile_program(group, schedule)
    counts = Kernel.from_text(kernel_text(group, schedule), "kernel").launch(
        program.tiles, (program.workers, 1, 1), buffers + outputs, mode="check"
    )
    for v, made, wanted in zip(group.outputs, outputs, expected, strict=True):
        wanted = to_memory(wanted, dataclasses.replace(group.types[v], dtype="float32"))
        assert np.abs(made.astype(np.float32) - wanted).max() <= (ROUNDED[dtype] + 1e-5) * np.abs(wanted).max()
    told = launch_traffic(group, tile=getattr(schedule, "tile", None))
    if not isinstance(schedule, SideBySide):
        assert counts.dram_read_bytes + counts.dram_write_bytes == told.bytes
    assert counts.dram_write_bytes == sum(-(-group.types[v].bytes // 32) * 32 for v in group.outputs)


def test_every_kind_of_kernel_is_chosen_for_halves():
    """As for single precision: the type of what is stored decides nothing."""
    for name, kind in [
        ("product in register tiles", ContractTiles),
        ("attention", DeepTiles),
        ("side by side", SideBySide),
        ("fire", CrossLayerTiles),
    ]:
        group, _ = HALF_GROUPS[name]
        assert type(choose_schedule(halved(group), DEVICE)) is type(choose_schedule(group, DEVICE)) is kind


def test_vectors_of_four_are_eight_bytes():
    group, _ = HALF_GROUPS["map of vectors"]
    text = kernel_text(halved(group), MapTiles(32, 4))
    ptx = compile_kernels({"kernel": text}, DEVICE.chip, assemble=False, isolated=False)["kernel"].ptx
    assert re.search(r"ld\.global\.nc\.v(2\.b32|4\.b16)", ptx) and re.search(r"st\.global\.v(2\.b32|4\.b16)", ptx)
