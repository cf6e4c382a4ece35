"""Defects planted in a kernel's text are seen by what a Vulkan driver computes."""

import re

import numpy as np
import pytest
from block_groups import BLOCKS
from group_builder import GroupBuilder, random_operands, reference, to_memory
from shader_runs import launch_shader, needs_vulkan

from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context

pytestmark = needs_vulkan


@pytest.fixture(scope="module")
def product():
    """A product of two matrices in tiles through workgroup memory: the kernel's text, its buffers and the result."""
    b = GroupBuilder()
    group = b.group(b.op("contract", b.input(64, 48), b.input(48, 64), equation="mk,kn->mn"))
    return made(group, ContractTiles(32, 32, 8, 4, 4))


@pytest.fixture(scope="module")
def layers():
    """Three convolutions and an addition, what lies between them in workgroup memory."""
    tiled = ContractTiles(32, 32, 4, 4, 4)
    group, _ = BLOCKS["inverted residual"]()
    return made(group, CrossLayerTiles(64, (1, 3, 4, 4), (tiled, MapTiles(64), tiled)))


def made(group, schedule):
    """A kernel's text, its buffers and its result."""
    with context():
        text = str(emit_kernel(tile_program(group, schedule), "kernel"))
    operands = random_operands(group)
    buffers = [to_memory(a, group.types[v]) for a, v in zip(operands, group.inputs, strict=True)]
    return text, buffers, reference(group, operands)[0].reshape(-1)


def error(text, product):
    """The largest, relative to the largest element; without bound where memory that nobody wrote gives no numbers."""
    _, buffers, expected = product
    found = np.zeros_like(expected)
    launch_shader(text, [*buffers, found])
    largest = np.abs(found - expected).max() / np.abs(expected).max()
    return float(largest) if np.isfinite(largest) else np.inf


def test_the_kernel_is_right(product):
    assert error(product[0], product) < 1e-5


def test_barriers_that_are_missing_are_seen(product):
    assert "gpu.barrier" in product[0]
    assert error(product[0].replace("gpu.barrier", ""), product) > 1e-2


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


def test_the_kernel_of_several_layers_is_right(layers):
    assert error(layers[0], layers) < 1e-5


def test_barriers_that_are_missing_between_layers_are_seen(layers):
    assert layers[0].count("gpu.barrier") > 4
    assert error(layers[0].replace("gpu.barrier", ""), layers) > 1e-2


def test_a_wrong_index_between_layers_is_seen(layers):
    """The first slice of an operand is kept one element further than it is read."""
    at = re.compile(r"(affine\.store %\S+, %\S+\[symbol\(%thread_id_x\) \+ )(\d+)\]")
    wrong, count = at.subn(lambda found: f"{found[1]}{int(found[2]) + 1}]", layers[0], count=1)
    assert count == 1
    assert error(wrong, layers) > 1e-2


def test_a_wrong_tile_size_of_layers_is_seen(layers):
    """Boxes of the input lie two of its rows of eight apart instead of three."""
    wrong, count = re.subn(r"(arith\.muli %\S+, %c)24\b", r"\g<1>16", layers[0])
    assert count >= 1
    assert error(wrong, layers) > 1e-2
