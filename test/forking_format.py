"""A lit format that forks instead of starting interpreters.

lit reads its configuration once and forks its workers, so what is imported here is warm in all of them. A test whose
RUN lines only pipe known tools into each other (`mlirfuse-opt %s --x | filecheck %s`, with `not` and `2>&1`) runs each
tool as a fork that calls its Python entry point: about 20 ms instead of 250, and a native crash is one failed test.
Everything else goes to lit's own shell.
"""

import contextlib
import importlib
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import lit.formats
import lit.ShUtil
import lit.Test
import lit.TestRunner
from filecheck.main import main as filecheck
from lit.ShCommands import Command, Pipeline

from mlirfuse.cli import opt
from mlirfuse.lowering.passes import load_passes

__all__ = ["ForkingTest", "write_launchers"]


def _run_filecheck(argv: list[str]) -> int | None:
    return filecheck(["filecheck", *argv])


def _run_mlirfuse(argv: list[str]) -> int | None:
    return importlib.import_module("mlirfuse.cli.main").main(argv)


TOOLS: dict[str, Callable[[list[str]], int | None]] = {
    "mlirfuse-opt": opt.main,
    "mlirfuse": _run_mlirfuse,
    "filecheck": _run_filecheck,
}
MODULES = {"mlirfuse-opt": "mlirfuse.cli.opt", "mlirfuse": "mlirfuse.cli.main", "filecheck": "filecheck"}
TIMEOUT = 120  # seconds per command
with contextlib.suppress(Exception):  # warm; where a pass module is broken, the tests that need it will say so
    load_passes()


@dataclass(frozen=True)
class Call:
    """One command of a pipeline that a fork can run."""

    tool: str
    args: list[str]
    negated: bool
    merge_stderr: bool


class ForkingTest(lit.formats.ShTest):
    """RUN lines as in ShTest, forked where that is possible."""

    def execute(self, test: Any, lit_config: Any) -> Any:
        script = lit.TestRunner.parseIntegratedTestScript(test)
        if isinstance(script, lit.Test.Result):  # unsupported, or no RUN line
            return script
        if lit_config.noExecute:
            return lit.Test.Result(lit.Test.PASS)
        folder, base = lit.TestRunner.getTempPaths(test)
        substitutions = lit.TestRunner.getDefaultSubstitutions(test, folder, base)
        lines = lit.TestRunner.applySubstitutions(script, substitutions, recursion_limit=None)
        lines = [re.sub(lit.TestRunner.kPdbgRegex, r"\2", line).strip() for line in lines]
        pipelines = [_calls(line) for line in lines]
        if any(calls is None for calls in pipelines):
            return super().execute(test, lit_config)
        Path(base).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(Path(base).parent):
            for line, calls in zip(lines, pipelines, strict=True):
                if complaint := _run(calls or []):
                    return lit.Test.Result(lit.Test.FAIL, f"RUN: {line}\n{complaint}")
        return lit.Test.Result(lit.Test.PASS)


def write_launchers(folder: Path, package_dir: str) -> None:
    """Executables of the tools' names, for RUN lines that need a shell: the same code in a fresh interpreter."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in MODULES.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\nPYTHONPATH="{package_dir}" exec "{sys.executable}" -m {module} "$@"\n')
        path.chmod(0o755)


def _calls(line: str) -> list[Call] | None:
    """The calls that a RUN line makes, or None if it needs a shell."""
    try:
        pipeline = lit.ShUtil.ShParser(line, pipefail=True).parse()
    except ValueError:
        return None
    if not isinstance(pipeline, Pipeline):
        return None
    calls = [_call(command) for command in pipeline.commands]
    return None if None in calls else calls  # type: ignore[return-value]


def _call(command: Command) -> Call | None:
    args = command.args
    negated = args[0] == "not"
    if negated:
        args = args[1:]
    known = bool(args) and args[0] in TOOLS and all(isinstance(arg, str) for arg in args)
    if not known or command.redirects not in ([], [((">&", 2), "1")]):
        return None
    return Call(args[0], args[1:], negated, merge_stderr=bool(command.redirects))


def _run(calls: list[Call]) -> str | None:
    """Run a pipeline call by call; None, or what failed (every call counts, as with pipefail)."""
    complaints: list[str] = []
    with contextlib.ExitStack() as stack:
        stdin: IO[bytes] = stack.enter_context(open(os.devnull, "rb"))
        for call in calls:
            stdout, stderr = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            status = _fork(call, stdin, stdout, stdout if call.merge_stderr else stderr)
            if failure := _judge(call, status):
                complaints.append(f"{call.tool}: {failure}\n{_text(stderr) or _text(stdout)}")
            stdout.seek(0)
            stdin = stdout
    return "\n".join(complaints) or None


def _judge(call: Call, status: int) -> str | None:
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    code = os.waitstatus_to_exitcode(status)
    if (code != 0) != call.negated:
        return "expected to fail, but exited 0" if call.negated else f"exit status {code}"
    return None


def _fork(call: Call, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    code = 1
    try:
        for file, descriptor in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(file.fileno(), descriptor)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
        sys.argv = [call.tool, *call.args]
        signal.alarm(TIMEOUT)
        code = TOOLS[call.tool](call.args) or 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
