"""Whole networks as shaders: accepted by SPIR-V's validator, and right on the Vulkan driver that is here."""

import shutil
import subprocess

import pytest
from light_networks import LIGHT, artifact_of, expected_of, model_of, random_inputs, relative_error
from shader_runs import lanes_here, needs_vulkan

from mlirfuse import zoo
from mlirfuse.compiler import compile_artifact
from mlirfuse.options import CompileOptions
from mlirfuse.runtime import load

LIMIT = 1e-4


def complaints(artifact, folder):
    """What spirv-val says of the artifact's shaders."""
    [plan] = artifact.plans.values()
    found = []
    for name, image in plan.images.items():
        path = folder / "shader.spv"
        path.write_bytes(bytes(image.data))
        told = subprocess.run(["spirv-val", "--target-env", "vulkan1.1", path], capture_output=True, text=True)
        if told.returncode:
            found.append(f"{name}: {told.stderr.strip() or told.stdout.strip()}")
    assert plan.images
    return found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("spirv-val") is None, reason="spirv-val is not installed: apt-get install spirv-tools")
@pytest.mark.parametrize(
    ("name", "target"), [*((name, "vulkan") for name in LIGHT), ("shufflenet", "vulkan:intel-xe-lp")]
)
def test_shaders_are_valid_for_vulkan(name, target, tmp_path):
    assert complaints(artifact_of(name, target), tmp_path) == []


@pytest.mark.slow
@needs_vulkan
@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_right_on_a_vulkan_driver(name):
    inputs, expected = expected_of(name)
    assert relative_error(load(artifact_of(name, "vulkan")).run(inputs), expected) <= LIMIT


@pytest.mark.slow
@needs_vulkan
def test_right_with_subgroups():
    """Layer by layer: kernels of several layers take more memory in a block than the software driver has."""
    if lanes_here() < 8:
        pytest.skip("fewer than 8 neighbouring threads exchange values on this driver")
    inputs, expected = expected_of("shufflenet")
    made = compile_artifact(model_of("shufflenet"), "vulkan:intel-xe-lp", CompileOptions(fusion="no-cross-layer"))
    assert made.plans["intel-xe-lp"].metadata["subgroup"] == 8
    assert relative_error(load(made).run(inputs), expected) <= LIMIT


@pytest.mark.slow
@needs_vulkan
@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv1-ssd"])
def test_networks_of_the_zoo_agree_with_native_code(name):
    model = zoo.build(name)
    native, shaders = (compile_artifact(model, target, CompileOptions()) for target in ("cpu", "vulkan"))
    inputs = random_inputs(native.inputs)
    assert relative_error(load(shaders).run(inputs), load(native).run(inputs)) <= LIMIT
