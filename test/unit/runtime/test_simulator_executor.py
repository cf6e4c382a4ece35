"""The simulator's executor with stand-ins for kernels: what matters here is steps, memory and counters."""

from dataclasses import dataclass
from typing import Any

import networks
import numpy as np
import pytest
from networks import W, X

import mlirfuse.runtime.simulator as module
from mlirfuse.artifact import Artifact, Image, Plan
from mlirfuse.errors import ArtifactError
from mlirfuse.runtime import load


@dataclass
class Moved:
    flops: int


class StandIn:
    """A kernel that is a Python function on flat buffers."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def from_text(cls, text: str, name: str) -> "StandIn":
        assert text == "mlir of every kernel"
        return cls(name)

    def launch(self, grid: Any, block: Any, buffers: list[np.ndarray], mode: str, offsets: list[int]) -> Moved:
        assert len(offsets) == len(buffers)
        assert (tuple(grid), tuple(block)) == ((2, 1, 1), (2, 1, 1))
        assert all(buffer.ndim == 1 and buffer.dtype == np.float32 for buffer in buffers)
        if mode == "count":
            return Moved(0)
        if self.name == "scale_add":
            buffers[2][:] = 2 * buffers[0] + buffers[1]
        else:
            buffers[1][:] = buffers[0] ** 2
        return Moved(len(buffers))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_kernel_class", lambda: StandIn)


KERNELS = """
module attributes {gpu.container_module, fusion.stage = "kernels"} {
  gpu.module @kernels {
    gpu.func @scale_add(%x: memref<4xf32, #gpu.address_space<global>>, %w: memref<4xf32, #gpu.address_space<global>>,
                        %y: memref<4xf32, #gpu.address_space<global>>) kernel {
      %two = arith.constant 2.0 : f32
      %b = gpu.block_id x
      %t = gpu.thread_id x
      %0 = affine.load %x[symbol(%b) * 2 + symbol(%t)] : memref<4xf32, #gpu.address_space<global>>
      %1 = affine.load %w[symbol(%b) * 2 + symbol(%t)] : memref<4xf32, #gpu.address_space<global>>
      %2 = arith.mulf %0, %two : f32
      %3 = arith.addf %2, %1 : f32
      affine.store %3, %y[symbol(%b) * 2 + symbol(%t)] : memref<4xf32, #gpu.address_space<global>>
      gpu.return
    }
    gpu.func @square(%x: memref<4xf32, #gpu.address_space<global>>,
                     %y: memref<4xf32, #gpu.address_space<global>>) kernel {
      %b = gpu.block_id x
      %t = gpu.thread_id x
      %0 = affine.load %x[symbol(%b) * 2 + symbol(%t)] : memref<4xf32, #gpu.address_space<global>>
      %1 = arith.mulf %0, %0 : f32
      affine.store %1, %y[symbol(%b) * 2 + symbol(%t)] : memref<4xf32, #gpu.address_space<global>>
      gpu.return
    }
  }
}
"""

OPTIONS: dict[str, Any] = {"kind": "simulator", "archs": ("sm_90",), "formats": ("mlir",)}


@pytest.mark.usefixtures("stand_in")
def test_launches_run_in_order_and_are_counted() -> None:
    executable = load(networks.plain(**OPTIONS))
    np.testing.assert_array_equal(executable.run(X)["y"], networks.expected_plain(X))
    counters = executable._executor.counters  # type: ignore[attr-defined]
    assert counters == [("scale_add", Moved(3)), ("square", Moved(2))]


@pytest.mark.usefixtures("stand_in")
def test_host_nodes_run_between_launches_and_may_make_shapes() -> None:
    executable = load(networks.with_host_node(**OPTIONS))
    x = X - W[0] / 2
    for _ in range(2):
        made = executable.run(x)
        np.testing.assert_array_equal(made["y"], networks.expected_plain(x))
        np.testing.assert_array_equal(made["where"], np.nonzero(2 * x + W)[0])


@pytest.mark.usefixtures("stand_in")
def test_copies_move_bytes() -> None:
    steps = [
        {"op": "copy", "source": networks.ref("input"), "destination": networks.ref("arena")},
        {"op": "copy", "source": networks.ref("arena"), "destination": networks.ref("output")},
    ]
    np.testing.assert_array_equal(load(networks.artifact(steps, **OPTIONS)).run(X)["y"], X)


@pytest.mark.usefixtures("stand_in")
def test_bound_buffers_are_used_in_place() -> None:
    x = X.copy()
    call = load(networks.plain(**OPTIONS)).bind([x])
    x += 3
    call()
    np.testing.assert_array_equal(call.outputs["y"], networks.expected_plain(x))


@pytest.mark.usefixtures("stand_in")
def test_launches_are_timed() -> None:
    timing = load(networks.plain(**OPTIONS)).benchmark(runs=2, warmup=0)
    assert [name for name, _ in timing.kernels] == ["scale_add", "square"]


@pytest.mark.usefixtures("stand_in")
def test_an_artifact_without_a_plan_for_the_simulator_is_refused() -> None:
    with pytest.raises(ArtifactError, match="holds no plan for 'simulator'"):
        load(networks.plain(**{**OPTIONS, "archs": ()}))


@pytest.mark.usefixtures("stand_in")
def test_a_host_node_that_makes_something_else_is_an_error() -> None:
    from onnx import helper

    from mlirfuse.errors import MlirfuseError

    node = helper.make_node("Cast", ["h"], ["g"], to=7, name="cast")
    steps = [networks.host(node, [networks.ref("input", shape=[4])], [networks.ref("output", shape=[4])])]
    with pytest.raises(MlirfuseError, match=r"'cast' \(Cast\) made int64\[4\], and the program has room for float32"):
        load(networks.artifact(steps, **OPTIONS)).run(X)


def test_the_real_simulator_computes_and_counts() -> None:
    made = networks.plain(**OPTIONS)
    plan = made.plans["sm_90"]
    real = Plan("simulator", plan.program, plan.kernels, {"code.mlir": Image("mlir", KERNELS.encode())})
    artifact = Artifact("net", "simulator", "fp32", made.inputs, made.outputs, {"sm_90": real}, made.weights)
    executable = load(artifact.to_bytes())
    np.testing.assert_array_equal(executable.run(X)["y"], networks.expected_plain(X))
    executor: Any = executable._executor
    counted = executor.count()
    assert [name for name, _ in counted] == ["scale_add", "square"]
    assert [moved.dram_read_bytes for _, moved in counted] == [64, 32]
    executor.mode = "check"
    np.testing.assert_array_equal(executable.run(X)["y"], networks.expected_plain(X))
    assert [moved.dram_bytes for _, moved in executor.counters] == [moved.dram_bytes for _, moved in counted]
