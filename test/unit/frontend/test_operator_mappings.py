"""The mapping type of every operator that the frontend knows, at a call site of each type that it can have."""

import numpy as np
import pytest
from backend_cases import node_cases, with_known_parameters
from operator_mappings import MAPPINGS, WITHOUT_OPS

from mlirfuse.dialect import WeightStore
from mlirfuse.frontend import import_model
from mlirfuse.frontend.registry import known_operators
from mlirfuse.lowering.classify.table import most_complex
from mlirfuse.lowering.plan.graph import main_function, read_graph
from mlirfuse.mlir import context

# DNNFusion, table 1. The type belongs to the call site: these are types that the operators have at some.
PAPER = {
    "one-to-one": (
        "Add Asin Cast Ceil Clip Concat Cos Erf Exp Greater LeakyRelu Log Not PRelu Reciprocal Relu Round Sigmoid Sin "
        "Slice Split Sqrt Tanh Where"
    ),
    "one-to-many": "Add Expand Gather Resize Upsample",
    "many-to-many": (
        "AveragePool Conv ConvTranspose CumSum Einsum Gemm InstanceNormalization MatMul MaxPool ReduceMean ReduceProd "
        "ReduceSum Softmax"
    ),
    "reorganize": "Flatten Reshape Squeeze Unsqueeze",
    "shuffle": "DepthToSpace SpaceToDepth Transpose",
}
WITHOUT_A_CASE = {"GlobalLpPool", "OneHot"}  # the onnx package has none that imports with known parameters


def mapping_of(case):
    """The most complex type of the ops that a case's node becomes; its parameters are constants."""
    [(inputs, _)] = case.data
    model, store = with_known_parameters(case), WeightStore()
    given = {v.name for v in model.graph.input}
    arrays = zip((v.name for v in case.model.graph.input), inputs, strict=True)
    with context(), store.active():
        module = import_model(model, store, {k: np.shape(a) for k, a in arrays if k in given})
        return most_complex(tuple(n.mapping for n in read_graph(main_function(module.operation))))


@pytest.fixture(scope="module")
def cases():
    return {case.name: case for case in node_cases()}


@pytest.mark.parametrize("operator", MAPPINGS)
def test_an_operator_maps_as_recorded(operator, cases):
    for mapping, name in MAPPINGS[operator].items():
        assert mapping_of(cases[name]) == mapping, name


def test_every_operator_is_recorded():
    """A new rule's operator goes into `operator_mappings.py`, with a case of the onnx package for each of its types."""
    recorded = {*MAPPINGS, *WITHOUT_OPS, *WITHOUT_A_CASE}
    assert (known_operators() - recorded, recorded - known_operators()) == (set(), set())


@pytest.mark.parametrize("mapping", PAPER)
def test_the_papers_operators_have_the_papers_types(mapping):
    assert [name for name in PAPER[mapping].split() if mapping not in MAPPINGS[name]] == []
