"""A small artifact with everything in it, built the way the compiler builds one."""

import base64
from typing import Any

import numpy as np

from mlirfuse.artifact import Artifact, Image, Kernel, Plan, Program, Recipe, TensorSpec


def ref(space: str, size: int, **more: Any) -> dict[str, Any]:
    """A reference to `size` bytes of float32."""
    return {"space": space, "offset": 0, "index": 0, "key": "", "bytes": size, "dtype": "float32", **more}


def program(steps: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """y[4] = kernel(x[4], packed[6]) by way of the arena, then a host node."""
    launch = {
        "op": "launch",
        "kernel": "k0",
        "grid": [1, 1, 1],
        "block": [32, 1, 1],
        "shared_bytes": 0,
        "args": [ref("input", 16), ref("weight", 24, key="packed"), ref("arena", 16, offset=64)],
    }
    host = {
        "op": "host",
        "node": base64.b64encode(b"node").decode(),
        "opset": 17,
        "inputs": [ref("arena", 16, offset=64, shape=[4]), None],
        "outputs": [ref("output", 16, shape=[4])],
    }
    spec = {"shape": [4], "dtype": "float32"}
    return {
        "arena_bytes": 128,
        "inputs": [{"name": "x", **spec}],
        "outputs": [{"name": "y", **spec}],
        "steps": [launch, host] if steps is None else steps,
    }


def artifact() -> Artifact:
    """Two plans that share a kernel image, two plain weights, a packed one and a seeded one."""
    parsed = Program.from_json(program())
    kernels = {"k0": Kernel("k0", ("k0.ptx",))}
    images = {"k0.ptx": Image("ptx", b".version 8.0 // not really")}
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Artifact(
        model="sample",
        target="cuda:sm_90",
        precision="fp32",
        inputs=(TensorSpec("x", (4,), "float32"),),
        outputs=(TensorSpec("y", (4,), "float32"),),
        plans={arch: Plan("cuda", parsed, kernels, images) for arch in ("sm_90", "sm_80")},
        weights={
            "plain": weight,
            "scalar": np.array(2, np.int64),
            "empty": np.zeros((0, 3), np.float16),
            "packed": Recipe("plain", ({"op": "transpose", "perm": [1, 0]},), (3, 2), "float32"),
            "seeded": Recipe({"seed": 1, "name": "w", "init": "normal", "shape": [2, 2]}, (), (2, 2), "float32"),
        },
        report={"model": "sample", "kernels": [], "totals": {"launches": 1}},
        options={"precision": "fp32"},
    )
