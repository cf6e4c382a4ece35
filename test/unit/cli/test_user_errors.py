"""Every mistake a user can make is one paragraph on standard error and status 1; wrong usage is status 2."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_models import BROKEN, saved, small_model

from mlirfuse.cli.main import main

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def complaint(capfd: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one paragraph of a refused command."""
    status = main(argv)
    out, err = capfd.readouterr()
    assert status == 1, (status, out, err)
    assert out == ""
    assert err.startswith("mlirfuse: error: ") and err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("truncated", "truncated"),
        ("cyclic", "cycl"),
        ("external", "weights.bin"),
        ("operator", "Frobnicate"),
        ("text", "not a readable ONNX file"),
        ("symbolic", "--shape x="),
    ],
)
def test_broken_model(capfd: pytest.CaptureFixture[str], tmp_path: Path, broken: str, says: str) -> None:
    path = BROKEN[broken](tmp_path)
    assert says in complaint(capfd, "compile", path, "--emit", "graph")
    assert says in complaint(capfd, "check", path)


def test_missing_model(capfd: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.onnx does not exist" in complaint(capfd, "run", "nowhere.onnx")


def test_unknown_network(capfd: pytest.CaptureFixture[str]) -> None:
    assert "light/resnet50" in complaint(capfd, "compile", "zoo:light/resnet5", "--emit", "graph")


@pytest.mark.parametrize("verb", ["run", "compile", "explain", "report", "bench", "diff"])
def test_unknown_target(capfd: pytest.CaptureFixture[str], tmp_path: Path, verb: str) -> None:
    said = complaint(capfd, verb, saved(tmp_path, small_model()), "--target", "abacus")
    assert "'abacus'" in said and "cuda" in said


def test_wrong_shapes(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = saved(tmp_path, small_model())
    assert "3 dimensions" in complaint(capfd, "check", path, "--shape", "x=1x8x4")
    assert "no input 'z'" in complaint(capfd, "check", path, "--shape", "z=1")


def test_strict_names_every_node(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from onnx import helper

    model = small_model()
    nodes = [helper.make_node("NonZero", ["x"], [f"i{k}"], name=f"where{k}") for k in range(2)]
    model.graph.node.extend(nodes)
    model.graph.output.extend(helper.make_tensor_value_info(f"i{k}", 7, [4, None]) for k in range(2))
    said = complaint(capfd, "compile", saved(tmp_path, model), "--strict", "-o", "x.mlirfuse")
    assert "'where0'" in said and "'where1'" in said


def test_forced_group_that_cannot_be(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = complaint(capfd, "explain", saved(tmp_path, small_model()), "--force-fuse", "relu,nothing")
    assert "nothing" in said


def test_output_folder_is_looked_at_first(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = saved(tmp_path, small_model())
    assert "does not exist" in complaint(capfd, "compile", path, "-o", "missing/x.mlirfuse")
    assert "is a folder" in complaint(capfd, "compile", path, "-o", str(tmp_path))


def test_stage_that_a_target_lacks(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = complaint(capfd, "compile", saved(tmp_path, small_model()), "--emit", "ptx", "--target", "cpu")
    assert "no stage 'ptx'" in said


def test_foreign_artifact(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "x.mlirfuse").write_bytes(b"something else")
    assert "x.mlirfuse" in complaint(capfd, "run", "x.mlirfuse")


def test_artifact_where_a_model_is_needed(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "x.mlirfuse").write_bytes(b"")
    for verb in (["compile"], ["diff"], ["run", "--check"], ["bench", "--against", "onnxruntime"]):
        assert "ONNX model" in complaint(capfd, verb[0], "x.mlirfuse", *verb[1:])


def test_wrong_inputs(capfd: pytest.CaptureFixture[str], compiled: str, tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.zeros(3, np.float32))
    (tmp_path / "text.npy").write_text("no array")
    assert "no input 'z'" in complaint(capfd, "run", compiled, "--input", "z=short.npy")
    assert "shape [3]" in complaint(capfd, "run", compiled, "--input", "x=short.npy")
    assert "not a NumPy array" in complaint(capfd, "run", compiled, "--input", "x=text.npy")
    np.savez(tmp_path / "several.npz", x=np.zeros(3, np.float32))
    assert "archive of several" in complaint(capfd, "run", compiled, "--input", "x=several.npz")
    assert "does not exist" in complaint(capfd, "run", compiled, "--input", "x=nowhere.npy")


def test_options_that_an_artifact_cannot_follow(capfd: pytest.CaptureFixture[str], compiled: str) -> None:
    said = complaint(capfd, "run", compiled, "--fusion", "none", "--strict")
    assert "--fusion, --strict have no effect" in said


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["paint", "x.onnx"],
        ["run"],
        ["run", "x.onnx", "--precision", "fp8"],
        ["run", "x.onnx", "--shape", "x"],
        ["run", "x.onnx", "--shape", "x=1xtwo"],
        ["run", "x.onnx", "--threads", "0"],
        ["run", "x.onnx", "--input", "x"],
        ["compile", "x.onnx", "--emit", "soup"],
        ["run", "x.onnx", "--strct"],
    ],
)
def test_bad_usage_is_status_2(capfd: pytest.CaptureFixture[str], argv: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert "usage: mlirfuse" in capfd.readouterr().err


def test_unknown_peer(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = complaint(capfd, "bench", saved(tmp_path, small_model()), "--against", "abacus")
    assert "onnxruntime" in said


def test_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("mlirfuse.cli.zoo.execute", interrupted)
    assert main(["zoo"]) == 130


def test_reader_that_leaves_early() -> None:
    """As in `mlirfuse zoo | head -1`."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mlirfuse.cli.main import main; sys.exit(main(['zoo']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_help_imports_nothing_heavy() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mlirfuse.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'onnx', 'rich', 'torch_mlir', 'llvmlite', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "explain" in run.stdout


@pytest.mark.parametrize("verb", [["explain"], ["report"], ["run"], ["compile", "--emit", "graph"]])
def test_precision_without_kernels(capfd: pytest.CaptureFixture[str], tmp_path: Path, verb: list[str]) -> None:
    said = complaint(capfd, verb[0], saved(tmp_path, small_model()), "--precision", "fp16", *verb[1:])
    assert "no kernels in fp16" in said


def test_chip_that_no_code_is_made_for(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = complaint(capfd, "explain", saved(tmp_path, small_model()), "--target", "cuda:sm_61")
    assert "no target 'cuda:sm_61'" in said and "simulator:{sm_61," in said


@pytest.mark.parametrize("verb", ["explain", "report", "check"])
def test_tensor_beyond_every_machine(capfd: pytest.CaptureFixture[str], tmp_path: Path, verb: str) -> None:
    path = saved(tmp_path, small_model("S"))
    said = complaint(capfd, verb, path, "--shape", f"x={1 << 20}x8x{1 << 20}x{1 << 20}")
    assert "the input 'x'" in said and "1048576x8x1048576x1048576xfloat32" in said and str(1 << 40) in said


def test_listing_measures_nothing(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = complaint(capfd, "tune", saved(tmp_path, small_model()), "--list", "--database", "p.db")
    assert "leave the MODEL out" in said
    assert not (tmp_path / "p.db").exists()
    assert "with --profile" in complaint(capfd, "tune", "--list", "--database", "p.db")


def test_forced_group_of_one(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--force-fuse" in complaint(capfd, "explain", saved(tmp_path, small_model()), "--force-fuse", "relu")
