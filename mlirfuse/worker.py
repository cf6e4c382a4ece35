"""Compile in a process of its own: a crash of native code there is an error here.

The parent writes a job (a folder with the model and its options), starts `python -m mlirfuse.worker FOLDER`, and
reads progress from its standard output, one JSON object a line. The child leaves the artifact, or the error, in the
folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlirfuse.errors as errors
from mlirfuse.options import CompileOptions

__all__ = ["compile_in_worker", "emit_in_worker"]

# What a job leaves in its folder.
ARTIFACT, SECONDS, FAILURE = "made.mlirfuse", "seconds.json", "error.json"
TEXT, BYTES, WEIGHTS, MODEL = "stage.mlir", "stage.bin", "weights.safetensors", "model.onnx"

Progress = Callable[[str, float], None]


def compile_in_worker(model: Any, target: str, options: CompileOptions, progress: Progress | None) -> Any:
    """Compile `model` in a child process and load the artifact that it made."""
    from mlirfuse.artifact import Artifact

    with _job(model, {"target": target, "options": options.to_dict()}, progress) as folder:
        artifact = Artifact.load(folder / ARTIFACT)  # mapped: the bytes stay although the name goes
        seconds = json.loads((folder / SECONDS).read_text())
        return dataclasses.replace(artifact, report={**artifact.report, "compile_seconds": seconds})


def emit_in_worker(model: Any, target: str, options: CompileOptions, stage: str) -> tuple[str | bytes, Any]:
    """The text of a stage from a child process (bytes where it has no text), and the weights that it refers to."""
    from mlirfuse.dialect import WeightStore

    with _job(model, {"target": target, "options": options.to_dict(), "stage": stage}, None) as folder:
        store = WeightStore()
        store.load(folder / WEIGHTS)
        text = folder / TEXT
        return (text.read_text() if text.exists() else (folder / BYTES).read_bytes()), store


@contextlib.contextmanager
def _job(model: Any, job: dict[str, Any], progress: Progress | None) -> Iterator[Path]:
    """Run a job to its end; the folder with its results. What failed there is raised here."""
    with tempfile.TemporaryDirectory(prefix="mlirfuse-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps({"model": _model_file(model, folder), **job}))
        last = _run(name, progress)
        failure = folder / FAILURE
        if failure.exists():
            told = json.loads(failure.read_text())
            message = told["message"].replace(str(folder / MODEL), "the model")
            raise getattr(errors, told["kind"], errors.MlirfuseError)(message)
        if not any((folder / made).exists() for made in (ARTIFACT, TEXT, BYTES)):
            raise errors.CompilerCrash(f"The compiler ended after stage '{last}' without a result; please report this.")
        yield folder


def _model_file(model: Any, folder: Path) -> str:
    """A path to the model; what is in memory goes to a file."""
    if isinstance(model, str | os.PathLike):
        return os.path.abspath(os.fspath(model))
    path = folder / MODEL
    if isinstance(model, bytes | bytearray | memoryview):
        path.write_bytes(model)
        return str(path)
    import onnx

    if not isinstance(model, onnx.ModelProto):
        raise errors.InvalidModel(f"compile takes a path, bytes or an onnx.ModelProto; found {type(model).__name__}.")
    large = model.ByteSize() > 1 << 30
    if large:  # saving moves the bytes out of the model it is given
        model, given = onnx.ModelProto(), model
        model.CopyFrom(given)
    onnx.save(model, path, save_as_external_data=large)
    return str(path)


def _run(folder: str, progress: Progress | None) -> str:
    """Run the child to its end; the last stage that it reported. CompilerCrash if it died."""
    log = Path(folder) / "stderr.txt"
    last = "starting"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "mlirfuse.worker", folder],
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
    """The child finds this very package: a checkout's folder is put on its path, after what is there."""
    home = Path(__file__).resolve().parent.parent
    path = [] if home.name in ("site-packages", "dist-packages") else [str(home)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH", "")]), *path])}


def main() -> None:
    """The child: do the job in the folder given as argument."""
    faulthandler.enable()
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    options = CompileOptions.from_dict(job["options"])
    try:
        if "stage" in job:
            _emit(folder, job, options)
        else:
            _compile(folder, job, options)
    except errors.MlirfuseError as error:
        (folder / FAILURE).write_text(json.dumps({"kind": type(error).__name__, "message": str(error)}))


def _compile(folder: Path, job: dict[str, Any], options: CompileOptions) -> None:
    from mlirfuse.compiler import compile_here

    def tell(stage: str, done: float) -> None:
        print(json.dumps({"stage": stage, "done": done}), flush=True)

    artifact = compile_here(job["model"], job["target"], options, tell)
    (folder / SECONDS).write_text(json.dumps(artifact.report["compile_seconds"]))
    artifact.save(folder / ARTIFACT)


def _emit(folder: Path, job: dict[str, Any], options: CompileOptions) -> None:
    from mlirfuse.compiler import emit_here

    content, store = emit_here(job["model"], job["target"], options, job["stage"])
    store.save(folder / WEIGHTS)
    if isinstance(content, str):
        (folder / TEXT).write_text(content)
    else:
        (folder / BYTES).write_bytes(content)


if __name__ == "__main__":
    main()
