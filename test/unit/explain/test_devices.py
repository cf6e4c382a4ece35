"""One network explained for several devices: other kernels and times, and other layers that share one."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlirfuse.cli.main import main
from mlirfuse.device import planning_device

TARGETS = ("cuda:sm_90", "vulkan:intel-xe-lp", "vulkan:mali-g710")


def explained(target: str, folder: Path, *options: str) -> dict[str, Any]:
    path = folder / "plan.json"
    assert main(["explain", "zoo:lenet5", "--target", target, *options, "--json", str(path)]) == 0
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def test_devices_differ_in_kernels_and_seconds_but_not_in_what_the_table_decides(tmp_path: Path) -> None:
    plans = [explained(target, tmp_path, "--fusion", "no-cross-layer") for target in TARGETS]
    groups = [[group["nodes"] for group in data["groups"]] for data in plans]
    assert groups[0] == groups[1] == groups[2]
    kinds = [[edge["kind"] for edge in data["edges"]] for data in plans]
    assert kinds[0] == kinds[1] == kinds[2]
    assert all("contract" in {group["kernel"] for group in data["groups"]} for data in plans)
    seconds = [data["totals"]["seconds"] for data in plans]
    assert seconds == sorted(seconds) and len(set(seconds)) == 3


@pytest.mark.parametrize("target", TARGETS)
def test_layers_share_a_kernel_where_the_device_is_quicker_so(target: str, tmp_path: Path) -> None:
    joined = [group for group in explained(target, tmp_path)["groups"] if group["reuse"] is not None]
    assert joined
    device = planning_device(target.partition(":")[2])
    for group in joined:
        reuse, proof = group["reuse"], group["proof"]
        assert reuse["device"] == device.name and reuse["memory_bytes"] <= device.shared_bytes_per_block
        assert proof["numbers"]["seconds_together"] < sum(part["seconds"] for part in proof["parts"])
