"""Blocks in several pieces, or with results of several shapes, run as one launch and are right."""

import numpy as np
import pytest
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import mlirfuse


def split_logits(rows=24, depth=16, parts=(1, 3, 8)):
    """Gemm -> Split -> Squeeze, Relu, nothing: what ends networks that answer questions."""
    rng = np.random.default_rng(1)
    weights = {
        "w": rng.standard_normal((depth, sum(parts))).astype(np.float32),
        "b": rng.standard_normal(sum(parts)).astype(np.float32),
        "sizes": np.array(parts),
        "axis": np.array([1]),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], "gemm"),
        helper.make_node("Split", ["y", "sizes"], ["p0", "p1", "last"], "split", axis=1),
        helper.make_node("Squeeze", ["p0", "axis"], ["first"], "squeeze"),
        helper.make_node("Relu", ["p1"], ["second"], "relu"),
    ]
    return model(
        nodes, {"x": (rows, depth)}, {"first": (rows,), "second": (rows, parts[1]), "last": (rows, parts[2])}, weights
    )


def boxes_of_levels(sizes=(40, 12, 5)):
    """The same decoding of anchors on several levels, each into its part of one concatenation."""
    rng = np.random.default_rng(2)
    weights = {f"anchor{i}": rng.standard_normal((n, 4)).astype(np.float32) for i, n in enumerate(sizes)}
    nodes = []
    for i in range(len(sizes)):
        nodes += [
            helper.make_node("Mul", [f"x{i}", f"anchor{i}"], [f"m{i}"], f"mul{i}"),
            helper.make_node("Add", [f"m{i}", f"anchor{i}"], [f"part{i}"], f"add{i}"),
        ]
    nodes.append(helper.make_node("Concat", [f"part{i}" for i in range(len(sizes))], ["all"], "concat", axis=0))
    nodes.append(helper.make_node("ReduceSum", ["all"], ["total"], "sum", keepdims=0))
    return model(nodes, {f"x{i}": (n, 4) for i, n in enumerate(sizes)}, {"total": ()}, weights)


def model(nodes, inputs, outputs, weights):
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    built = helper.make_model(
        helper.make_graph(nodes, "shared", given, made, constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    built.ir_version = 10
    checker.check_model(built)
    return built


CASES = {"split": (split_logits(), 1), "levels": (boxes_of_levels(), 2), "many": (boxes_of_levels((40, 12, 5) * 3), 2)}


@pytest.mark.parametrize("target", ["cpu", "simulator"])
@pytest.mark.parametrize(("graph", "launches"), CASES.values(), ids=CASES)
def test_shared_launches_are_right(graph, launches, target):
    executable = mlirfuse.compile(graph, target=target)
    assert executable.report().to_dict()["totals"]["launches"] == launches
    rng = np.random.default_rng(3)
    inputs = {spec.name: rng.standard_normal(spec.shape).astype(np.float32) for spec in executable.inputs}
    expected = ReferenceEvaluator(graph).run(None, inputs)
    found = executable.run(inputs)
    for name, value in zip((o.name for o in graph.graph.output), expected, strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4)
