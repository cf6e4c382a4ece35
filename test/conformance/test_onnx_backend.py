"""Every operator's cases from the onnx package give the expected outputs, natively or with nodes on the host.

The default run takes a sample that spreads over operators; `-m slow` takes every case, in shards whose results stay in
build/conformance, so that an interrupted run goes on where it was (remove the folder to begin again).
"""

import subprocess
import sys
from pathlib import Path

import pytest
from onnx_backend import read_results, run_case
from onnx_cases import exclusion, load_cases, sample
from onnx_coverage import fell_back

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "conformance"
SAMPLE, PARTS = 60, 6
SHARDS = 8
TARGETS = ("cpu", "simulator")


@pytest.fixture(scope="module")
def sampled():
    return sample([c for c in load_cases() if exclusion(c) is None], SAMPLE)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("target", TARGETS)
def test_sampled_cases(target, part, sampled):
    results = [run_case(case, target) for case in sampled[part::PARTS]]
    assert [r for r in results if r.status == "fail"] == []


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(1, SHARDS + 1))
@pytest.mark.parametrize("target", TARGETS)
def test_every_case(target, shard):
    """In a process of its own, begun again where a case kills it: the case then counts as failed."""
    path = BUILD / f"{target}-{shard}.jsonl"
    command = [sys.executable, str(HERE / "onnx_backend.py"), "--target", target, "--shard", f"{shard}/{SHARDS}"]
    for _ in range(10):
        ended = subprocess.run([*command, "--results", str(path)], env=_environment(), capture_output=True, text=True)
        if ended.returncode == 0:
            break
    assert ended.returncode == 0, ended.stderr[-2000:]
    results = read_results(path).values()
    assert [r for r in results if r.status == "fail"] == []
    assert fell_back(results) == []


def _environment():
    import os

    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONWARNINGS": "ignore"}
