"""Run compile jobs in child processes, so that a native crash costs one error and not the caller.

Each child is a fresh interpreter that reads one pickled job at a time from its standard input and
answers on its standard output: the caller always knows which job a dead child was working on.
(multiprocessing would import the user's main module again, and its pools do not tell whose job
crashed.)
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

from mlirfuse.errors import CompilerCrash
from mlirfuse.lowering.codegen.reproducer import write_reproducer

__all__ = ["WorkerPool"]

_LENGTH = struct.Struct("<Q")
_STDERR_LINES = 12


def _send(stream: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    """The next value; EOFError when the other side is gone."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    size = _LENGTH.unpack(head)[0]
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)


class _Child:
    """One worker process."""

    def __init__(self) -> None:
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-m", "mlirfuse.lowering.codegen.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )

    def call(self, function: tuple[str, str], payload: Any) -> tuple[bool, Any]:
        assert self.process.stdin and self.process.stdout
        try:
            _send(self.process.stdin, (*function, payload))
        except BrokenPipeError as gone:
            raise EOFError from gone
        return _receive(self.process.stdout)

    def last_words(self) -> str:
        """How the process ended and the end of what it wrote to standard error."""
        code = self.process.wait()
        ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").splitlines()
        return ending + (": " + " | ".join(lines[-_STDERR_LINES:]) if lines else "")

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.stderr.close()


class WorkerPool:
    """Up to `count` children, started when first needed and reused until `close`."""

    def __init__(self, count: int = 2) -> None:
        self.count = count
        self._idle: list[_Child] = []

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        for child in self._idle:
            child.close()
        self._idle.clear()

    def run(self, function: Callable[[Any], Any], jobs: Mapping[str, Any]) -> dict[str, Any]:
        """`{name: function(payload)}` in the order of `jobs`.

        `function` is defined at the top level of an importable module; payloads and results can be
        pickled. An exception of a job is raised here (of the first such job, in order). A child that
        dies raises CompilerCrash naming the job, whose payload has been saved to a file ($MLIRFUSE_CRASH_DIR).
        """
        results: dict[str, Any] = {}
        failures: dict[str, BaseException] = {}
        waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name in jobs:
            waiting.put(name)
        where = (function.__module__, function.__qualname__)

        def serve() -> None:
            child = self._idle.pop() if self._idle else _Child()
            while not failures:
                try:
                    name = waiting.get_nowait()
                except queue.Empty:
                    break
                try:
                    succeeded, value = child.call(where, jobs[name])
                except EOFError:
                    failures[name] = _crash(name, where, jobs[name], child.last_words())
                    child.close()
                    return
                (results if succeeded else failures)[name] = value
            self._idle.append(child)

        threads = [threading.Thread(target=serve) for _ in range(min(self.count, len(jobs)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in jobs:
            if name in failures:
                raise failures[name]
        return {name: results[name] for name in jobs}


def _crash(name: str, function: tuple[str, str], payload: Any, ending: str) -> CompilerCrash:
    text = payload if isinstance(payload, str) else "\n".join(map(str, _flat(payload)))
    what = f"The compiler process died while it compiled {name} ({ending})."
    path = write_reproducer(name, what, text, f"This is the input of {'.'.join(function)}.")
    saved = f"Its input was saved to {path}; please report it together with that file."
    return CompilerCrash(f"{what} {saved if path else 'Its input could not be saved; please report it.'}")


def _flat(payload: Any) -> list[Any]:
    return list(payload) if isinstance(payload, tuple | list) else [payload]


def _answer(job: tuple[str, str, Any]) -> tuple[bool, Any]:
    module, function, payload = job
    try:
        return True, getattr(importlib.import_module(module), function)(payload)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return False, RuntimeError(f"{type(error).__name__}: {error}")
        return False, error


def _main() -> None:
    """Serve jobs until the parent closes the pipe; what a job prints goes to standard error."""
    answers: IO[bytes] = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    jobs: IO[bytes] = io.BufferedReader(io.FileIO(0))
    while True:
        try:
            job = _receive(jobs)
        except EOFError:
            return
        _send(answers, _answer(job))


if __name__ == "__main__":
    _main()
