"""Values that nodes on the host share with kernels: where they are if GPU and host have one memory, else copied."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from shader_runs import compiled_here, needs_vulkan

import mlirfuse
from mlirfuse.artifact import Artifact, Ref
from mlirfuse.errors import MlirfuseError

pytestmark = needs_vulkan


def network() -> onnx.ModelProto:
    """relu, a determinant on the host, and its sum with what the host also reads."""
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Det", ["r"], ["d"], name="det"),
            helper.make_node("Add", ["r", "d"], ["y"]),
        ],
        "host",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (3, 3))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


X = np.random.default_rng(3).standard_normal((3, 3)).astype(np.float32)
EXPECTED = np.maximum(X, 0) + np.linalg.det(np.maximum(X, 0))


@pytest.fixture(scope="module")
def compiled() -> Artifact:
    return compiled_here(network())


@pytest.fixture(params=["one memory", "two memories"])
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the GPU's memory is taken for the host's, which the software driver's is."""
    from mlirfuse.runtime.vulkan import device

    if request.param == "two memories":
        monkeypatch.setattr(device, "_HOST_MEMORY", ())
    return request.param == "one memory"


class Transfers:
    """Counts what a queue copies between host and GPU."""

    def __init__(self, queue: object) -> None:
        self._queue, self.count = queue, 0

    def __getattr__(self, name: str) -> object:
        self.count += name in ("read_buffer", "write_buffer")
        return getattr(self._queue, name)


def test_a_node_on_the_host_costs_no_copy_in_one_memory(
    compiled: Artifact, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = mlirfuse.load(compiled)
    np.testing.assert_allclose(found.run(X)["y"], EXPECTED, rtol=1e-5)
    device = found._executor.device
    transfers = Transfers(device.queue)
    monkeypatch.setattr(type(device), "queue", transfers)
    for _ in range(2):
        np.testing.assert_allclose(found.run(X)["y"], EXPECTED, rtol=1e-5)
    assert (transfers.count == 0) == shared
    call = found.bind([X])
    call()
    np.testing.assert_allclose(call.outputs["y"], EXPECTED, rtol=1e-5)


def test_what_a_node_hands_on_outlives_the_buffer(compiled: Artifact, shared: bool) -> None:
    """A node may give back what it read; a node that failed leaves nothing behind."""
    memory = mlirfuse.load(compiled)._executor._memory
    ref = Ref("input", key="", index=0, offset=0, bytes=36, dtype="float32", shape=(3, 3), name="x")
    kept = Ref("host", key="", index=5, offset=0, bytes=0, dtype="float32", shape=(3, 3), name="k")
    memory.put_input(0, X)
    seen = memory.load(ref)
    np.testing.assert_array_equal(seen, X)
    memory.store(kept, seen, "node")
    memory.store(ref, seen.T, "node")
    memory.flush()
    np.testing.assert_array_equal(memory.load(kept), X)
    np.testing.assert_array_equal(memory.load(ref), X.T)
    memory.store(ref, np.zeros_like(X), "node")
    memory.close()
    memory.flush()
    np.testing.assert_array_equal(memory.load(ref), X.T)
    memory.close()


@pytest.mark.parametrize("offset", [0, 4, 8, 36])
def test_bytes_are_where_they_were_put(compiled: Artifact, shared: bool, offset: int) -> None:
    memory = mlirfuse.load(compiled)._executor._memory
    region = memory._arena
    region.write(0, np.arange(128, dtype=np.uint8))
    region.write(offset, np.full(12, 255, np.uint8))
    region.close()
    expected = np.arange(128, dtype=np.uint8)
    expected[offset : offset + 12] = 255
    np.testing.assert_array_equal(region.read(0, 128), expected)
    np.testing.assert_array_equal(region.read(offset, 20), expected[offset : offset + 20])
    region.close()


class Elsewhere:
    """An array of another library: of these bytes, on a device of this DLPack type."""

    def __init__(self, array: np.ndarray, kind: int) -> None:
        self.array, self.kind = array, kind

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.kind, 0)

    def __dlpack__(self, **settings: object) -> object:
        return self.array.__dlpack__(**settings)


def test_arrays_of_other_libraries_in_host_memory_are_taken(compiled: Artifact) -> None:
    found = mlirfuse.load(compiled)
    np.testing.assert_allclose(found.run(Elsewhere(X, 1))["y"], EXPECTED, rtol=1e-5)
    given, made = X.copy(), np.zeros_like(X)
    call = found.bind([Elsewhere(given, 1)], [made])
    for _ in range(2):
        call()
        positive = np.maximum(given, 0)
        np.testing.assert_allclose(made, positive + np.linalg.det(positive), rtol=1e-4, atol=1e-6)
        given *= 2


@pytest.mark.parametrize(("kind", "place"), [(2, "a CUDA device"), (7, "a Vulkan device")])
def test_arrays_on_a_device_are_refused_with_what_to_do(compiled: Artifact, kind: int, place: str) -> None:
    found = mlirfuse.load(compiled)
    with pytest.raises(MlirfuseError, match=f"'x' should be an array in host memory.*found one on {place}; copy it"):
        found.run(Elsewhere(X, kind))
    with pytest.raises(MlirfuseError, match="'y' should be an array in host memory"):
        found.bind([X], [Elsewhere(np.zeros_like(X), kind)])


@pytest.mark.parametrize(
    ("target", "copies"), [("vulkan", 2), ("vulkan:intel-xe-lp", 0), ("cuda:sm_90", 2), ("cpu", 0)]
)
def test_reports_count_copies_for_nodes_on_the_host_where_memories_differ(target: str, copies: int) -> None:
    artifact = compiled_here(network(), target)
    totals = artifact.report["totals"]
    assert totals["fallback_nodes"] == 1
    assert (totals["host_copies"], totals["host_copy_bytes"]) == (copies, 40 if copies else 0)
    explained = artifact.explained()
    assert explained["totals"]["host_copy_bytes"] == totals["host_copy_bytes"]
    across = [e for e in explained["edges"] if e["kind"] == "boundary"]
    assert len(across) == 2
    for edge in across:
        assert ("bytes are copied in" in edge["reason"]) == (edge["numbers"]["seconds_copied"] > 0) == (copies > 0)
