"""A group's kernel on the simulator, with its checks of races and bounds, against NumPy."""

import dataclasses

import numpy as np
from group_builder import random_operands, reference, to_memory

from mlirfuse.device import device_for
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.schedule.simt_choice import choose_schedule, weight_layouts
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context
from mlirfuse.simulator import Kernel

DEVICE = device_for("sm_90")


def launch(group, schedule=None):
    """The largest error of a group's kernel relative to its largest element, and what the simulator counted."""
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
    outputs = [np.full(group.types[v].size, 55, np.float32) for v in group.outputs]
    counts = Kernel.from_text(text, "kernel").launch(
        program.tiles, (program.workers, 1, 1), buffers + outputs, mode="check"
    )
    worst = 0.0
    for v, found, expected in zip(group.outputs, outputs, reference(group, operands), strict=True):
        wanted = to_memory(expected, group.types[v])
        worst = max(worst, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    return worst, counts
