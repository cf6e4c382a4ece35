"""Networks of the zoo on the simulator, against ONNX Runtime."""

import numpy as np
import pytest
from light_networks import onnxruntime_outputs, relative_error

from mlirfuse import zoo
from mlirfuse.compiler import compile_artifact
from mlirfuse.options import CompileOptions
from mlirfuse.runtime import load

LIMIT = 1e-3  # of the largest element of an output
NETWORKS = ("mobilenetv2", "shufflenetv2", "squeezenet1.1", "tinybert-s128")


def random_inputs(specs):
    """Normal numbers; integers are positions, masks and kinds of tokens: zero or one."""
    rng = np.random.default_rng(0)
    return {
        s.name: rng.standard_normal(s.shape, np.float32) if "float" in s.dtype
        else rng.integers(0, 2, s.shape).astype(s.dtype)
        for s in specs
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_right_on_the_simulator(name):
    model = zoo.build(name)
    executable = load(compile_artifact(model, "simulator", CompileOptions(strict=True)))
    inputs = random_inputs(executable.inputs)
    assert relative_error(executable.run(inputs), onnxruntime_outputs(model, inputs)) <= LIMIT
