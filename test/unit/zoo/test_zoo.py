"""The zoo's networks import without fall-backs where they should, are the same every time, and tell inputs apart."""

import numpy as np
import onnx
import onnxruntime
import pytest

from mlirfuse import zoo
from mlirfuse.dialect import WeightStore
from mlirfuse.errors import MlirfuseError
from mlirfuse.frontend import interpret, load_model
from mlirfuse.frontend.graph_importer import GraphImporter
from mlirfuse.mlir import context

WHEEL = [name for name in zoo.names() if name.startswith("light/")]
HEAVY = {
    "light/vgg19",
    "light/zfnet512",
    "light/alexnet",
    "light/densenet121",
    "light/inception_v1",
    "light/inception_v2",
    "light/resnet50",
}
# The operator of detectors that runs on the host, and what follows it; everything else in the zoo is native.
ON_HOST = {"NonMaxSuppression"}
SAMPLE = (
    "albert-base-s128",
    "efficientnet-b0",
    "fasterrcnn-nms",
    "mobilenetv1-ssd-nms",
    "shufflenetv2",
    "tinybert-s128-fine",
)


def imported(model):
    store = WeightStore()
    importer = GraphImporter(load_model(model), store)
    return importer.run(), store, importer.statuses


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def inputs_for(model, seed=0):
    rng, feeds = np.random.default_rng(seed), {}
    for spec in load_model(model).inputs:
        if spec.type.dtype == "int64":
            ids = rng.integers(0, 1000, spec.type.dims)
            feeds[spec.name] = np.ones_like(ids) if "mask" in spec.name else ids
        else:
            feeds[spec.name] = rng.standard_normal(spec.type.dims, dtype=np.float32)
    return feeds


@pytest.mark.parametrize("name", zoo.blocks())
def test_blocks_are_native_and_right(name):
    model = zoo.build(name)
    onnx.checker.check_model(model, full_check=True)
    feeds = inputs_for(model)
    with context():
        module, store, statuses = imported(model)
        assert {s.status for s in statuses} == {"native"}
        found = interpret(module, store, feeds)
    runtime = session(model)
    for output, want in zip(runtime.get_outputs(), runtime.run(None, feeds), strict=True):
        assert np.abs(found[output.name] - want).max() <= 1e-4 * np.abs(want).max()


def test_names():
    assert len(zoo.blocks()) == 11 and not set(zoo.blocks()) & set(zoo.names())
    assert len(WHEEL) == 9 and "light/resnet50" in zoo.names() and "resnet50" in zoo.names()
    assert len(zoo.names()) == len(set(zoo.names())) == 9 + 45


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("resnet5", "resnet50"),
        ("light/vgg", "light/vgg19"),
        ("zoo:squeezenet", "squeezenet1."),
        ("fire", "blocks/fire"),
    ],
)
def test_an_unknown_name_gets_suggestions(wrong, right):
    with pytest.raises(MlirfuseError, match=right):
        zoo.build(wrong)


@pytest.mark.parametrize("name", ["light/squeezenet", "mobilenetv2", "tinybert-s128"])
def test_builds_are_repeatable_and_follow_the_seed(name):
    first, again, other = zoo.build(name), zoo.build(name), zoo.build(name, seed=1)
    assert first.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    assert first.SerializeToString(deterministic=True) != other.SerializeToString(deterministic=True)
    onnx.checker.check_model(first)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in HEAVY else ()) for n in WHEEL])
def test_wheel_networks_are_native_and_right(name):
    model = zoo.build(name)
    feeds = inputs_for(model)
    with context():
        module, store, statuses = imported(model)
        assert {s.status for s in statuses} == {"native"}
        found = interpret(module, store, feeds)
    runtime = session(model)
    for output, want in zip(runtime.get_outputs(), runtime.run(None, feeds), strict=True):
        assert np.abs(found[output.name] - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in HEAVY else ()) for n in WHEEL])
def test_outputs_are_finite_and_depend_on_the_input(name):
    model = zoo.build(name)
    runtime = session(model)
    one, other = (runtime.run(None, inputs_for(model, seed))[0].ravel() for seed in (1, 2))
    assert np.isfinite(one).all()
    assert np.abs(one - other).max() > 0.01 * np.abs(one).max()
    assert one.std() > 0.1 * np.abs(one).mean()  # classes get different scores
    if "densenet" not in name:  # which ends without softmax
        assert one.max() < 0.5  # and no class takes them all


@pytest.mark.parametrize(
    "name", [n if n in SAMPLE else pytest.param(n, marks=pytest.mark.slow) for n in zoo.names() if n not in WHEEL]
)
def test_own_networks_import(name):
    with context():
        _, _, statuses = imported(zoo.build(name))
    hosted = {s.op_type for s in statuses if s.status == "fallback" and "no rule" in s.reason}
    assert hosted <= ON_HOST
    assert not hosted or name.startswith(("fasterrcnn", "maskrcnn")) or name.endswith("-nms")


@pytest.mark.parametrize(
    "name",
    ["lenet5", "squeezenet1.1", "tinybert-s128-fine", pytest.param("mobilenetv1-ssd-nms", marks=pytest.mark.slow)],
)
def test_own_networks_are_right(name):
    model = zoo.build(name)
    feeds = inputs_for(model)
    with context():
        module, store, _ = imported(model)
        found = interpret(module, store, feeds)
    runtime = session(model)
    for output, want in zip(runtime.get_outputs(), runtime.run(None, feeds), strict=True):
        assert np.abs(found[output.name] - want).max() <= 1e-4 * np.abs(want).max()
