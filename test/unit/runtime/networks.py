"""Small artifacts whose kernels are stand-ins: y = 2x + w, then an ONNX node on the host, and so on."""

import base64
from typing import Any

import numpy as np
from onnx import helper

from mlirfuse.artifact import Artifact, Image, Kernel, Plan, Program, TensorSpec

N = 4
X = np.arange(N, dtype=np.float32)
W = np.array([10, 20, 30, 40], np.float32)


def ref(space: str, **more: Any) -> dict[str, Any]:
    """All N floats of a value."""
    return {"space": space, "offset": 0, "index": 0, "key": "w", "bytes": 4 * N, "dtype": "float32", **more}


def launch(kernel: str, *args: dict[str, Any], shared_bytes: int = 0) -> dict[str, Any]:
    return {
        "op": "launch",
        "kernel": kernel,
        "grid": [2, 1, 1],
        "block": [2, 1, 1],
        "shared_bytes": shared_bytes,
        "args": list(args),
    }


def host(node: Any, inputs: list[Any], outputs: list[Any], opset: int = 17) -> dict[str, Any]:
    encoded = base64.b64encode(node.SerializeToString()).decode()
    return {"op": "host", "node": encoded, "opset": opset, "inputs": inputs, "outputs": outputs}


def artifact(
    steps: list[dict[str, Any]],
    outputs: tuple[TensorSpec, ...] = (TensorSpec("y", (N,), "float32"),),
    kind: str = "cuda",
    archs: tuple[str, ...] = ("sm_80", "sm_90a"),
    formats: tuple[str, ...] = ("ptx",),
) -> Artifact:
    """One input x[4], weight w[4], an arena of two such values."""
    inputs = (TensorSpec("x", (N,), "float32"),)
    described = {
        "arena_bytes": 512,
        "inputs": [spec.to_json() for spec in inputs],
        "outputs": [spec.to_json() for spec in outputs],
        "steps": steps,
    }
    program = Program.from_json(described)
    images = {f"code.{form}": Image(form, f"{form} of every kernel".encode()) for form in formats}
    kernels = {name: Kernel(name, tuple(images)) for name in program.kernels()}
    plans = {arch: Plan(kind, program, kernels, images) for arch in archs}
    report = {"model": "net", "totals": {"launches": len(steps)}, "kernels": [], "compile_seconds": {"graph": 0.1}}
    return Artifact("net", kind, "fp32", inputs, outputs, plans, {"w": W}, report)


def plain(**options: Any) -> Artifact:
    """h = 2x + w in the arena, y = h * h."""
    steps = [
        launch("scale_add", ref("input"), ref("weight"), ref("arena", offset=256)),
        launch("square", ref("arena", offset=256), ref("output")),
    ]
    return artifact(steps, **options)


def expected_plain(x: np.ndarray) -> np.ndarray:
    return (2 * x + W) ** 2


def with_host_node(**options: Any) -> Artifact:
    """h = 2x + w, g = Neg(h) on the host, y = g * g; a second output holds NonZero(h), of unknown length."""
    middle = ref("arena", offset=256, shape=[N])
    steps = [
        launch("scale_add", ref("input"), ref("weight"), ref("arena", offset=256)),
        host(helper.make_node("Neg", ["h"], ["g"]), [middle], [ref("arena", shape=[N])]),
        host(helper.make_node("NonZero", ["h"], ["i"]), [middle], [{"space": "host", "index": 7}]),
        host(
            helper.make_node("Squeeze", ["i"], ["j"]),
            [{"space": "host", "index": 7}],
            [{"space": "output", "index": 1, "dtype": "int64", "shape": [None]}],
        ),
        launch("square", ref("arena"), ref("output")),
    ]
    outputs = (TensorSpec("y", (N,), "float32"), TensorSpec("where", (None,), "int64"))
    return artifact(steps, outputs, **options)


_PTX = """
.version 7.0
.target sm_80
.address_size 64
.visible .entry scale_add(.param .u64 px, .param .u64 pw, .param .u64 py) {
  .reg .b64 %a<8>; .reg .b32 %r<8>; .reg .f32 %f<4>;
  ld.param.u64 %a1, [px]; ld.param.u64 %a2, [pw]; ld.param.u64 %a3, [py];
  mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3; mul.wide.u32 %a4, %r4, 4;
  add.u64 %a1, %a1, %a4; add.u64 %a2, %a2, %a4; add.u64 %a3, %a3, %a4;
  ld.global.f32 %f1, [%a1]; ld.global.f32 %f2, [%a2];
  fma.rn.f32 %f3, %f1, 0f40000000, %f2; st.global.f32 [%a3], %f3; ret;
}
.visible .entry square(.param .u64 px, .param .u64 py) {
  .reg .b64 %a<8>; .reg .b32 %r<8>; .reg .f32 %f<4>;
  ld.param.u64 %a1, [px]; ld.param.u64 %a2, [py];
  mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3; mul.wide.u32 %a4, %r4, 4;
  add.u64 %a1, %a1, %a4; add.u64 %a2, %a2, %a4;
  ld.global.f32 %f1, [%a1]; mul.rn.f32 %f2, %f1, %f1; st.global.f32 [%a2], %f2; ret;
}
"""


def real_ptx() -> Artifact:
    """`plain` with kernels that a GPU runs."""
    made = plain(archs=("sm_80",))
    plan = made.plans["sm_80"]
    real = Plan("cuda", plan.program, plan.kernels, {"code.ptx": Image("ptx", _PTX.encode())})
    return Artifact("net", "cuda", "fp32", made.inputs, made.outputs, {"sm_80": real}, made.weights, made.report)
