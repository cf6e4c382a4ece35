"""The kernels executed by a Vulkan driver, which shares no code with the simulator."""

import types

import numpy as np
import onnx
import pytest
from group_builder import GroupBuilder, random_operands, reference
from onnx import TensorProto, helper, numpy_helper
from shader_runs import compiled_here, run_group

import mlirfuse
from mlirfuse.errors import MlirfuseError, UnsupportedTarget

device = pytest.importorskip("mlirfuse.runtime.vulkan.device", reason="wgpu is not installed")
clock = pytest.importorskip("mlirfuse.runtime.vulkan.clock", reason="wgpu is not installed")
executor = pytest.importorskip("mlirfuse.runtime.vulkan.executor", reason="wgpu is not installed")
lanes = pytest.importorskip("mlirfuse.runtime.vulkan.lanes", reason="wgpu is not installed")
Clock = clock.Clock
pytestmark = pytest.mark.skipif(
    not device.adapters(), reason="there is no Vulkan driver: apt-get install mesa-vulkan-drivers"
)

RANDOM = np.random.default_rng(7)


def real(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def model(nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, ...]], **weights: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(op: str, *inputs: str, out: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [out], **attributes)


IMAGE = {"x": (1, 6, 13, 11)}
NETWORKS = {
    "register-tiled convolution": model(
        [node("Conv", "x", "w", "b", out="c", strides=[2, 2], pads=[1, 1, 1, 1]), node("Relu", "c")],
        IMAGE, w=real(32, 6, 3, 3), b=real(32),
    ),
    "depthwise convolution": model([node("Conv", "x", "w", group=6, pads=[1, 1, 1, 1])], IMAGE, w=real(6, 1, 3, 3)),
    "pooling with padding": model([node("MaxPool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], IMAGE),
    "contraction": model([node("MatMul", "x", "w")], {"x": (5, 64)}, w=real(64, 30)),
    "softmax": model([node("Softmax", "x")], {"x": (4, 1000)}),
    "reduction": model([node("ReduceMean", "x", axes=[1])], {"x": (8, 512)}),
    "movement": model([node("Transpose", "x", out="t", perm=[0, 2, 3, 1]), node("Relu", "t")], IMAGE),
}  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_kernels_agree_with_native_code(network: onnx.ModelProto) -> None:
    found = mlirfuse.load(compiled_here(network))
    values = [real(*spec.shape) for spec in found.inputs]
    expected = mlirfuse.load(compiled_here(network, "cpu")).run(*values)["y"]
    np.testing.assert_allclose(found.run(*values)["y"], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


FUNCTIONS = ("Erf", "Exp", "Tanh", "Sin", "Cos", "Tan", "Sinh", "Log", "Sigmoid", "Softplus", "Elu", "Atan", "Asinh")


def test_constants_that_are_no_numbers_in_vectors() -> None:
    x = real(256, 256)
    x[3, 5:8] = np.inf, -np.inf, np.nan
    network = model([node("IsInf", "x", out="i"), node("Where", "i", "one", "x")], {"x": (256, 256)}, one=real(1))
    expected = mlirfuse.load(compiled_here(network, "cpu")).run(x)["y"]
    np.testing.assert_array_equal(mlirfuse.load(compiled_here(network)).run(x)["y"], expected)


def test_doubles_have_infinities_too() -> None:
    b = GroupBuilder()
    group = b.group(b.pool(b.input(1, 1, 5, dtype="float64"), "max", (2,), (2,), (1, 1), (3,)))
    operands = random_operands(group)
    np.testing.assert_array_equal(run_group(group, operands)[0], reference(group, operands)[0])


def test_elementary_functions_have_their_digits() -> None:
    """One kernel of all functions, near zero, at infinities and for NaN."""
    nodes = [node(op, "x", out=op) for op in FUNCTIONS]
    nodes.append(node("Concat", *FUNCTIONS, axis=0))
    network = model(nodes, {"x": (1, 300)})
    x = np.concatenate([real(285) * 4, [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 87.0, -87.0, 1.0]])
    x = np.resize(x, (1, 300)).astype(np.float32)
    found = mlirfuse.load(compiled_here(network)).run(x)["y"]
    expected = mlirfuse.load(compiled_here(network, "cpu")).run(x)["y"]
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(found), finite)
    # Vulkan's fma may round twice, which tan feels beside its poles
    np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-4, atol=2e-7)


def test_an_artifact_runs_again_and_buffers_can_be_bound(tmp_path: object) -> None:
    made = mlirfuse.compile(NETWORKS["softmax"], target="vulkan")
    made.save(tmp_path / "net.mlirfuse")
    loaded = mlirfuse.load(tmp_path / "net.mlirfuse")
    x = real(4, 1000)
    call = loaded.bind([x])
    call()
    np.testing.assert_array_equal(call.outputs["y"], made.run(x)["y"])


@pytest.mark.parametrize("network", ["softmax", "reduction"])
def test_a_gpu_whose_subgroups_are_too_narrow_is_refused(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = compiled_here(NETWORKS[network], "vulkan:mali-g710")
    assert artifact.plans["mali-g710"].metadata["subgroup"] == 16
    monkeypatch.setattr(lanes, "neighbouring_lanes", lambda *_: 4)
    with pytest.raises(UnsupportedTarget, match="among 16 neighbouring threads, and on this GPU 4 can"):
        mlirfuse.load(artifact)


def test_a_gpu_that_is_not_there_is_named() -> None:
    artifact = compiled_here(NETWORKS["reduction"])
    with pytest.raises(UnsupportedTarget, match="There is no GPU 99 for Vulkan here; there are 0: "):
        mlirfuse.load(artifact, device=99)
    with pytest.raises(MlirfuseError, match="has no threads to choose"):
        mlirfuse.load(artifact).threads = 2


LIMITS = {
    "max-compute-invocations-per-workgroup": "has blocks of [0-9]+ threads, and this GPU runs 1; compile for vulkan:",
    "max-storage-buffers-per-shader-stage": "reads and writes [0-9]+ buffers, and this GPU binds 1; .*fusion='none'",
    "max-compute-workgroup-storage-size": "shares [0-9]+ bytes in a block, and this GPU has 1; compile for vulkan:",
    "max-storage-buffer-binding-size": "a tensor of [0-9]+ bytes, and this GPU binds 1 at once; .* a smaller batch",
}


@pytest.mark.parametrize("limit", LIMITS)
def test_what_is_beyond_a_limit_of_the_gpu_is_said(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = compiled_here(NETWORKS["contraction"])
    small = types.SimpleNamespace(limits=dict(device.open_device(None, ()).limits) | {limit: 1})
    monkeypatch.setattr(executor, "open_device", lambda *_: small)
    monkeypatch.setattr(executor, "Memory", lambda *_: None)
    with pytest.raises(UnsupportedTarget, match=LIMITS[limit]):
        mlirfuse.load(artifact)


def test_what_the_driver_lacks_is_said() -> None:
    with pytest.raises(
        UnsupportedTarget, match="cannot run this network: its kernels need CooperativeMatrixKHR of SPIR"
    ):
        device.open_device(None, ("GroupNonUniform", "CooperativeMatrixKHR"))


def test_without_a_driver_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "adapters", lambda: ())
    with pytest.raises(UnsupportedTarget, match="No GPU with a Vulkan driver was found here"):
        device.open_device(None, ())


CHAIN = model(
    [node("MatMul", "x", "w", out="a"), node("Softmax", "a", out="b"), node("MatMul", "b", "w")],
    {"x": (8, 64)},
    w=real(64, 64),
)


def test_an_inference_is_one_pass_of_pipelines_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = mlirfuse.load(compiled_here(CHAIN, fusion="none"))
    assert found.report().to_dict()["totals"]["launches"] == 3
    x = real(8, 64)
    expected = found.run(x)["y"]
    opened = found._executor.device
    encoder = type(opened.create_command_encoder())
    begin, passes = encoder.begin_compute_pass, []

    def begin_counted(*args: object, **settings: object) -> object:
        passes.append(begin(*args, **settings))
        return passes[-1]

    monkeypatch.setattr(encoder, "begin_compute_pass", begin_counted)
    monkeypatch.setattr(type(opened), "create_compute_pipeline", None)
    np.testing.assert_array_equal(found.run(x)["y"], expected)
    assert len(passes) == 1


def test_times_are_of_whole_runs_and_of_every_launch_by_the_gpu_s_clock() -> None:
    made = mlirfuse.load(compiled_here(CHAIN, fusion="none"))
    timing = made.benchmark(runs=3, warmup=1)
    launches = [row["kernel"] for row in made.report().to_dict()["kernels"]]
    assert [name for name, _ in timing.kernels] == launches and len(launches) == 3
    each = [spread.median for _, spread in timing.kernels]
    assert timing.runs == 3 and min(each) > 0
    assert max(each) < timing.device.p90 and timing.device.p10 < timing.copies.p90


def test_without_a_clock_of_its_own_a_gpu_is_timed_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "of", lambda *_: None)
    timing = mlirfuse.load(compiled_here(CHAIN)).benchmark(runs=2, warmup=1)
    assert timing.runs == 2 and min(timing.device.median, timing.copies.median) > 0 and not timing.kernels


def test_a_clock_has_as_many_timestamps_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One set of them may hold fewer than a program launches; sets are then read one after the other."""
    monkeypatch.setattr(clock, "_MOST", 32)
    launches = 40
    nodes = [node("Softmax" if i % 2 else "Tanh", f"v{i}", out=f"v{i + 1}") for i in range(launches - 1)]
    network = model([*nodes, node("Softmax", f"v{launches - 1}")], {"v0": (4, 8)})
    timing = mlirfuse.load(compiled_here(network, fusion="none")).benchmark(runs=1, warmup=0)
    assert len(timing.kernels) == launches
    assert all(0 < spread.median < timing.device.median for _, spread in timing.kernels)
