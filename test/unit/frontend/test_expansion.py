"""Functions of the model, operators that others define, and rules from elsewhere."""

import numpy as np
import onnx
from models import floats, model, run
from onnx import helper

from mlirfuse.frontend import NoRule, importer
from mlirfuse.frontend.registry import rule_for


def test_functions_of_the_model_are_expanded(mlir_context):
    body = [helper.make_node("Mul", ["a", "a"], ["sq"]), helper.make_node("LeakyRelu", ["sq"], ["r"])]
    body[1].attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    function = helper.make_function("my", "SquareAct", ["a"], ["r"], body, [helper.make_opsetid("", 17)], ["slope"])
    node = helper.make_node("SquareAct", ["x"], ["y"], "called", domain="my", slope=0.5)
    outputs, statuses, text = run(
        model([node], {"x": [3]}, ["y"], functions=[function], domains={"my": 1}), {"x": floats(3)}
    )
    np.testing.assert_allclose(outputs["y"], floats(3) ** 2)
    assert statuses[0].status == "native" and 'onnx_nodes = ["called"]' in text and "alpha = 5.0" in text


def test_operators_that_onnx_defines_by_others_are_expanded(mlir_context):
    proto = model(
        [helper.make_node("NegativeLogLikelihoodLoss", ["x", "t"], ["y"], reduction="mean")],
        {"x": [3, 4]},
        ["y"],
        {"t": np.array([0, 2, 1])},
    )
    outputs, statuses, _ = run(proto, {"x": floats(3, 4)})
    np.testing.assert_allclose(outputs["y"], -floats(3, 4)[range(3), [0, 2, 1]].mean(), rtol=1e-6)
    assert statuses[0].status == "native"


def test_rules_can_be_added(mlir_context):
    @importer("Thrice", domain="my.domain")
    def thrice(b, node):
        if node.attr("refuse", 0):
            raise NoRule("was told to refuse")
        return b.binary("mul", node.input(), 3.0)

    assert rule_for("my.domain", "Thrice") is thrice
    proto = model(
        [helper.make_node("Thrice", ["x"], ["y"], domain="my.domain")], {"x": [2]}, ["y"], domains={"my.domain": 1}
    )
    outputs, _, _ = run(proto, {"x": floats(2)})
    np.testing.assert_allclose(outputs["y"], floats(2) * 3)
