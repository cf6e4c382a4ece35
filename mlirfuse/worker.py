"""Compile in a process of its own: a crash of native code there is an error here.

The parent writes a job (a folder with the model and its options), starts `python -m mlirfuse.worker FOLDER`, and
reads progress from its standard output, one JSON object a line. The child leaves the artifact, or the error, in the
folder.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlirfuse.errors as errors
from mlirfuse.options import CompileOptions

__all__ = ["compile_in_worker"]

Progress = Callable[[str, float], None]


def compile_in_worker(model: Any, target: str, options: CompileOptions, progress: Progress | None) -> Any:
    """Compile `model` in a child process and load the artifact that it made."""
    from mlirfuse.artifact import Artifact

    with tempfile.TemporaryDirectory(prefix="mlirfuse-") as folder:
        job = {"model": _model_file(model, Path(folder)), "target": target, "options": options.to_dict()}
        (Path(folder) / "job.json").write_text(json.dumps(job))
        last = _run(folder, progress)
        failure = Path(folder) / "error.json"
        if failure.exists():
            _raise(json.loads(failure.read_text()))
        made = Path(folder) / "made.mlirfuse"
        if not made.exists():
            raise AssertionError(f"the compiler ended after {last} without a result")
        artifact = Artifact.load(made)  # mapped: the bytes stay although the name goes
        seconds = json.loads((Path(folder) / "seconds.json").read_text())
        return dataclasses.replace(artifact, report={**artifact.report, "compile_seconds": seconds})


def _model_file(model: Any, folder: Path) -> str:
    """A path to the model; what is in memory goes to a file."""
    if isinstance(model, str | os.PathLike):
        return os.path.abspath(os.fspath(model))
    path = folder / "model.onnx"
    if isinstance(model, bytes | bytearray | memoryview):
        path.write_bytes(model)
        return str(path)
    import onnx

    if not isinstance(model, onnx.ModelProto):
        raise errors.InvalidModel(f"compile takes a path, bytes or an onnx.ModelProto; found {type(model).__name__}.")
    large = model.ByteSize() > 1 << 30
    onnx.save(model, path, save_as_external_data=large)
    return str(path)


def _run(folder: str, progress: Progress | None) -> str:
    """Run the child to its end; the last stage that it reported. CompilerCrash if it died."""
    log = Path(folder) / "stderr.txt"
    last = "starting"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "mlirfuse.worker", folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=_environment(),
        ) as child,
    ):
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if not line.startswith("{"):
                    continue
                said = json.loads(line)
                last = said["stage"]
                if progress is not None:
                    progress(said["stage"], said["done"])
            status = child.wait()
        except BaseException:
            child.kill()
            raise
    if status != 0:
        tail = log.read_text(errors="replace").strip().splitlines()[-12:]
        raise errors.CompilerCrash(
            f"The compiler stopped in stage '{last}' with exit status {status}. "
            "This is a defect of mlirfuse: please report it with the model. "
            f"What it last said: {' | '.join(tail) if tail else 'nothing'}"
        )
    return last


def _environment() -> dict[str, str]:
    """The child finds this very package, wherever the parent got it from."""
    home = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [home, path]))}


def _raise(failure: dict[str, str]) -> None:
    kind = getattr(errors, failure["kind"], errors.MlirfuseError)
    raise kind(failure["message"])


def main() -> None:
    """The child: compile the job in the folder given as argument."""
    faulthandler.enable()
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    from mlirfuse.compiler import compile_here

    def tell(stage: str, done: float) -> None:
        print(json.dumps({"stage": stage, "done": done}), flush=True)

    try:
        artifact = compile_here(job["model"], job["target"], CompileOptions.from_dict(job["options"]), tell)
        artifact.save(folder / "made.mlirfuse")
        (folder / "seconds.json").write_text(json.dumps(artifact.report["compile_seconds"]))
    except errors.MlirfuseError as error:
        (folder / "error.json").write_text(json.dumps({"kind": type(error).__name__, "message": str(error)}))


if __name__ == "__main__":
    main()
