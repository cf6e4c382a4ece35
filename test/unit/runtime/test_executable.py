"""What an Executable accepts, refuses and returns, with an executor that computes in NumPy."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from networks import X

import mlirfuse
from mlirfuse.artifact import Artifact, TensorSpec
from mlirfuse.errors import ArtifactError, MlirfuseError, UnsupportedTarget
from mlirfuse.runtime import Executable, executor, load
from mlirfuse.runtime.timing import Spread, Timing, sample_calls
from mlirfuse.runtime.values import Slot, arrange


class NumpyExecutor:
    """a + b for two inputs a[2, 3] and b[3]."""

    def __init__(self, artifact: Artifact, *, threads: int | None, device: Any) -> None:
        self.threads = threads or 1
        self.slots = [Slot(spec, "input") for spec in artifact.inputs]
        self.results = [Slot(spec, "output") for spec in artifact.outputs]

    def run(self, values: Sequence[Any]) -> list[Any]:
        a, b = (slot.read(value) for slot, value in zip(self.slots, values, strict=True))
        return [a + b]

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[[], None]:
        a, b = (slot.attach(value, writable=False) for slot, value in zip(self.slots, inputs, strict=True))
        (y,) = (slot.attach(value, writable=True) for slot, value in zip(self.results, outputs, strict=True))

        def call() -> None:
            np.add(a, b, out=y)

        return call

    def measure(self, values: Sequence[Any], runs: int, warmup: int) -> Timing:
        spread = Spread.of(sample_calls(lambda: self.run(values), runs, warmup))
        return Timing(spread, spread, runs)


def spec(name: str, *shape: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, shape, dtype)


@pytest.fixture
def artifact(monkeypatch: pytest.MonkeyPatch) -> Artifact:
    monkeypatch.setitem(executor._BUILT_IN, "numpy", f"{__name__}:NumpyExecutor")
    executor.executor_class.cache_clear()
    report = {"model": "sum", "target": "numpy", "totals": {"launches": 1}, "compile_seconds": {"graph": 0.5}}
    return Artifact("sum", "numpy", "fp32", (spec("a", 2, 3), spec("b", 3)), (spec("y", 2, 3),), {}, {}, report)


@pytest.fixture
def executable(artifact: Artifact) -> Executable:
    return load(artifact)


A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([10, 20, 30])


def test_inputs_go_by_name_or_position(executable: Executable) -> None:
    for made in (executable.run({"b": B, "a": A}), executable.run(A, B)):
        assert list(made) == ["y"]
        np.testing.assert_array_equal(made["y"], A + B)


def test_it_says_what_it_is(executable: Executable) -> None:
    assert executable.inputs == (spec("a", 2, 3), spec("b", 3))
    assert executable.outputs[0].name == "y"
    assert executable.threads == 1
    assert "a: float32[2, 3]" in repr(executable)
    assert executable.report().totals == {"launches": 1}
    assert executable.report().to_dict()["compile_seconds"] == {"graph": 0.5}


def test_it_saves_and_loads(executable: Executable, tmp_path: Path) -> None:
    executable.save(tmp_path / "sum.mlirfuse")
    for source in (tmp_path / "sum.mlirfuse", str(tmp_path / "sum.mlirfuse"), executable.artifact.to_bytes()):
        again = mlirfuse.load(source, threads=3)
        assert again.threads == 3
        np.testing.assert_array_equal(again.run(A, B)["y"], A + B)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (({"a": A},), "'b' missing. The network has 2 inputs: 'a' float32[2, 3], 'b' float32[3]; pass them"),
        (({"a": A, "b": B, "c": B},), "'c' unknown"),
        (({"A": A, "b": B},), "'a' missing; 'A' unknown"),
        ((A,), "Found 1 inputs. The network has 2 inputs"),
        ((A, B, B), "Found 3 inputs"),
        ((A.T, B), "The input 'a' should be shape [2, 3]; found shape [3, 2]"),
        ((A[None], B), "should be shape [2, 3]; found shape [1, 2, 3]"),
        ((A, B.astype(np.float64)), "The input 'b' should be element type float32; found float64; nothing is cast"),
        ((A, B.astype(">f4")), "found >f4"),
        ((A, [10.0, 20.0, 30.0]), "cast it yourself with array.astype('float32')"),
        ((A, "text"), "should be shape [3]"),
        ((A, None), "should be shape [3]"),
        ((A, [[1, 2], [3]]), "found a list that cannot be read as one"),
    ],
)
def test_wrong_inputs_are_explained_in_one_paragraph(executable: Executable, values: Any, complaint: str) -> None:
    with pytest.raises(MlirfuseError) as caught:
        executable.run(*values)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_strided_and_read_only_inputs_are_fine(executable: Executable) -> None:
    wide = np.zeros((2, 6), np.float32)
    wide[:, ::2] = A
    B.flags.writeable = False
    np.testing.assert_array_equal(executable.run(wide[:, ::2], B)["y"], A + B)
    B.flags.writeable = True


def test_any_dlpack_object_in_host_memory_is_fine(executable: Executable) -> None:
    class Foreign:
        def __dlpack__(self, **options: Any) -> Any:
            return B.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return B.__dlpack_device__()

    np.testing.assert_array_equal(executable.run(A, Foreign())["y"], A + B)
    call = executable.bind([A, Foreign()])
    call()
    np.testing.assert_array_equal(call.outputs["y"], A + B)


def test_an_array_on_a_gpu_is_refused_with_its_place(executable: Executable) -> None:
    class OnGpu:
        def __dlpack__(self, **_: Any) -> Any:
            raise AssertionError("not asked for")

        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

    with pytest.raises(MlirfuseError, match="found one on a CUDA device; copy it first"):
        executable.run(A, OnGpu())


def test_a_bound_call_uses_the_buffers_in_place(executable: Executable) -> None:
    a, y = A.copy(), np.empty((2, 3), np.float32)
    call = executable.bind({"a": a, "b": B}, {"y": y})
    for _ in range(2):
        a += 1
        call()
        np.testing.assert_array_equal(y, a + B)
    assert call.inputs["a"] is a
    assert call.outputs["y"] is y


@pytest.mark.parametrize(
    ("a", "y", "complaint"),
    [
        (np.zeros((2, 6), np.float32)[:, ::2], None, "should be a dense, aligned array in C order"),
        ([[0.0] * 3] * 2, None, "whose memory the bound call uses"),
        (A, np.zeros((2, 3)), "The output 'y' should be element type float32"),
        (A, np.zeros((3, 2), np.float32), "The output 'y' should be shape"),
        (A, np.broadcast_to(np.float32(0), (2, 3)), "The output 'y' should be a dense, aligned array"),
        (A, np.frombuffer(bytes(24), np.float32).reshape(2, 3), "The output 'y' should be a writable array"),
    ],
)
def test_buffers_that_cannot_be_bound_are_explained(executable: Executable, a: Any, y: Any, complaint: str) -> None:
    with pytest.raises(MlirfuseError, match=complaint):
        executable.bind([a, B], None if y is None else [y])


def test_an_output_of_unknown_shape_cannot_be_bound(artifact: Artifact) -> None:
    outputs = (TensorSpec("y", (None,), "float32"),)
    dynamic = Artifact(artifact.model, artifact.target, "fp32", artifact.inputs, outputs, {})
    with pytest.raises(MlirfuseError, match="depends on the data"):
        load(dynamic).bind([A, B])


def test_a_benchmark_has_a_spread(executable: Executable) -> None:
    timing = executable.benchmark(runs=20)
    assert 0 < timing.p10 <= timing.median <= timing.p90
    assert set(timing.to_dict()) == {"runs", "median", "p10", "p90", "copies", "kernels"}
    with pytest.raises(MlirfuseError, match="at least 1 run"):
        executable.benchmark(runs=0)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_are_a_positive_number(artifact: Artifact, threads: Any) -> None:
    with pytest.raises(MlirfuseError, match="from 1 to 1024"):
        load(artifact, threads=threads)


def test_a_target_nobody_runs_is_unsupported() -> None:
    with pytest.raises(UnsupportedTarget, match="known are cpu, cuda"):
        load(Artifact("m", "toaster", "fp32", (), (), {}))


def test_a_plan_for_another_kind_is_refused() -> None:
    with pytest.raises((ArtifactError, UnsupportedTarget)):
        made = networks.plain()
        load(Artifact("m", "cpu", "fp32", made.inputs, made.outputs, made.plans, made.weights))


def test_arrange_takes_no_inputs() -> None:
    assert arrange((), {}, "input") == []
    with pytest.raises(MlirfuseError, match="The network has 0 inputs: none"):
        arrange((), [X], "input")


def test_misuse_is_explained(executable: Executable) -> None:
    with pytest.raises(MlirfuseError, match="found a int"):
        mlirfuse.load(5)  # type: ignore[arg-type]
    with pytest.raises(MlirfuseError, match="Found a int as the inputs"):
        executable.bind(5)  # type: ignore[arg-type]
    with pytest.raises(MlirfuseError, match="from 1 to 1024; found 100000"):
        mlirfuse.load(executable.artifact, threads=100000)
