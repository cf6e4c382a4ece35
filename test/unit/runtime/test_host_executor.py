"""The CPU executor on native code compiled from hand-written kernels: y = (2x + w)^2 in tiles of two."""

import gc
import threading
from typing import Any

import networks
import numpy as np
import pytest
from networks import N, W, X

from mlirfuse.artifact import Artifact, Program, host_plan
from mlirfuse.errors import ArtifactError, MlirfuseError
from mlirfuse.lowering.host import compile_host
from mlirfuse.runtime import Executable, load

KERNELS = """
module attributes {fusion.stage = "kernels"} {
  func.func private @scale_add(%x: memref<4xf32>, %w: memref<4xf32>, %y: memref<4xf32>, %tile: index) {
    %two = arith.constant 2.0 : f32
    affine.for %i = 0 to 2 {
      %a = affine.load %x[%tile * 2 + %i] : memref<4xf32>
      %b = affine.load %w[%tile * 2 + %i] : memref<4xf32>
      %c = arith.mulf %a, %two : f32
      %d = arith.addf %c, %b : f32
      affine.store %d, %y[%tile * 2 + %i] : memref<4xf32>
    }
    return
  }
  func.func private @square(%x: memref<4xf32>, %y: memref<4xf32>, %tile: index) {
    affine.for %i = 0 to 2 {
      %a = affine.load %x[%tile * 2 + %i] : memref<4xf32>
      %b = arith.mulf %a, %a : f32
      affine.store %b, %y[%tile * 2 + %i] : memref<4xf32>
    }
    return
  }
}
"""


def compiled(network: Artifact) -> Artifact:
    """The network with its launches as parallel steps of two tiles, and native code for them."""
    data = dict(network.plans["cpu"].program.json)
    data["steps"] = [
        {"op": "parallel", "kernel": s["kernel"], "tiles": 2, "args": s["args"]} if s["op"] == "launch" else s
        for s in data["steps"]
    ]
    plan = host_plan(Program.from_json(data), compile_host(KERNELS, data, isolated=False))
    return Artifact("net", "cpu", "fp32", network.inputs, network.outputs, {"cpu": plan}, {"w": W}, network.report)


OPTIONS: dict[str, Any] = {"kind": "cpu", "archs": ("cpu",)}


@pytest.fixture(scope="module")
def plain() -> Artifact:
    return compiled(networks.plain(**OPTIONS))


@pytest.fixture(scope="module")
def with_host_node() -> Artifact:
    return compiled(networks.with_host_node(**OPTIONS))


@pytest.mark.parametrize("threads", [1, 2])
def test_it_computes_after_a_round_trip(plain: Artifact, threads: int) -> None:
    executable = load(plain.to_bytes(), threads=threads)
    assert executable.threads == threads
    for shift in range(3):
        x = X + np.float32(shift)
        np.testing.assert_array_equal(executable.run(x)["y"], networks.expected_plain(x))


@pytest.mark.parametrize("threads", [1, 2])
def test_host_nodes_run_between_native_stretches(with_host_node: Artifact, threads: int) -> None:
    executable = load(with_host_node, threads=threads)
    x = X - W[0] / 2
    for _ in range(3):
        made = executable.run(x)
        np.testing.assert_array_equal(made["y"], networks.expected_plain(x))
        np.testing.assert_array_equal(made["where"], np.nonzero(2 * x + W)[0])


def test_host_values_of_known_shape_feed_native_steps() -> None:
    from onnx import helper

    steps = [
        networks.host(
            helper.make_node("Neg", ["x"], ["g"]), [networks.ref("input", shape=[N])], [{"space": "host", "index": 3}]
        ),
        networks.launch("square", networks.ref("host", index=3), networks.ref("output")),
    ]
    executable = load(compiled(networks.artifact(steps, **OPTIONS)))
    for x in (X, X + 1):
        np.testing.assert_array_equal(executable.run(x)["y"], x**2)


def test_copies_are_native() -> None:
    steps = [
        {"op": "copy", "source": networks.ref("input"), "destination": networks.ref("arena", offset=64)},
        networks.launch("square", networks.ref("arena", offset=64), networks.ref("output")),
    ]
    np.testing.assert_array_equal(load(compiled(networks.artifact(steps, **OPTIONS))).run(X)["y"], X**2)


def test_a_bound_call_uses_the_buffers_in_place(plain: Artifact) -> None:
    x, y = X.copy(), np.zeros(N, np.float32)
    call = load(plain).bind([x], [y])
    for _ in range(3):
        x += 1
        call()
        np.testing.assert_array_equal(y, networks.expected_plain(x))


def test_threads_can_be_changed(plain: Artifact) -> None:
    executable = load(plain, threads=1)
    for threads in (2, 1):
        executable.threads = threads
        assert executable.threads == threads
        np.testing.assert_array_equal(executable.run(X)["y"], networks.expected_plain(X))
    with pytest.raises(MlirfuseError, match="from 1 to 1024"):
        executable.threads = 0


def test_threads_come_from_the_environment(plain: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLIRFUSE_THREADS", "1")
    assert load(plain).threads == 1
    assert load(plain, threads=2).threads == 2


def test_callers_from_several_threads_take_turns(plain: Artifact) -> None:
    executable, wrong = load(plain, threads=2), []

    def use(seed: int) -> None:
        x = X + np.float32(seed)
        for _ in range(50):
            if not np.array_equal(executable.run(x)["y"], networks.expected_plain(x)):
                wrong.append(seed)

    workers = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_each_kernel_is_timed(with_host_node: Artifact) -> None:
    timing = load(with_host_node).benchmark(runs=5, warmup=1)
    assert [name for name, _ in timing.kernels] == ["scale_add", "square"]
    assert all(0 < spread.median < 1 for _, spread in timing.kernels)
    assert 0 < timing.median < 1


def test_weights_stay_mapped_and_results_outlive_the_executable(plain: Artifact, tmp_path: Any) -> None:
    plain.save(tmp_path / "net.mlirfuse")
    executable: Executable | None = load(tmp_path / "net.mlirfuse")
    assert executable is not None
    made = executable.run(X)["y"]
    del executable
    gc.collect()
    np.testing.assert_array_equal(made, networks.expected_plain(X))


def test_calls_cost_microseconds(plain: Artifact) -> None:
    """What Python adds to an inference; generous, since machines are shared."""
    executable = load(plain, threads=1)
    assert executable.benchmark(runs=200).median < 100e-6


def test_a_device_is_refused(plain: Artifact) -> None:
    with pytest.raises(MlirfuseError, match="takes no device"):
        load(plain, device=1)


def test_code_for_a_better_cpu_is_refused(plain: Artifact) -> None:
    plan = plain.plans["cpu"]
    better = type(plan)("cpu", plan.program, plan.kernels, plan.images, ("avx1024",), plan.metadata)
    with pytest.raises(ArtifactError, match="avx1024"):
        load(Artifact("net", "cpu", "fp32", plain.inputs, plain.outputs, {"cpu": better}, {"w": W}))


@pytest.mark.parametrize(
    "slots",
    [None, [{"space": "moon"}], [{"space": "weight", "key": "gone"}], [{"space": "input", "index": 4}]],
)
def test_slots_must_be_about_the_program(plain: Artifact, slots: Any) -> None:
    plan = plain.plans["cpu"]
    wrong = type(plan)("cpu", plan.program, plan.kernels, plan.images, (), {} if slots is None else {"slots": slots})
    with pytest.raises(ArtifactError, match="malformed"):
        load(Artifact("net", "cpu", "fp32", plain.inputs, plain.outputs, {"cpu": wrong}, {"w": W}))
