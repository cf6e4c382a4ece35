"""The masks of attention as exporters write them: (1 - mask) * -10000, added to the scores."""

import numpy as np
import onnx
import onnx.helper as oh
import pytest

from mlirfuse.dialect import WeightStore, attribute_value
from mlirfuse.frontend import import_model, interpret, load_model
from mlirfuse.lowering.passes import run_pipeline
from mlirfuse.lowering.pipeline.stages import StageOptions, pipeline_for
from mlirfuse.mlir import context


def masked_scores(constant):
    """softmax(x * y + (1 - mask) * -10000), the mask an input or a constant."""
    vector = np.array([1, 1, 1, 0, 1, 0, 0, 0], np.float32)
    nodes = [
        oh.make_node("Sub", ["one", "mask"], ["off"], name="off"),
        oh.make_node("Mul", ["off", "large"], ["bias"], name="bias"),
        oh.make_node("Mul", ["x", "y"], ["scores"], name="scores"),
        oh.make_node("Add", ["scores", "bias"], ["masked"], name="masked"),
        oh.make_node("Softmax", ["masked"], ["z"], name="softmax", axis=-1),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.float32(1), "one"),
        onnx.numpy_helper.from_array(np.float32(-10000), "large"),
    ]
    inputs = [oh.make_tensor_value_info(n, 1, [2, 4, 8]) for n in "xy"]
    if constant:
        weights.append(onnx.numpy_helper.from_array(vector, "mask"))
    else:
        inputs.append(oh.make_tensor_value_info("mask", 1, [2, 1, 8]))
    graph = oh.make_graph(nodes, "masked", inputs, [oh.make_tensor_value_info("z", 1, [2, 4, 8])], weights)
    return oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("rewrite", ["exact", "reassociating", "all"])
def test_masks_fold_or_stay_in_the_group_of_the_scores(constant, rewrite):
    store = WeightStore()
    random = np.random.default_rng(0)
    arrays = {n: random.standard_normal((2, 4, 8)).astype(np.float32) for n in "xy"}
    if not constant:
        arrays["mask"] = random.integers(0, 2, (2, 1, 8)).astype(np.float32)
    with context(), store.active():
        module = import_model(load_model(masked_scores(constant), {}), store, {}, strict=True)
        before = interpret(module, store, arrays)["z"]
        run_pipeline(module, pipeline_for("planned", StageOptions(rewrite=rewrite)))
        groups = list(next(iter(module.body.operations)).operation.regions[0].blocks[0].operations)
        groups = [g for g in groups if g.operation.name == "fusion.group"]
        [group] = groups
        kinds = [attribute_value(op, "kind") for op in group.operation.regions[0].blocks[0].operations]
        # Of a constant mask, the term of the scores is left; of an input, all is in the one kernel.
        assert kinds.count("add") == 1 and kinds.count("sub") == (0 if constant else 1)
        assert kinds.count("mul") == (1 if constant else 2)
        after = interpret(module, store, arrays)["z"]
    np.testing.assert_allclose(after, before, atol=1e-6)
