"""Whole networks: compiled once for each target, checked in several ways."""

import functools

import numpy as np
import pytest

from mlirfuse import zoo
from mlirfuse.compiler import compile_artifact
from mlirfuse.options import CompileOptions

LIGHT = zoo.WHEEL_NETWORKS
QUICK = ("shufflenet", "squeezenet")


def networks(quick=QUICK, all_of=LIGHT):
    """The networks as parameters; those that take long are for `make test-all`."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in all_of]


@functools.cache
def model_of(name):
    return zoo.build(f"light/{name}")


@functools.cache
def artifact_of(name, target):
    return compile_artifact(model_of(name), target, CompileOptions(strict=True))


def random_inputs(specs, seed=0):
    rng = np.random.default_rng(seed)
    return {s.name: rng.standard_normal(s.shape).astype(s.dtype) for s in specs}


@functools.cache
def expected_of(name):
    """Random inputs of `artifact_of(name, ...)`, and what ONNX Runtime gives for them."""
    inputs = random_inputs(artifact_of(name, "cpu").inputs)
    return inputs, onnxruntime_outputs(model_of(name), inputs)


def onnxruntime_outputs(model, inputs):
    """By name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def relative_error(found, expected):
    """The largest difference over all outputs, relative to the largest element of the output it is in."""
    return max(float(np.abs(found[k] - v).max() / np.abs(v).max()) for k, v in expected.items())
