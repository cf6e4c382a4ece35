"""The lit format: which RUN lines it forks, and that a crash is one failed test."""

import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[1] / "forking_format.py"


@pytest.fixture(scope="module")
def forking_format() -> ModuleType:
    spec = importlib.util.spec_from_file_location("forking_format", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["forking_format"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("line", ["mlirfuse-opt a.mlir --cse 2>&1 | filecheck a.mlir", "not mlirfuse-opt a.mlir"])
def test_known_tools_are_forked(forking_format: ModuleType, line: str) -> None:
    calls = forking_format._calls(line)
    assert calls and calls[0].tool == "mlirfuse-opt" and calls[0].negated == line.startswith("not")


@pytest.mark.parametrize(
    "line", ["mlirfuse-opt a > b", "cat a | mlirfuse-opt", "mkdir x && mlirfuse-opt a", "mlirfuse-opt *.mlir"]
)
def test_the_rest_needs_a_shell(forking_format: ModuleType, line: str) -> None:
    assert forking_format._calls(line) is None


def test_crash_fails_the_test_even_under_not(forking_format: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(forking_format.TOOLS, "mlirfuse-opt", lambda argv: os.kill(os.getpid(), signal.SIGKILL))
    assert "killed by SIGKILL" in forking_format._run(forking_format._calls("not mlirfuse-opt a"))


def test_exit_status_of_every_call_counts(forking_format: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(forking_format.TOOLS, "mlirfuse-opt", lambda argv: int(argv[0]))
    assert forking_format._run(forking_format._calls("mlirfuse-opt 0 | mlirfuse-opt 0")) is None
    assert "exit status 3" in forking_format._run(forking_format._calls("mlirfuse-opt 3 | mlirfuse-opt 0"))
    assert forking_format._run(forking_format._calls("not mlirfuse-opt 3")) is None
    assert "expected to fail" in forking_format._run(forking_format._calls("not mlirfuse-opt 0"))
