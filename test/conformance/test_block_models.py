"""Blocks of convolutional networks become few kernels, which no rule names, and these give what ONNX Runtime gives."""

import pytest
from answers import compare, compiled, expected_of, outputs_of
from block_models import BLOCK_MODELS

from mlirfuse.runtime import load

# At most how many launches, how many without kernels of several layers, and whether one holds branches.
LAUNCHES = {
    "fire": (1, 3, True),
    "inception": (4, 6, True),
    "basic residual": (1, 2, False),
    "bottleneck": (2, 4, True),
    "separable": (1, 2, False),
    "inverted residual": (1, 3, False),
    "dense layer": (1, 2, False),
    "convs and pool": (1, 3, False),
    "shuffle unit": (1, 3, False),
    "squeeze and excitation": (2, 5, False),
    "up and concat": (1, 3, False),
}


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """A cache of kernels: both targets' plans share them."""
    return str(tmp_path_factory.mktemp("kernels"))


def report_of(artifact):
    return load(artifact, threads=1).report() if artifact.target == "cpu" else load(artifact).report()


@pytest.mark.parametrize("name", BLOCK_MODELS)
@pytest.mark.parametrize("target", ["simulator", "cpu"])
def test_blocks_are_few_kernels(name, target, kernels):
    case = BLOCK_MODELS[name]()
    artifact = compiled(case, target, kernels)
    launches, apart, branches = LAUNCHES[name]
    report, before = report_of(artifact), report_of(compiled(case, target, kernels, fusion="no-cross-layer"))
    modes = {k["mode"] for k in report.kernels}
    assert len(before.kernels) == apart
    if target == "simulator":  # on a CPU most of these blocks take longer as one kernel, and its model says so
        assert len(report.kernels) <= launches < apart, modes
        assert not branches or modes & {"merge", "split", "mixed"}, modes
        assert launches > 1 or report.totals["dram_intermediate_bytes"] == 0
    joined = len(report.kernels) < apart
    for bytes_moved in ("dram_bytes", "dram_intermediate_bytes"):
        fewer, all_of_them = report.totals[bytes_moved], before.totals[bytes_moved]
        assert fewer < all_of_them if joined else fewer == all_of_them
    compare(outputs_of(artifact, case), expected_of(case), "full fusion")


@pytest.mark.parametrize("name", BLOCK_MODELS)
@pytest.mark.parametrize("device", ["h200", "titan-xp"])
def test_blocks_are_one_kernel_where_the_user_wants_it(name, device, kernels):
    """Whatever it takes: the generator makes one of each, which gives the same, without races."""
    case = BLOCK_MODELS[name]()
    everything = tuple(node.name for node in case.model.graph.node if node.op_type != "Constant")
    artifact = compiled(case, f"simulator:{device}", kernels, force_fuse=(everything,))
    report = report_of(artifact)
    assert len(report.kernels) == 1 and report.totals["dram_intermediate_bytes"] == 0
    compare(outputs_of(artifact, case), expected_of(case), f"one kernel for {device}")
