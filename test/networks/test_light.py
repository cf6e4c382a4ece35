"""The nine networks of the onnx wheel: right on every target that this machine has, in few launches, without spills."""

import re

import pytest
from light_networks import LIGHT, artifact_of, expected_of, model_of, networks, random_inputs, relative_error

from mlirfuse import zoo
from mlirfuse.artifact import Recipe
from mlirfuse.cli.counting import count_traffic
from mlirfuse.compiler import compile_artifact, emit
from mlirfuse.lowering.nvvm import ptxas
from mlirfuse.options import CompileOptions
from mlirfuse.runtime import load

LIMIT = 1e-4
# Launches of the best of three other systems (IREE with its fills and copies, ONNX Runtime, torch.compile), measured.
BEST_PEER = {
    "alexnet": 14,
    "densenet121": 241,
    "inception_v1": 74,
    "inception_v2": 95,
    "resnet50": 57,
    "shufflenet": 74,
    "squeezenet": 36,
    "vgg19": 26,
    "zfnet512": 14,
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", networks())
def test_right_on_the_cpu(name, threads):
    inputs, expected = expected_of(name)
    assert relative_error(load(artifact_of(name, "cpu"), threads=threads).run(inputs), expected) <= LIMIT


@pytest.mark.parametrize("name", networks(all_of=("shufflenet", "squeezenet", "resnet50")))
def test_right_on_the_simulator(name):
    inputs, expected = expected_of(name)
    assert relative_error(load(artifact_of(name, "simulator")).run(inputs), expected) <= LIMIT


@pytest.mark.skipif(not ptxas.available(), reason="ptxas is not installed (extra mlirfuse[ptxas])")
@pytest.mark.parametrize("chip", ["sm_80", "sm_87", "sm_90", "sm_120"])
@pytest.mark.parametrize("name", networks(quick=("squeezenet",)))
def test_assembles_without_spills(name, chip):
    kernels = artifact_of(name, f"cuda:{chip}").report["kernels"]
    assert kernels and all(k["registers"] for k in kernels)
    assert [k["name"] for k in kernels if k["spill_bytes"]] == []
    assert all(k["resident_blocks"] >= 1 and 0 < k["occupancy"] <= 1 for k in kernels)


@pytest.mark.parametrize("name", networks())
def test_launches_are_at_most_a_tenth_above_the_best_peer(name):
    totals = artifact_of(name, "simulator").report["totals"]
    assert totals["launches"] <= 1.1 * BEST_PEER[name]
    assert totals["fallback_nodes"] == 0


@pytest.mark.parametrize("name", networks())
def test_launches_counted_from_the_emitted_text(name):
    text, _ = emit(model_of(name), "simulator", CompileOptions(), "kernels")
    main = text[text.index("func.func @main") :]
    assert (
        len(re.findall(r"gpu\.launch_func|memref\.copy|linalg\.fill|host_call", main))
        == (artifact_of(name, "simulator").report["totals"]["launches"])
    )


@pytest.mark.parametrize("name", networks())
def test_reported_traffic_is_what_the_simulator_counts(name):
    """Launch by launch, what is read and what is written; and by what it is of."""
    reported, counted = artifact_of(name, "simulator").report, count_traffic(artifact_of(name, "simulator"))
    for said, found in zip(reported["kernels"], counted["kernels"], strict=True):
        moved = [(row["kernel"], row["dram_read_bytes"], row["dram_write_bytes"]) for row in (said, found)]
        assert moved[0] == moved[1]
    totals = counted["totals"]
    assert reported["totals"] == {**totals, "global_bytes": None}
    assert totals["dram_bytes"] == sum(
        totals[f"dram_{of}_bytes"] for of in ("weight", "input", "output", "intermediate")
    )
    assert totals["dram_bytes"] <= totals["global_bytes"]


@pytest.mark.parametrize("target", ["cpu", "cuda:sm_90"])
def test_the_same_bytes_come_out_again(target, tmp_path):
    options = CompileOptions(strict=True, cache_dir=str(tmp_path), workers=1)
    again = compile_artifact(model_of("squeezenet"), target, options)
    assert again.to_bytes() == artifact_of("squeezenet", target).to_bytes()


@pytest.mark.parametrize("target", ["cpu", "simulator"])
def test_weights_packed_before_or_when_loaded_are_the_same(target):
    model = zoo.build("lenet5")
    made = {how: compile_artifact(model, target, weights=how) for how in ("packed", "recipes")}
    recipes = {how: [w for w in a.weights.values() if isinstance(w, Recipe)] for how, a in made.items()}
    assert not recipes["packed"] and (recipes["recipes"] or target != "cpu")
    inputs = random_inputs(made["packed"].inputs)
    first, second = (load(made[how]).run(inputs) for how in ("packed", "recipes"))
    assert all((first[name] == second[name]).all() for name in first)


def test_the_list_is_complete():
    assert set(LIGHT) == set(BEST_PEER)
