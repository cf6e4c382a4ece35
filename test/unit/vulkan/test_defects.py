"""Defects planted in a kernel's text are seen by what a Vulkan driver computes."""

import re

import numpy as np
import pytest
from group_builder import GroupBuilder, random_operands, reference, to_memory
from shader_runs import launch_shader, needs_vulkan

from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.schedule.simt import ContractTiles
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context

pytestmark = needs_vulkan


@pytest.fixture(scope="module")
def product():
    """A product of two matrices in tiles through workgroup memory: the kernel's text, its buffers and the result."""
    b = GroupBuilder()
    group = b.group(b.op("contract", b.input(64, 48), b.input(48, 64), equation="mk,kn->mn"))
    with context():
        text = str(emit_kernel(tile_program(group, ContractTiles(32, 32, 8, 4, 4)), "kernel"))
    operands = random_operands(group)
    buffers = [to_memory(a, group.types[v]) for a, v in zip(operands, group.inputs, strict=True)]
    return text, buffers, reference(group, operands)[0].reshape(-1)


def error(text, product):
    _, buffers, expected = product
    found = np.zeros_like(expected)
    launch_shader(text, [*buffers, found])
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_the_kernel_is_right(product):
    assert error(product[0], product) < 1e-5


def test_barriers_that_are_missing_are_seen(product):
    assert "gpu.barrier" in product[0]
    assert not error(product[0].replace("gpu.barrier", ""), product) <= 1e-2  # what nobody wrote may be no number


def test_a_wrong_index_is_seen(product):
    """The first load of an operand reads one element further."""
    wrong, count = re.subn(r"(arith\.muli %\S+, %c)48(_?\d*)", r"\g<1>47\2", product[0], count=1)
    if not count:
        wrong, count = re.subn(r"\* 48\b", "* 47", product[0], count=1)
    assert count == 1
    assert error(wrong, product) > 1e-2


def test_a_wrong_tile_size_is_seen(product):
    """Blocks lie 28 columns apart instead of 32."""
    wrong, count = re.subn(r"\* 32\b", "* 28", product[0], count=1)
    assert count == 1
    assert error(wrong, product) > 1e-2
