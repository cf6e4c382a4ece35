"""What `explain` tells of a fire module: why it is one kernel, each number found again from the shapes by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mlirfuse.cli.main import main
from mlirfuse.compiler import explain_here
from mlirfuse.device import planning_device
from mlirfuse.explain.facts import Explanation, GroupFacts, Reuse
from mlirfuse.options import CompileOptions
from mlirfuse.zoo import build

SIDE, INTO, SQUEEZED, OUT = (
    55,
    64,
    16,
    64,
)  # channels and side of SqueezeNet's first

OTHERS = ("light/resnet50", "light/inception_v1", "light/densenet121", "mobilenetv2", "light/shufflenet")


def fire() -> onnx.ModelProto:
    """conv 1x1, relu; then conv 1x1, relu and conv 3x3, relu side by side; no concatenation, no biases."""
    weights = {"ws": (SQUEEZED, INTO, 1, 1), "w1": (OUT, SQUEEZED, 1, 1), "w3": (OUT, SQUEEZED, 3, 3)}
    rng = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(rng.standard_normal(s).astype("float32"), n) for n, s in weights.items()]
    nodes = [
        helper.make_node("Conv", ["x", "ws"], ["s"], "squeeze"),
        helper.make_node("Relu", ["s"], ["r"], "squeezed"),
        helper.make_node("Conv", ["r", "w1"], ["a"], "expand1"),
        helper.make_node("Relu", ["a"], ["y1"], "out1"),
        helper.make_node("Conv", ["r", "w3"], ["b"], "expand3", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["y3"], "out3"),
    ]
    values = {"x": INTO, "y1": OUT, "y3": OUT}
    types = {n: helper.make_tensor_value_info(n, 1, (1, c, SIDE, SIDE)) for n, c in values.items()}
    graph = helper.make_graph(nodes, "fire", [types["x"]], [types["y1"], types["y3"]], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="module")
def explained() -> Explanation:
    return explain_here(fire(), "cuda:sm_90", CompileOptions())


@pytest.fixture(scope="module")
def group(explained: Explanation) -> GroupFacts:
    (found,) = explained.groups
    return found


@pytest.fixture(scope="module")
def reuse(group: GroupFacts) -> Reuse:
    assert group.reuse is not None and group.mode == "split" and group.kernel == "cross-layer"
    return group.reuse


def rows_of(size: int) -> list[range]:
    """The rows (or columns) of what is squeezed that each tile of `size` of them reads: one more on each side.

    The last tile starts earlier where tiles do not divide the side.
    """
    starts = [min(i * size, SIDE - size) for i in range(math.ceil(SIDE / size))]
    return [range(max(0, s - 1), min(SIDE, s + size + 1)) for s in starts]


def test_the_box_of_what_is_squeezed_is_the_tile_and_its_halo(reuse: Reuse) -> None:
    _, channels, *tile = reuse.tile
    assert channels == OUT and reuse.frame == (1, OUT, SIDE, SIDE)
    assert reuse.tiles == (1, 1, *(math.ceil(SIDE / t) for t in tile))
    box = (1, SQUEEZED, *(max(map(len, rows_of(t))) for t in tile))
    squeeze, *expanded = reuse.stages
    assert squeeze.nodes == ("squeeze", "squeezed") and squeeze.box == box
    assert squeeze.halo == (0, 0, *(2 if n > t else 0 for n, t in zip(box[2:], tile, strict=True)))
    assert [e.box for e in expanded] == [(1, OUT, *tile)] * 2
    (kept,) = [v for v in reuse.values if v.place == "kept"]
    assert (kept.name, kept.box, kept.halo, kept.box_bytes) == ("squeezed", box, squeeze.halo, 4 * math.prod(box))
    assert (kept.first, kept.last) == (0, 2) and kept.dram_bytes == 0
    assert reuse.kept_bytes == 4 * math.prod(box) <= reuse.memory_bytes <= reuse.memory_limit
    assert reuse.memory_limit == planning_device("sm_90").shared_bytes_per_block


def test_operations_are_those_of_all_boxes(reuse: Reuse) -> None:
    tiles = math.prod(reuse.tiles)
    each = [
        2 * INTO + 1,
        *(2 * SQUEEZED * kernel + 1 for kernel in (1, 9)),
    ]  # of an element: multiply-adds and the relu
    by_anchor = {"squeeze": each[0], "expand1": each[1], "expand3": each[2]}
    total = once = 0
    for stage in reuse.stages:
        operations, elements = by_anchor[stage.nodes[0]], math.prod(stage.shape)
        assert stage.flops == math.prod(stage.box) * operations
        assert stage.factor == pytest.approx(tiles * math.prod(stage.box) / elements)
        total += tiles * math.prod(stage.box) * operations
        once += elements * operations
    assert reuse.flops == pytest.approx(total) and reuse.flops_added == pytest.approx(total - once)
    assert reuse.factor == pytest.approx(total / once)


def test_only_what_enters_and_leaves_travels(group: GroupFacts, reuse: Reuse) -> None:
    plane = 4 * SIDE * SIDE
    weights = [4 * SQUEEZED * INTO, 4 * SQUEEZED * OUT, 4 * SQUEEZED * OUT * 9]
    moved = {v.name: v.dram_bytes for v in reuse.values if v.dram_bytes and v.op != "weight"}
    assert moved == {"x": INTO * plane, "out1": OUT * plane, "out3": OUT * plane}
    assert sorted(v.dram_bytes for v in reuse.values if v.op == "weight") == sorted(weights)
    assert reuse.dram_bytes == (INTO + 2 * OUT) * plane + sum(weights)
    assert {v.name for v in reuse.values if v.place == "register"} == {"squeeze", "expand1", "expand3"}
    assert group.proof is not None
    apart = sum(part.dram_bytes for part in group.proof.parts)
    assert apart - reuse.dram_bytes == 3 * SQUEEZED * plane  # what is squeezed: written once, read twice


def test_its_time_is_below_that_of_its_parts_and_of_the_next_best(group: GroupFacts, reuse: Reuse) -> None:
    proof, device = group.proof, planning_device("sm_90")
    assert proof is not None and proof.larger is None
    assert [set(part.nodes) for part in proof.parts] == [
        {"squeeze", "squeezed"},
        {"expand1", "out1"},
        {"expand3", "out3"},
    ]
    assert len(proof.runner_up) == 2
    times = reuse.seconds, sum(p.seconds for p in proof.runner_up), sum(p.seconds for p in proof.parts)
    assert times == tuple(sorted(times)) and len(set(times)) == 3
    assert reuse.seconds >= device.launch_seconds + max(reuse.busiest_seconds, reuse.dram_seconds)
    assert reuse.dram_seconds == pytest.approx(
        proof.numbers["dram_bytes"] / device.dram_bandwidth  # type: ignore[operator]
    )
    blocks = math.prod(reuse.tiles)
    assert reuse.at_once == min(blocks, reuse.most_at_once) and reuse.rounds == math.ceil(blocks / reuse.most_at_once)
    assert reuse.most_at_once % device.multiprocessors == 0 and reuse.multiprocessors == device.multiprocessors


def test_what_the_user_forces_is_said_to_be_forced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    onnx.save(fire(), tmp_path / "fire.onnx")
    forced = ["--force-fuse", "squeeze,out1,out3", "--target", "cuda:sm_90"]
    assert main(["explain", str(tmp_path / "fire.onnx"), *forced, "--node", "squeeze"]) == 0
    text = capfd.readouterr().out
    assert "why it is one kernel: --force-fuse asks for one kernel, whatever it takes: one kernel of squeeze" in text
    assert "parts take" in text and "next best way" not in text


def test_the_facts_survive_json(explained: Explanation) -> None:
    text = json.dumps(explained.to_dict())
    again = Explanation.from_dict(json.loads(text))
    assert json.dumps(again.to_dict()) == text
    assert again.groups[0].reuse == explained.groups[0].reuse and again.groups[0].proof == explained.groups[0].proof


def test_explain_prints_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], group: GroupFacts, reuse: Reuse
) -> None:
    onnx.save(fire(), tmp_path / "fire.onnx")
    assert main(["explain", str(tmp_path / "fire.onnx"), "--target", "cuda:sm_90", "--group", "0"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    by = lambda sizes: "x".join(map(str, sizes))  # noqa: E731
    assert f"{by(reuse.tile)} of {by(reuse.frame)}" in text
    assert f"{math.prod(reuse.tiles)} ({by(reuse.tiles)})" in text
    assert f"{by(reuse.stages[0].box)} {by(reuse.stages[0].halo)} contract" in text
    assert "squeezed unary.relu 1x16x55x55 shared memory 0-2" in text and "DRAM, written" in text
    assert group.proof is not None and group.proof.reason in text and "runner-up" in text
    assert "581 kB of the" in text  # 3 x 193.6 kB that no longer travel


@pytest.mark.parametrize(
    ("network", "target"),
    [
        ("light/squeezenet", "cuda:sm_90"),
        ("light/squeezenet", "simulator:titan-xp"),
        *(pytest.param(n, t, marks=pytest.mark.slow) for n in OTHERS for t in ("cuda:sm_90", "vulkan:mali-g710")),
    ],
)
def test_schedules_take_what_their_plan_promised(network: str, target: str) -> None:
    plan = explain_here(build(network), target, CompileOptions())
    both = [(g.reuse.seconds, g.proof.numbers["seconds_together"]) for g in plan.groups if g.reuse and g.proof]
    assert both
    for scheduled, promised in both:
        assert scheduled <= 1.05 * promised


def test_the_first_fire_module_of_squeezenet_is_cut_where_it_is_narrow() -> None:
    """Its squeeze follows the stem in one kernel; both expansions stay with what squeezes them again."""
    plan = explain_here(build("light/squeezenet"), "cuda:sm_90", CompileOptions())
    before, after = (next(g for g in plan.groups if node in g.nodes) for node in ("n3", "n5"))
    assert {"n0", "n2", "n3", "n4"} <= set(before.nodes), "the stem, its pooling and the squeeze"
    assert {"n5", "n6", "n7", "n8", "n10", "n11"} <= set(after.nodes), "both expansions and the next squeeze"
    facts: Any = after.reuse
    assert facts.cluster >= 1 and any(v.place == "kept" for v in facts.values)
    for found in (before, after):
        assert found.proof is not None and found.proof.numbers["seconds_together"] < sum(
            part.seconds for part in found.proof.parts
        )
