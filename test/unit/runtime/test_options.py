"""Options, targets and the environment: good values in canonical form, bad ones explained."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlirfuse import CompileOptions
from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.options import Target, environment, known_targets, parse_target


def test_options_travel_as_json() -> None:
    options = CompileOptions(
        precision="tf32", shapes={"x": [1, 3]}, no_fuse=["conv1"], force_fuse=["a,b", ("c", "d")], cache_dir=Path("/c")
    )
    again = CompileOptions.from_dict(json.loads(json.dumps(options.to_dict())))
    assert again == options
    assert hash(again) == hash(options)
    assert again.shapes["x"] == (1, 3)
    assert again.force_fuse == (("a", "b"), ("c", "d"))


def test_options_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CompileOptions().precision = "fp32"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"precision": "fp64"}, "precision must be one of auto, fp32, tf32, fp16, bf16; found 'fp64'"),
        ({"fusion": True}, "fusion must be one of full"),
        ({"rewrite": ""}, "rewrite must be one of reassociating"),
        ({"layout": "NCHW"}, "layout must be one of auto"),
        ({"shapes": {"x": 3}}, r"shapes\['x'\] must be a tuple of whole numbers"),
        ({"shapes": {"x": (1, -2)}}, "whole numbers"),
        ({"shapes": {"x": (1, True)}}, "whole numbers"),
        ({"shapes": [1, 2]}, "must map input names"),
        ({"strict": 1}, "strict must be True or False"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"no_fuse": "conv1"}, "no_fuse must be a tuple"),
        ({"no_fuse": (1,)}, r"no_fuse \(--no-fuse\) must hold names"),
        ({"force_fuse": ("conv1",)}, "at least two"),
        ({"force_fuse": ("a,,b",)}, "at least two"),
        ({"tuning": {}}, "tuning must be None or the path of a profile database; found {}"),
        ({"tuning": ""}, "tuning must be None"),
    ],
)
def test_a_bad_option_is_explained(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(MlirfuseError, match=complaint):
        CompileOptions(**options)


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(MlirfuseError, match="no option speed; known are precision"):
        CompileOptions.from_dict({"speed": 11})


@pytest.mark.parametrize("text", ["cpu", "cuda", "cuda:sm_90", "simulator", "simulator:sm_80", "vulkan"])
def test_targets_read_and_print_alike(text: str) -> None:
    assert str(parse_target(text)) == text
    assert parse_target(parse_target(text)) == parse_target(text)


def test_a_target_has_a_kind_and_a_chip() -> None:
    assert parse_target("cuda:sm_90") == Target("cuda", "sm_90")
    assert parse_target("cpu") == Target("cpu")


@pytest.mark.parametrize(
    "text", ["", "gpu", "cuda:", "cuda:sm_99", "cuda:sm_61", "cpu:sm_90", "CUDA", "cuda:sm_90:x", None, 3]
)
def test_an_unknown_target_lists_the_known_ones(text: Any) -> None:
    known = r"known are cpu, cuda, cuda:\{sm_80,.*sm_120,.*h200.*\}, simulator, .*\{sm_61,"
    with pytest.raises(UnsupportedTarget, match=known):
        parse_target(text)


def test_installed_targets_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    point = type("Point", (), {"name": "abacus"})()
    monkeypatch.setattr("mlirfuse.options.entry_points", lambda group: [point] if group == "mlirfuse.targets" else [])
    assert "abacus" in known_targets()
    assert parse_target("abacus:beads") == Target("abacus", "beads")


def test_the_environment_is_read_in_one_place() -> None:
    read = environment({"HOME": "/h", "MLIRFUSE_CACHE_DIR": "/c", "MLIRFUSE_THREADS": "3", "MLIRFUSE_PTXAS": "/p"})
    assert (read.cache_dir, read.crash_dir, read.threads, read.workers) == (Path("/c"), Path("/c/crashes"), 3, None)
    assert read.ptxas == "/p"
    assert environment({"XDG_CACHE_HOME": "/x"}).cache_dir == Path("/x/mlirfuse")


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "\u0662"])
def test_a_bad_number_in_the_environment_is_explained(text: str) -> None:
    with pytest.raises(MlirfuseError, match="MLIRFUSE_THREADS must be a whole number"):
        environment({"MLIRFUSE_THREADS": text})


def test_the_runtime_reads_no_environment_of_its_own() -> None:
    root = Path(__file__).resolve().parents[3] / "mlirfuse"
    sources = [*(root / "device").rglob("*.py"), *(root / "artifact").rglob("*.py"), *(root / "runtime").rglob("*.py")]
    assert len(sources) > 20
    assert not [p for p in sources if "os.environ" in p.read_text() or "getenv" in p.read_text()]


def test_the_runtime_imports_neither_mlir_nor_the_compiler() -> None:
    code = (
        "import sys, mlirfuse.artifact, mlirfuse.runtime.host, mlirfuse.runtime.cuda, mlirfuse.runtime.simulator;"
        "found = [m for m in sys.modules if m.split('.')[0] in ('torch_mlir', 'onnx', 'onnxruntime', 'cuda')"
        " or m.startswith(('mlirfuse.lowering', 'mlirfuse.dialect', 'mlirfuse.mlir', 'mlirfuse.frontend'))];"
        "sys.exit(repr(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["no_fuse", "force_fuse"])
def test_overrides_are_called_as_on_the_command_line(option: str) -> None:
    with pytest.raises(MlirfuseError, match=f"CompileOptions.{option}") as raised:
        CompileOptions(**{option: ([""],)})  # type: ignore[arg-type]
    assert f"--{option.replace('_', '-')}" in str(raised.value)
