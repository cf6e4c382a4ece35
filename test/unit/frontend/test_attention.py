"""ONNX's Attention operator, through the nodes that define it, becomes one kernel and agrees with the evaluator."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import mlirfuse

HEADS = ((2, 6, 24, 16), (2, 6, 20, 16), (2, 6, 20, 16))


def attention(q, k, v, mask=None, **attributes):
    shapes = {"Q": q, "K": k, "V": v, **({"mask": mask} if mask else {})}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)
    node = helper.make_node("Attention", list(shapes), ["Y"], **attributes)
    graph = helper.make_graph([node], "attention", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


CASES = {
    "heads joined": attention((2, 24, 96), (2, 20, 96), (2, 20, 96), q_num_heads=6, kv_num_heads=6),
    "causal": attention(*[(1, 8, 20, 16)] * 3, is_causal=1),
    "fewer heads of keys": attention((2, 6, 24, 16), (2, 3, 20, 16), (2, 3, 20, 16)),
    "masked": attention(*HEADS, mask=(24, 20)),
}


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < 23, reason="this onnx package has no Attention")
@pytest.mark.parametrize("name", CASES)
def test_attention_is_one_kernel(name):
    model = CASES[name]
    executable = mlirfuse.compile(model, target="cpu", strict=True)
    rng = np.random.default_rng(0)
    feeds = {spec.name: rng.standard_normal(spec.shape).astype(np.float32) for spec in executable.inputs}
    [expected] = ReferenceEvaluator(model).run(None, feeds)
    [found] = executable.run(feeds).values()
    np.testing.assert_allclose(found, expected, atol=2e-5)
    kernels = [k["ops"] for k in executable.report().to_dict()["kernels"]]
    assert sum("softmax" in ops for ops in kernels) == 1
    together = next(ops for ops in kernels if "softmax" in ops)
    assert together.count("contract") == 2, kernels
