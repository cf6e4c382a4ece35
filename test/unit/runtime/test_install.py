"""Artifacts run where the compiler is not installed: the wheel, NumPy and what drives the device are enough."""

import importlib.metadata
import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from shader_runs import needs_vulkan

from mlirfuse.compiler import compile_artifact
from mlirfuse.options import CompileOptions

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
COMPILER = ("torch_mlir", "onnx", "llvmlite", "rich", "safetensors", "ml_dtypes")
# What pip brings with each package that drives a device.
RUNTIMES = {"vulkan": ("wgpu", "cffi", "pycparser"), "cuda": ("cuda-bindings", "cuda-pathfinder")}
ARM = [f"manylinux{tag}_aarch64" for tag in ("2014", "_2_17", "_2_24", "_2_27", "_2_28")]

RUN = """
import importlib.util, sys
import numpy as np
import mlirfuse
artifact, given, made, *absent = sys.argv[1:]
assert not [name for name in absent if importlib.util.find_spec(name)], "more is installed than was meant"
try:
    executable = mlirfuse.load(artifact)
except mlirfuse.UnsupportedTarget as error:
    print(error)
    sys.exit(3)
np.savez(made, **executable.run(dict(np.load(given))))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("scikit_build_core", reason="scikit-build-core is not installed: it builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-q", "-w", folder]
    told = subprocess.run(build, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    [made] = folder.glob("*.whl")
    return made


def bare_python(folder: Path, wheel: Path, packages: tuple[str, ...]) -> Path:
    """An interpreter that has the wheel and these packages of the running one, and nothing else."""
    venv.create(folder, with_pip=False)
    [site] = folder.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    for package in packages:
        for file in importlib.metadata.files(package) or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(file.locate())
    return folder / "bin" / "python"


def network() -> onnx.ModelProto:
    """A convolution, its activation, a pooling, a product and a softmax."""
    rng = np.random.default_rng(5)
    weights = {"w": rng.standard_normal((8, 3, 3, 3)), "v": rng.standard_normal((8 * 25, 10))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 10, 10))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10))],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run_bare(
    target: str, wheel: Path, folder: Path, packages: tuple[str, ...]
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Compile here, run there on the same input; what the process said, and its outputs."""
    compile_artifact(network(), target, CompileOptions()).save(folder / "net.mlirfuse")
    np.savez(folder / "given.npz", x=image())
    python = bare_python(folder / "venv", wheel, ("numpy", *packages))
    files = [str(folder / name) for name in ("net.mlirfuse", "given.npz", "made.npz")]
    # -I: neither the environment's paths nor the working directory
    return subprocess.run([python, "-I", "-c", RUN, *files, *COMPILER], capture_output=True, text=True), folder


def image() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((1, 3, 10, 10)).astype(np.float32)


@needs_vulkan
def test_shaders_run_with_numpy_and_wgpu_alone(wheel: Path, tmp_path: Path) -> None:
    told, folder = run_bare("vulkan", wheel, tmp_path, RUNTIMES["vulkan"])
    assert told.returncode == 0, told.stdout + told.stderr
    from mlirfuse.runtime import load

    expected = load(compile_artifact(network(), "cpu", CompileOptions())).run(image())["y"]
    np.testing.assert_allclose(np.load(folder / "made.npz")["y"], expected, rtol=1e-5, atol=1e-6)


def test_a_cuda_artifact_needs_numpy_and_cuda_bindings_alone(wheel: Path, tmp_path: Path) -> None:
    """Where there is no driver, that is what is missing."""
    told, folder = run_bare("cuda", wheel, tmp_path, RUNTIMES["cuda"])
    if told.returncode == 0:
        assert np.load(folder / "made.npz")["y"].sum() == pytest.approx(1, abs=1e-4)
    else:
        assert told.returncode == 3, told.stdout + told.stderr
        assert "driver" in told.stdout


SAID = {"vulkan": "pip install mlirfuse[vulkan]", "cuda": "No module named 'cuda'"}


@pytest.mark.parametrize(("target", "said"), SAID.items())
def test_what_is_not_installed_is_said(target: str, said: str, wheel: Path, tmp_path: Path) -> None:
    told, _ = run_bare(target, wheel, tmp_path, ())
    assert told.returncode == 3, told.stdout + told.stderr
    assert said in told.stdout and "Traceback" not in told.stdout


def test_the_wheel_is_for_every_machine(wheel: Path) -> None:
    """No compiled file in it, and a tag that says so."""
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "mlirfuse/runtime/vulkan/executor.py" in names
    assert not [name for name in names if name.endswith((".so", ".pyd", ".dll", ".dylib", ".a", ".o"))]


@pytest.mark.parametrize("target", RUNTIMES)
def test_everything_that_running_needs_has_wheels_for_64_bit_arm(target: str, tmp_path: Path) -> None:
    """Asked of the package index; skipped where none is reached."""
    here = importlib.metadata.version
    wanted = ["numpy", *(f"{name}=={here(name)}" for name in RUNTIMES[target])]
    platforms = [part for tag in ARM for part in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command += ["--target", str(tmp_path), "--only-binary=:all:", "--implementation", "cp", "--python-version", "3.12"]
    told = subprocess.run([*command, *platforms, *wanted], capture_output=True, text=True)
    if told.returncode and subprocess.run([*command, "pip"], capture_output=True).returncode:
        pytest.skip("no package index can be reached from here")
    assert told.returncode == 0, told.stderr
    files = [entry["download_info"]["url"].rsplit("/", 1)[1] for entry in json.loads(told.stdout)["install"]]
    assert all(name.endswith(("aarch64.whl", "-any.whl")) for name in files), files
    assert any(name.endswith("aarch64.whl") for name in files)
