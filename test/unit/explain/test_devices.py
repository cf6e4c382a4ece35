"""One network explained for several devices: the same groups, other kernels and times."""

import json
from pathlib import Path
from typing import Any

from mlirfuse.cli.main import main

TARGETS = ("cuda:sm_90", "vulkan:intel-xe-lp", "vulkan:mali-g710")


def explained(target: str, folder: Path) -> dict[str, Any]:
    path = folder / "plan.json"
    assert main(["explain", "zoo:lenet5", "--target", target, "--json", str(path)]) == 0
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def test_devices_differ_in_kernels_and_seconds_but_not_in_groups(tmp_path: Path) -> None:
    large, small, smaller = (explained(target, tmp_path) for target in TARGETS)
    groups = [[group["nodes"] for group in data["groups"]] for data in (large, small, smaller)]
    assert groups[0] == groups[1] == groups[2]
    kinds = [[edge["kind"] for edge in data["edges"]] for data in (large, small, smaller)]
    assert kinds[0] == kinds[1] == kinds[2]
    assert all("contract" in {group["kernel"] for group in data["groups"]} for data in (large, small, smaller))
    seconds = [data["totals"]["seconds"] for data in (large, small, smaller)]
    assert seconds == sorted(seconds) and len(set(seconds)) == 3
