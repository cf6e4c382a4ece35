"""A network of 16-bit floats end to end on every target, against the same network in single precision."""

import functools

import numpy as np
import pytest
from half_models import half_model
from light_networks import model_of, onnxruntime_outputs, random_inputs, relative_error
from shader_runs import needs_vulkan

from mlirfuse.cli.counting import count_traffic
from mlirfuse.compiler import compile_artifact
from mlirfuse.lowering.nvvm import ptxas
from mlirfuse.options import CompileOptions
from mlirfuse.runtime import load

pytestmark = pytest.mark.slow
LIMIT = 1e-2  # of the largest output: what `mlirfuse run --check` allows fp16
NAME = "squeezenet"


@functools.cache
def artifact_of(target, half=True):
    model = half_model(model_of(NAME)) if half else model_of(NAME)
    return compile_artifact(model, target, CompileOptions(strict=True))


@functools.cache
def expected():
    """Inputs that 16 bits hold, and what single precision gives for them."""
    inputs = random_inputs(artifact_of("simulator").inputs)
    single = {name: array.astype(np.float32) for name, array in inputs.items()}
    return inputs, onnxruntime_outputs(model_of(NAME), single)


@pytest.mark.parametrize(
    "target",
    [
        "simulator",
        "cpu",
        pytest.param("vulkan", marks=needs_vulkan),  # in words
        pytest.param("vulkan:portable-f16", marks=needs_vulkan),
    ],
)
def test_right_in_halves(target):
    inputs, wanted = expected()
    found = load(artifact_of(target)).run(inputs)
    assert all(array.dtype == np.float16 for array in found.values())
    assert relative_error({name: array.astype(np.float32) for name, array in found.items()}, wanted) <= LIMIT


def test_half_the_bytes_move():
    """What is reported is what the simulator counts, in launches of the same kinds as for single precision."""
    half, single = artifact_of("simulator"), artifact_of("simulator", half=False)
    counted = count_traffic(half)
    for said, found in zip(half.report["kernels"], counted["kernels"], strict=True):
        assert (said["dram_read_bytes"], said["dram_write_bytes"]) == (
            found["dram_read_bytes"],
            found["dram_write_bytes"],
        )
    halves, singles = half.report["totals"], single.report["totals"]
    assert halves["fallback_nodes"] == 0 and halves["launches"] <= singles["launches"] + 2
    assert halves["weight_bytes"] * 2 == pytest.approx(singles["weight_bytes"], rel=0.01)
    assert halves["dram_bytes"] == counted["totals"]["dram_bytes"] < 0.6 * singles["dram_bytes"]


@pytest.mark.skipif(not ptxas.available(), reason="ptxas is not installed (extra mlirfuse[ptxas])")
@pytest.mark.parametrize("chip", ["sm_80", "sm_90"])
def test_halves_assemble_without_spills(chip):
    kernels = artifact_of(f"cuda:{chip}").report["kernels"]
    assert kernels and all(k["registers"] for k in kernels)
    assert [k["name"] for k in kernels if k["spill_bytes"]] == []


def test_shaders_ask_for_halves_only_where_the_device_has_them():
    """What a plan needs is checked when it is loaded."""
    [native], [words] = (artifact_of(target).plans.values() for target in ("vulkan:portable-f16", "vulkan"))
    assert set(native.metadata["capabilities"]) == {"Float16", "StorageBuffer16BitAccess"}
    assert words.metadata["capabilities"] == []
