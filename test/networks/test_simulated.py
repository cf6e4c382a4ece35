"""Networks of the zoo on the simulator, against ONNX Runtime."""

import onnxruntime
import pytest
from light_networks import relative_error

from mlirfuse import zoo
from mlirfuse.compiler import compile_artifact
from mlirfuse.options import CompileOptions
from mlirfuse.runtime import load
from mlirfuse.runtime.inputs import random_inputs

LIMIT = 1e-3  # of the largest element of an output
NETWORKS = ("mobilenetv2", "shufflenetv2", "squeezenet1.1", "tinybert-s128")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_right_on_the_simulator(name):
    model = zoo.build(name)
    executable = load(compile_artifact(model, "simulator", CompileOptions(strict=True)))
    inputs = {s.name: a for s, a in zip(executable.inputs, random_inputs(executable.inputs), strict=True)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))
    assert relative_error(executable.run(inputs), expected) <= LIMIT
