"""The CUDA executor on a driver that exists only here; numbers are real, speed and hardware are not."""

import dataclasses
import gc
import importlib.util
from typing import Any

import networks
import numpy as np
import pytest
from networks import N, W, X

pytest.importorskip("cuda.bindings.driver")
from fake_driver import CAPTURE_STREAM, STREAM, FakeDriver, real

from mlirfuse.artifact import Artifact
from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.runtime import Executable
from mlirfuse.runtime.cuda import CudaExecutor, DeviceArray
from mlirfuse.runtime.cuda.code import best_plan


def open_on(driver: FakeDriver, artifact: Artifact) -> Executable:
    return Executable(artifact, CudaExecutor(artifact, threads=None, device=None, api=driver))


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


def device_array(executable: Executable, values: np.ndarray) -> DeviceArray:
    """An array on the fake GPU that holds `values`."""
    context = executable._executor.context  # type: ignore[attr-defined]
    with context.current():
        made = DeviceArray(context, values.shape, values.dtype.name)
        context.driver.call("cuMemcpyHtoD", made.pointer, values.ctypes.data, values.nbytes)
    return made


def test_run_is_one_graph_launch_after_the_first_time(driver: FakeDriver) -> None:
    executable = open_on(driver, networks.plain())
    np.testing.assert_array_equal(executable.run({"x": X})["y"], networks.expected_plain(X))
    driver.calls.clear()
    np.testing.assert_array_equal(executable.run(X + 1)["y"], networks.expected_plain(X + 1))
    assert driver.names() == ["cuCtxPushCurrent", "cuGraphLaunch", "cuStreamSynchronize", "cuCtxPopCurrent"]


def test_the_graph_holds_copies_and_kernels_in_order(driver: FakeDriver) -> None:
    executable = open_on(driver, networks.plain())
    driver.calls.clear()
    executable.run(X)
    captured = driver.names()[driver.names().index("cuStreamBeginCapture") : driver.names().index("cuStreamEndCapture")]
    assert captured[1:] == ["cuMemcpyHtoDAsync", "cuLaunchKernel", "cuLaunchKernel", "cuMemcpyDtoHAsync"]
    streams = {arguments[-1] for name, arguments in driver.calls if "Async" in name}
    assert streams == {CAPTURE_STREAM}


def test_results_of_two_runs_are_separate_arrays(driver: FakeDriver) -> None:
    executable = open_on(driver, networks.plain())
    first, second = executable.run(X)["y"], executable.run(X + 1)["y"]
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, networks.expected_plain(X))


def test_a_host_node_cuts_the_graph(driver: FakeDriver) -> None:
    executable = open_on(driver, networks.with_host_node())
    x = X - W[0] / 2  # makes the first element of 2x + w zero
    for _ in range(2):
        driver.calls.clear()
        made = executable.run(x)
        np.testing.assert_array_equal(made["y"], networks.expected_plain(x))
        np.testing.assert_array_equal(made["where"], np.nonzero(2 * x + W)[0])
    assert driver.names().count("cuGraphLaunch") == 2


def test_arrays_on_the_gpu_stay_there(driver: FakeDriver) -> None:
    executable = open_on(driver, networks.plain())
    x = device_array(executable, X)
    driver.calls.clear()
    made = executable.run({"x": x})["y"]
    assert isinstance(made, DeviceArray)
    assert not any("HtoD" in name or "DtoH" in name for name in driver.names())
    np.testing.assert_array_equal(made.numpy(), networks.expected_plain(X))
    again = executable.run(made)["y"]
    np.testing.assert_array_equal(np.asarray(again), networks.expected_plain(networks.expected_plain(X)))


def test_a_bound_call_on_the_gpu_uses_the_buffers_in_place(driver: FakeDriver) -> None:
    executable = open_on(driver, networks.plain())
    x, y = device_array(executable, X), device_array(executable, np.zeros(N, np.float32))
    call = executable.bind({"x": x}, {"y": y})
    call()
    driver.calls.clear()
    call()
    assert driver.names() == ["cuCtxPushCurrent", "cuGraphLaunch", "cuStreamSynchronize", "cuCtxPopCurrent"]
    np.testing.assert_array_equal(y.numpy(), networks.expected_plain(X))


def test_a_bound_call_on_host_arrays_follows_their_contents(driver: FakeDriver) -> None:
    executable = open_on(driver, networks.plain())
    x = X.copy()
    call = executable.bind([x])
    for step in range(3):
        x += step
        call()
        np.testing.assert_array_equal(call.outputs["y"], networks.expected_plain(x))


def test_measurements_use_the_gpu_clock_and_name_each_launch(driver: FakeDriver) -> None:
    timing = open_on(driver, networks.plain()).benchmark(runs=3, warmup=1)
    assert timing.median == pytest.approx(5e-3)
    assert [name for name, _ in timing.kernels] == ["scale_add", "square"]
    assert [spread.median for _, spread in timing.kernels] == pytest.approx([3e-3, 2e-3])


def test_everything_is_freed(driver: FakeDriver) -> None:
    executable = open_on(driver, networks.with_host_node())
    executable.run(X)
    executable.run(device_array(executable, X))
    assert driver.memory
    del executable
    gc.collect()
    assert not driver.memory
    assert not driver.graphs
    assert driver.context_depth == 0


@pytest.mark.parametrize(
    ("shared", "static", "limit", "dynamic"),
    [(1024, 0, None, 1024), (1024, 1024, None, 0), (100_000, 0, 100_000, 100_000), (100_000, 60_000, 40_000, 40_000)],
)
def test_shared_memory_that_is_not_static_is_asked_for(
    shared: int, static: int, limit: int | None, dynamic: int
) -> None:
    driver = FakeDriver(static_shared=static)
    steps = [networks.launch("square", networks.ref("input"), networks.ref("output"), shared_bytes=shared)]
    open_on(driver, networks.artifact(steps)).run(X)
    assert driver.dynamic_limit.get("square") == limit
    (launched,) = [arguments for name, arguments in driver.calls if name == "cuLaunchKernel"]
    assert launched[7] == dynamic


def test_more_shared_memory_than_the_gpu_has_is_refused() -> None:
    steps = [networks.launch("square", networks.ref("input"), networks.ref("output"), shared_bytes=300_000)]
    with pytest.raises(UnsupportedTarget, match="300000 bytes of shared memory"):
        open_on(FakeDriver(), networks.artifact(steps))


@pytest.mark.parametrize(
    ("capability", "archs", "chosen"),
    [
        ((9, 0), ("sm_80", "sm_90a", "sm_90"), "sm_90a"),
        ((9, 0), ("sm_80", "sm_100"), "sm_80"),
        ((10, 0), ("sm_80", "sm_90a"), "sm_80"),
        ((12, 0), ("sm_80", "sm_90"), "sm_90"),
        ((10, 3), ("sm_90", "sm_100f", "sm_100a"), "sm_100f"),
        ((8, 6), ("sm_80", "sm_89"), "sm_80"),
    ],
)
def test_the_best_plan_is_the_newest_that_runs(
    capability: tuple[int, int], archs: tuple[str, ...], chosen: str
) -> None:
    assert best_plan(networks.plain(archs=archs), capability)[0] == chosen


def test_a_plan_whose_blocks_have_room_goes_before_a_newer_one() -> None:
    steps = [networks.launch("square", networks.ref("input"), networks.ref("output"), shared_bytes=200_000)]
    small, large = networks.plain(archs=("sm_80",)), networks.artifact(steps)
    plans = {"sm_80": small.plans["sm_80"], "sm_90": next(iter(large.plans.values()))}
    both = dataclasses.replace(small, plans=plans)
    assert best_plan(both, (12, 0), 101_376)[0] == "sm_80"
    assert best_plan(both, (9, 0), 232_448)[0] == "sm_90"


def test_a_gpu_too_old_for_every_plan_is_refused() -> None:
    with pytest.raises(UnsupportedTarget, match="plans for sm_80, sm_90a, and this GPU is sm_75"):
        open_on(FakeDriver(capability=(7, 5)), networks.plain())


@pytest.mark.parametrize(("archs", "image"), [(("sm_90",), b"cubin"), (("sm_80",), b"ptx")])
def test_a_cubin_is_used_on_its_own_gpu_only(driver: FakeDriver, archs: tuple[str, ...], image: bytes) -> None:
    open_on(driver, networks.plain(archs=archs, formats=("cubin", "ptx")))
    assert len(driver.images) == 1, "kernels of one image are loaded once"
    assert driver.images[0].startswith(image)
    assert driver.images[0].endswith(b"\0") == (image == b"ptx")


@pytest.mark.parametrize(
    ("function", "status", "kind", "complaint"),
    [
        ("cuInit", "CUDA_ERROR_NO_DEVICE", UnsupportedTarget, "nvidia-smi"),
        ("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY", MlirfuseError, "smaller batch"),
        ("cuModuleLoadDataEx", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", MlirfuseError, "driver 580 or later.*Kernel"),
        ("cuLaunchKernel", "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", MlirfuseError, "Kernel 'scale_add', grid"),
        ("cuStreamSynchronize", "CUDA_ERROR_ILLEGAL_ADDRESS", MlirfuseError, "defect in a compiled kernel"),
        ("cuGraphLaunch", "CUDA_ERROR_UNKNOWN", MlirfuseError, "in the driver's words"),
    ],
)
def test_errors_say_what_happened_and_what_to_do(
    driver: FakeDriver, function: str, status: str, kind: type[Exception], complaint: str
) -> None:
    driver.fail[function] = real.CUresult[status]
    with pytest.raises(kind, match=f"{function} failed with {status}.*{complaint}"):
        open_on(driver, networks.plain()).run(X)
    assert driver.context_depth == 0
    assert driver.capturing is None


def test_no_gpu_and_no_driver_are_unsupported_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedTarget, match="There is no GPU 0: the driver sees 0"):
        open_on(FakeDriver(devices=0), networks.plain())
    for ordinal in (5, -1, "cuda"):
        with pytest.raises(UnsupportedTarget, match="There is no GPU"):
            CudaExecutor(networks.plain(), threads=None, device=ordinal, api=FakeDriver())

    class NoLibrary:
        def cuInit(self, flags: int) -> Any:
            raise RuntimeError("Failed to dlopen libcuda.so.1")

    with pytest.raises(UnsupportedTarget, match=r"libcuda.so.1.*target 'cpu'"):
        CudaExecutor(networks.plain(), threads=None, device=None, api=NoLibrary())


@pytest.mark.parametrize(
    ("shape", "dtype", "complaint"),
    [((5,), "float32", r"of shape \[4\]; found \[5\]"), ((4,), "int32", "of element type float32; found int32")],
)
def test_a_wrong_array_on_the_gpu_is_refused(
    driver: FakeDriver, shape: tuple[int, ...], dtype: str, complaint: str
) -> None:
    executable = open_on(driver, networks.plain())
    wrong = device_array(executable, np.zeros(shape, dtype))
    with pytest.raises(MlirfuseError, match=complaint):
        executable.run(wrong)
    with pytest.raises(MlirfuseError, match=complaint):
        executable.bind([wrong], [wrong])


def test_a_stream_is_handed_to_the_producer(driver: FakeDriver) -> None:
    executable = open_on(driver, networks.plain())
    seen = []

    class Producer:
        def __init__(self, array: DeviceArray) -> None:
            self.array = array

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

        def __dlpack__(self, *, stream: int | None = None) -> Any:
            seen.append(stream)
            return self.array.__dlpack__()

    executable.run(Producer(device_array(executable, X)))
    assert seen == [STREAM]


@pytest.mark.gpu
def test_on_a_real_gpu() -> None:
    if importlib.util.find_spec("cuda") is None:
        pytest.skip("cuda-bindings is not installed")
    try:
        from mlirfuse.runtime.cuda.driver import Driver

        Driver()
    except UnsupportedTarget as error:
        pytest.skip(str(error))
    artifact = networks.real_ptx()
    executable = Executable(artifact, CudaExecutor(artifact, threads=None, device=None))
    np.testing.assert_allclose(executable.run(X)["y"], networks.expected_plain(X))
    timing = executable.benchmark(runs=5)
    assert timing.median > 0
    assert len(timing.kernels) == 2
