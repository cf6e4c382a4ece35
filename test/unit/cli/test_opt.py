"""What of the pass driver lit cannot reach: files of weights, results in files."""

from pathlib import Path

import numpy as np
import pytest

from mlirfuse.cli.opt import main
from mlirfuse.dialect import WeightStore


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "module.mlir"
    path.write_text("module {}\n")
    return path


def test_weights_travel_through(source: Path, tmp_path: Path) -> None:
    store = WeightStore()
    key = store.put(np.arange(6, dtype=np.float32).reshape(2, 3))
    store.save(tmp_path / "in.safetensors")
    arguments = ["--weights", str(tmp_path / "in.safetensors"), "--weights-out", str(tmp_path / "out.safetensors")]
    assert main([str(source), *arguments, "-o", str(tmp_path / "out.mlir")]) == 0
    written = WeightStore()
    written.load(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(written.get(key), store.get(key))
    assert (tmp_path / "out.mlir").read_text().startswith("module")


def test_damaged_weights_are_a_message(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(source), "--weights", str(source)]) == 1
    captured = capsys.readouterr()
    assert "cannot read weights from" in captured.err and "Traceback" not in captured.err


def test_binary_input_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00MLIR")
    assert main([str(path)]) == 1
    assert "cannot read" in capsys.readouterr().err


def test_result_cannot_be_written(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(source), "-o", str(tmp_path / "no" / "folder")]) == 1
    assert "No such file or directory" in capsys.readouterr().err
