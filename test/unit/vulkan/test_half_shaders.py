"""Kernels of 16-bit floats executed by a Vulkan driver: as its own type where it has that, else in words."""

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest
from half_groups import HALF_GROUPS, exact_and_operands, halved
from shader_runs import needs_vulkan, run_group, why_absent

from mlirfuse.device import device_for
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.schedule.simt_choice import choose_schedule, weight_layouts
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.lowering.spirv.shader import make_shader
from mlirfuse.mlir import context

NATIVE = device_for("mali-g710")  # as much memory in a block as Mesa's software driver has
IN_WORDS = dataclasses.replace(NATIVE, stores_halves=False)
ROUNDED = {"float16": 2.0**-10, "bfloat16": 2.0**-8}  # drivers may round float16 towards zero: a whole unit, relative


def has_halves():
    """Whether the driver loads and stores float16."""
    if why_absent():
        return False
    from mlirfuse.runtime.vulkan.device import adapters

    return "shader-f16" in adapters()[0].features


needs_halves = pytest.mark.skipif(not has_halves(), reason="this Vulkan driver has no shader-f16")


def scheduled(name, dtype="float16"):
    """A group and its schedule on the device, its weights in the order that this wants."""
    single, schedule = HALF_GROUPS[name]
    group = halved(single, dtype)
    schedule = schedule or choose_schedule(group, NATIVE)
    layouts = weight_layouts(group, schedule)
    types = tuple(dataclasses.replace(t, layout=layouts.get(v, t.layout)) for v, t in enumerate(group.types))
    return dataclasses.replace(group, types=types), schedule


def check(name, device, dtype="float16"):
    group, schedule = scheduled(name, dtype)
    expected, operands = exact_and_operands(HALF_GROUPS[name][0], dtype)
    found = run_group(group, operands, schedule, device)
    for made, wanted in zip(found, expected, strict=True):
        assert made.dtype == dtype
        assert np.abs(made.astype(np.float32) - wanted).max() <= (ROUNDED[dtype] + 1e-5) * np.abs(wanted).max()


@needs_vulkan
@needs_halves
@pytest.mark.parametrize("name", HALF_GROUPS)
def test_kernels_of_halves(name):
    check(name, NATIVE)


@needs_vulkan
@pytest.mark.parametrize("name", HALF_GROUPS)
def test_kernels_of_halves_in_words(name):
    check(name, IN_WORDS)


@needs_vulkan
@pytest.mark.parametrize("name", ["map of vectors", "convolution in register tiles", "softmax"])
def test_kernels_of_bfloat16(name):
    check(name, NATIVE, "bfloat16")


def kernel_of(name, dtype="float16"):
    with context():
        return str(emit_kernel(tile_program(*scheduled(name, dtype)), "kernel"))


@pytest.mark.parametrize("name", ["convolution in register tiles", "softmax", "fire"])
def test_what_the_device_must_have(name):
    with context():
        native, words = (make_shader(kernel_of(name), 0, halves) for halves in (True, False))
        brain = make_shader(kernel_of(name, "bfloat16"))
    assert native.capabilities == ("Float16", "StorageBuffer16BitAccess")
    assert words.capabilities == brain.capabilities == ()


@pytest.mark.skipif(shutil.which("spirv-val") is None, reason="spirv-val is not installed: apt-get install spirv-tools")
@pytest.mark.parametrize("halves", [True, False], ids=["as such", "in words"])
@pytest.mark.parametrize("name", HALF_GROUPS)
def test_shaders_are_valid(name, halves, tmp_path):
    path = tmp_path / "shader.spv"
    with context():
        path.write_bytes(make_shader(kernel_of(name), 0, halves).spirv)
    told = subprocess.run(["spirv-val", "--target-env", "vulkan1.1", path], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr or told.stdout
