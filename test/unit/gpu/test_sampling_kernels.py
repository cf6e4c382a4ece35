"""Kernels that read between elements, on the simulator with all its checks, against their NumPy definitions."""

import numpy as np
import pytest
from group_builder import random_operands, reference, to_memory
from sampling_groups import GROUPS

from mlirfuse.device import device_for
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.schedule.simt_choice import choose_schedule
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context
from mlirfuse.simulator import Kernel


@pytest.mark.parametrize("name", GROUPS)
def test_samples_are_those_of_the_definition(name):
    group = GROUPS[name]
    program = tile_program(group, choose_schedule(group, device_for("sm_90")))
    with context():
        text = str(emit_kernel(program, "kernel"))
    operands = random_operands(group)
    buffers = [to_memory(a, group.types[v]) for a, v in zip(operands, group.inputs, strict=True)]
    [y] = group.outputs
    found = to_memory(np.zeros(group.types[y].dims), group.types[y])
    Kernel.from_text(text, "kernel").launch(program.tiles, (program.workers, 1, 1), [*buffers, found], mode="check")
    [expected] = reference(group, operands)
    np.testing.assert_allclose(found, to_memory(expected, group.types[y]), rtol=1e-4, atol=1e-4)
