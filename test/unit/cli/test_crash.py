"""A compiler that dies is one error, and leaves behind what makes it die again."""

import os
import re
import shlex
from pathlib import Path

import pytest
from cli_models import saved, small_model

from mlirfuse import compile
from mlirfuse.cli.main import main
from mlirfuse.cli.opt import main as opt
from mlirfuse.errors import CompilerCrash

# What Python runs before anything else in a child: the compiler dies in one of its passes.
DIE = """
import os
import {module} as module
module.{name} = lambda *given: os.abort()
"""
IN_SCHEDULING = ("mlirfuse.lowering.schedule.assign", "AssignSchedules.__call__", "scheduled")
IN_THE_BACK_END = ("mlirfuse.lowering.host.compile", "compile_one", "object")
IN_IMPORT = ("mlirfuse.frontend", "import_model", "import")


@pytest.fixture
def crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLIRFUSE_CRASH_DIR", str(tmp_path / "crashes"))
    monkeypatch.setenv("MLIRFUSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MLIRFUSE_WORKERS", "1")
    return tmp_path / "crashes"


def die(where: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "site"
    home.mkdir()
    module, name, _ = where
    (home / "sitecustomize.py").write_text(DIE.format(module=module, name=name))
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(home), root, os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize("where", [IN_SCHEDULING, IN_THE_BACK_END])
def test_the_module_and_its_pipeline_are_kept(
    where: tuple[str, str, str], crashes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(where, tmp_path, monkeypatch)
    with pytest.raises(CompilerCrash, match=f"stage '{where[2]}' by SIGABRT.*Fatal Python error: Aborted") as raised:
        compile(saved(tmp_path, small_model()))
    (path,) = crashes.iterdir()
    assert str(path) in str(raised.value)
    text = path.read_text()
    assert "torch-mlir" in text and "SIGABRT" in text
    assert ("fusion.group" if where is IN_SCHEDULING else "scf.forall") in text
    again = re.search(r"^// See it again: mlirfuse-opt FILE (.*)$", text, re.MULTILINE)
    if where is IN_SCHEDULING:
        assert again is not None
        monkeypatch.undo()
        assert opt([str(path), *shlex.split(again[1]), "-o", str(tmp_path / "out.mlir")]) == 0
        assert "schedule = {" in (tmp_path / "out.mlir").read_text()


def test_a_crash_before_there_is_a_module_tells_of_the_model(
    crashes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    die(IN_IMPORT, tmp_path, monkeypatch)
    model = saved(tmp_path, small_model())
    assert main(["compile", model, "--emit", "graph", "-o", str(tmp_path / "g.mlir")]) == 1
    (path,) = crashes.iterdir()
    assert str(path) in capfd.readouterr().err
    assert model in path.read_text()


def test_a_folder_that_cannot_be_written_is_no_second_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die(IN_IMPORT, tmp_path, monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLIRFUSE_CRASH_DIR", str(tmp_path / "file"))
    with pytest.raises(CompilerCrash, match="please report it and the model"):
        compile(saved(tmp_path, small_model()))
