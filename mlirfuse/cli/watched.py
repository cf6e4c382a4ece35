"""A compiled network that also returns what each launch stored: the same plan, kernels and memory.

A host node after each launch copies its results, before another launch takes their place.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from mlirfuse.artifact import Artifact, Plan, Program
from mlirfuse.artifact.dtypes import element_bytes

__all__ = ["stored_name", "watched"]

LAUNCHES = ("launch", "parallel")


def stored_name(launch: int, result: int) -> str:
    """The output that holds what launch number `launch` stored as its result number `result`, in memory order."""
    return f"launch {launch} result {result}"


def watched(artifact: Artifact) -> Artifact:
    """`artifact` with one more output for each result of each launch."""
    plans = {arch: _watched_plan(plan) for arch, plan in artifact.plans.items()}
    outputs = next(iter(plans.values())).program.outputs
    return dataclasses.replace(artifact, plans=plans, outputs=outputs)


def _watched_plan(plan: Plan) -> Plan:
    data: dict[str, Any] = copy.deepcopy(dict(plan.program.json))
    steps, outputs = [], data["outputs"]
    launch = 0
    for step in data["steps"]:
        steps.append(step)
        if step["op"] not in LAUNCHES:
            continue
        for number, ref in enumerate(step["args"][len(step["args"]) - step["results"] :]):
            extent = ref["bytes"] // element_bytes(ref["dtype"])
            outputs.append({"name": stored_name(launch, number), "shape": [extent], "dtype": ref["dtype"]})
            steps.append(_copy_step({**ref, "shape": [extent]}, len(outputs) - 1))
        launch += 1
    data["steps"] = steps
    return dataclasses.replace(plan, program=Program.from_json(data))


def _copy_step(source: Mapping[str, Any], output: int) -> dict[str, Any]:
    """A host node that copies; native code knows only the steps that it was compiled with."""
    import onnx

    node = onnx.helper.make_node("Identity", ["x"], ["y"]).SerializeToString()
    destination = {
        "space": "output",
        "index": output,
        "offset": 0,
        **{k: source[k] for k in ("bytes", "dtype", "shape")},
    }
    return {
        "op": "host",
        "node": base64.b64encode(node).decode(),
        "opset": 13,
        "inputs": [source],
        "outputs": [destination],
    }
