"""What `explain` tells of parts side by side in one grid, and that they are right: figures found again by hand."""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import mlirfuse
from mlirfuse.cli.main import main
from mlirfuse.compiler import explain_here
from mlirfuse.device import planning_device
from mlirfuse.explain.facts import Explanation, SideBySideReuse
from mlirfuse.options import CompileOptions

CHANNELS, SIDE = 16, 14
PLANE = 4 * CHANNELS * SIDE * SIDE  # bytes of every value


def branches(deep: bool) -> onnx.ModelProto:
    """Of one input, a convolution of 1x1 and one of 3x3, each with an activation; `deep`: another 1x1 after the 3x3."""
    layers = [("one", "x", 1), ("three", "x", 3)] + ([("last", "three", 1)] if deep else [])
    outputs = ["one", "last" if deep else "three"]
    rng, nodes, weights = np.random.default_rng(0), [], []
    for name, read, kernel in layers:
        weight = rng.standard_normal((CHANNELS, CHANNELS, kernel, kernel)).astype("float32")
        weights.append(numpy_helper.from_array(weight, f"{name}.weight"))
        pads = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", [read, f"{name}.weight"], [f"{name}.sum"], f"{name}.conv", pads=pads))
        nodes.append(helper.make_node("Relu", [f"{name}.sum"], [name], f"{name}.relu"))
    types = {v: helper.make_tensor_value_info(v, 1, (1, CHANNELS, SIDE, SIDE)) for v in ("x", *outputs)}
    graph = helper.make_graph(nodes, "branches", [types["x"]], [types[o] for o in outputs], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="module")
def explained() -> Explanation:
    return explain_here(branches(deep=False), "cuda:sm_90", CompileOptions())


@pytest.fixture(scope="module")
def beside(explained: Explanation) -> SideBySideReuse:
    """Readers of the network's input are one kernel, though no value that is computed passes between them."""
    (group,) = explained.groups
    assert (group.kernel, group.mode, group.reuse) == ("side-by-side", "split", None)
    assert group.side_by_side is not None
    return group.side_by_side


def test_each_part_has_its_blocks_its_memory_and_its_bytes(beside: SideBySideReuse) -> None:
    one, three = beside.parts
    assert [part.nodes for part in beside.parts] == [("one.conv", "one.relu"), ("three.conv", "three.relu")]
    weight = 4 * CHANNELS * CHANNELS
    assert (one.dram_bytes, three.dram_bytes) == (2 * PLANE + weight, 2 * PLANE + 9 * weight)
    assert beside.bytes_read_together == PLANE and beside.dram_bytes == 3 * PLANE + 10 * weight
    elements = CHANNELS * SIDE * SIDE
    assert (one.flops, three.flops) == tuple(elements * (2 * CHANNELS * taps + 1) for taps in (1, 9))
    for part in beside.parts:
        schedule = part.schedule
        assert part.kind == "contract" and part.flops_added == 0 and part.reuse is None
        cut = math.ceil(SIDE * SIDE / schedule["block_m"]) * math.ceil(CHANNELS / schedule["block_n"])
        assert part.tiles == cut
        block, groups = schedule["block_m"] * schedule["block_n"], schedule["k_groups"]
        slices = 2 * schedule["block_k"] * (schedule["block_m"] + schedule["block_n"])  # through two buffers
        assert part.shared_bytes == 4 * (slices + (groups * block if groups > 1 else 0))
    device = planning_device("sm_90")
    assert beside.tiles == one.tiles + three.tiles
    assert beside.shared_bytes == max(one.shared_bytes, three.shared_bytes) <= beside.memory_limit
    assert (beside.device, beside.memory_limit) == (device.name, device.shared_bytes_per_block)


def test_bytes_read_and_written_count_the_common_operand_once(explained: Explanation, beside: SideBySideReuse) -> None:
    (group,) = explained.groups
    assert group.bytes_read + group.bytes_written == beside.dram_bytes


def test_the_facts_survive_json(explained: Explanation) -> None:
    text = json.dumps(explained.to_dict())
    again = Explanation.from_dict(json.loads(text))
    assert json.dumps(again.to_dict()) == text
    assert again.groups[0].side_by_side == explained.groups[0].side_by_side


def test_explain_prints_them(tmp_path: Path, capsys: pytest.CaptureFixture[str], beside: SideBySideReuse) -> None:
    onnx.save(branches(deep=False), tmp_path / "branches.onnx")
    assert main(["explain", str(tmp_path / "branches.onnx"), "--target", "cuda:sm_90", "--group", "0"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"2 parts that share no value, side by side in {beside.tiles} blocks of {beside.threads} threads" in text
    assert "0 one.conv one.relu contract" in text and "1 three.conv three.relu contract" in text
    assert "12.5 kB that several parts read are moved once" in text


def test_a_part_of_several_layers_tells_of_its_tiles() -> None:
    found = [g for g in explain_here(branches(deep=True), "cuda:sm_90", CompileOptions()).groups if g.side_by_side]
    (group,) = found
    assert group.side_by_side is not None
    one, several = group.side_by_side.parts
    assert one.reuse is None and several.kind == "cross-layer" and several.reuse is not None
    assert several.nodes == ("three.conv", "three.relu", "last.conv", "last.relu")
    assert several.tiles == math.prod(several.reuse.tiles) and several.shared_bytes == several.reuse.memory_bytes
    assert several.dram_bytes == several.reuse.dram_bytes == 2 * PLANE + 40 * CHANNELS * CHANNELS
    assert group.flops_added == group.side_by_side.flops_added == several.flops_added


@pytest.mark.parametrize("deep", [False, True], ids=["layers", "one of several layers"])
def test_parts_side_by_side_are_right_and_move_what_is_told(deep: bool) -> None:
    model = branches(deep)
    executable = mlirfuse.compile(model, target="simulator:h200")
    x = np.random.default_rng(1).standard_normal((1, CHANNELS, SIDE, SIDE), np.float32)
    wanted = ReferenceEvaluator(model).run(None, {"x": x})
    for found, want in zip(executable.run({"x": x}).values(), wanted, strict=True):
        assert np.abs(found - want).max() <= 1e-4 * np.abs(want).max()
    assert executable.report().to_dict()["totals"]["launches"] == 1
