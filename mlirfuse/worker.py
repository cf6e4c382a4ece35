"""Compile in a process of its own: a crash of native code there is an error here.

The parent writes a job (a folder with the model and its options), starts `python -m mlirfuse.worker FOLDER`, and
reads progress from its standard output, one JSON object a line. The child leaves the artifact, or the error, in the
folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import gc
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlirfuse.errors as errors
from mlirfuse.options import CompileOptions

__all__ = ["compile_in_worker", "emit_in_worker", "explain_in_worker"]

# What a job leaves in its folder.
ARTIFACT, SECONDS, EXPLANATION, FAILURE = "made.mlirfuse", "seconds.json", "explanation.json", "error.json"
TEXT, BYTES, WEIGHTS, MODEL = "stage.mlir", "stage.bin", "weights.safetensors", "model.onnx"
PIPELINE = "pipeline.txt"

_SHOWN_LINES = 12  # of standard error, in the message of a crash

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


def explain_in_worker(model: Any, target: str, options: CompileOptions) -> Any:
    """The explanation of the plan that a child process makes for `model`."""
    from mlirfuse.explain import Explanation

    with _job(model, {"target": target, "options": options.to_dict(), "explain": True}, None) as folder:
        return Explanation.from_dict(json.loads((folder / EXPLANATION).read_text()))


@contextlib.contextmanager
def _job(model: Any, job: dict[str, Any], progress: Progress | None) -> Iterator[Path]:
    """Run a job to its end; the folder with its results. What failed there is raised here."""
    with tempfile.TemporaryDirectory(prefix="mlirfuse-") as name:
        folder = Path(name)
        job = {"model": _model_file(model, folder), **job}
        (folder / "job.json").write_text(json.dumps(job))
        last, complaint = _run(name, progress)
        if complaint:
            raise _crash(job, last, complaint)
        failure = folder / FAILURE
        if failure.exists():
            told = json.loads(failure.read_text())
            message = told["message"].replace(str(folder / MODEL), "the model")
            raise getattr(errors, told["kind"], errors.MlirfuseError)(message)
        if not any((folder / made).exists() for made in (ARTIFACT, EXPLANATION, TEXT, BYTES)):
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


def _run(folder: str, progress: Progress | None) -> tuple[str, str]:
    """Run the child to its end; the last stage that it reported, and how it died, if it did."""
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
    if status == 0:
        return last, ""
    said = _last_words(log.read_text(errors="replace").strip().splitlines())
    ending = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
    return last, f"{ending}. What it last said: {said or 'nothing'}."


def _last_words(lines: list[str]) -> str:
    """The end of what the child wrote; of Python's report of a signal, its beginning."""
    fatal = next((i for i, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    shown = lines[-_SHOWN_LINES:] if fatal is None else lines[fatal : fatal + _SHOWN_LINES]
    return " | ".join(line.strip() for line in shown if line.strip())


def _crash(job: dict[str, Any], last: str, ending: str) -> errors.CompilerCrash:
    """The error that tells of a dead child, and where the module is that it died of."""
    from mlirfuse.lowering.codegen.reproducer import write_reproducer

    what = f"The compiler stopped in stage '{last}' {ending}"
    how = f"It compiled {job['model']} for {job['target']} with {json.dumps(job['options'], sort_keys=True)}."
    text, pipeline = _before_the_crash(job, last)
    if pipeline:
        how += f"\nSee it again: mlirfuse-opt FILE --pass-pipeline={shlex.quote(pipeline)}"
    path = write_reproducer(f"{Path(job['model']).stem} {last}", what, text, how)
    saved = (
        f"; what it worked on was saved to {path}: please report it with that file" if path else ": please report it"
    )
    return errors.CompilerCrash(f"{what} This is a defect of mlirfuse{saved} and the model.")


def _before_the_crash(job: dict[str, Any], last: str) -> tuple[str, str]:
    """The module as it was before stage `last`, and that stage's pipeline; compiling once more, up to there."""
    with tempfile.TemporaryDirectory(prefix="mlirfuse-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps({**job, "stage": "", "crashed": last}))
        _, complaint = _run(name, None)
        if complaint or not (folder / TEXT).exists():
            return "", ""
        return (folder / TEXT).read_text(), (folder / PIPELINE).read_text()


def _environment() -> dict[str, str]:
    """The child finds this very package: a checkout's folder is put on its path, after what is there."""
    home = Path(__file__).resolve().parent.parent
    path = [] if home.name in ("site-packages", "dist-packages") else [str(home)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH", "")]), *path])}


def main() -> None:
    """The child: do the job in the folder given as argument."""
    faulthandler.enable()
    gc.disable()  # the process ends with its one job, and looking for cycles costs a twentieth of it
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    options = CompileOptions.from_dict(job["options"])
    try:
        if "crashed" in job:
            _reproduce(folder, job, options)
        elif "stage" in job:
            _emit(folder, job, options)
        elif "explain" in job:
            _explain(folder, job, options)
        else:
            _compile(folder, job, options)
    except errors.MlirfuseError as error:
        (folder / FAILURE).write_text(json.dumps({"kind": type(error).__name__, "message": str(error)}))


def _tell(stage: str, done: float) -> None:
    print(json.dumps({"stage": stage, "done": done}), flush=True)


def _compile(folder: Path, job: dict[str, Any], options: CompileOptions) -> None:
    from mlirfuse.compiler import compile_here

    artifact = compile_here(job["model"], job["target"], options, _tell)
    (folder / SECONDS).write_text(json.dumps(artifact.report["compile_seconds"]))
    artifact.save(folder / ARTIFACT)


def _emit(folder: Path, job: dict[str, Any], options: CompileOptions) -> None:
    from mlirfuse.compiler import emit_here

    content, store = emit_here(job["model"], job["target"], options, job["stage"], _tell)
    store.save(folder / WEIGHTS)
    if isinstance(content, str):
        (folder / TEXT).write_text(content)
    else:
        (folder / BYTES).write_bytes(content)


def _reproduce(folder: Path, job: dict[str, Any], options: CompileOptions) -> None:
    """The module before the stage that crashed, and the passes of that stage (none for a target's own stages)."""
    from mlirfuse.compiler import emit_here
    from mlirfuse.lowering.pipeline.stages import STAGES, pipeline_for
    from mlirfuse.options import parse_target
    from mlirfuse.targets import backend_for

    crashed, target = job["crashed"], parse_target(job["target"])
    if crashed in ("starting", "import", STAGES[0]):
        return
    own = crashed in STAGES
    before = STAGES[STAGES.index(crashed) - 1] if own else STAGES[-1]
    text, _ = emit_here(job["model"], job["target"], options, before)
    pipeline = pipeline_for(crashed, backend_for(target).stage_options(target, options)) if own else ""
    (folder / PIPELINE).write_text(pipeline)
    (folder / TEXT).write_text(str(text))


def _explain(folder: Path, job: dict[str, Any], options: CompileOptions) -> None:
    from mlirfuse.compiler import explain_here

    explanation = explain_here(job["model"], job["target"], options)
    (folder / EXPLANATION).write_text(json.dumps(explanation.to_dict()))


if __name__ == "__main__":
    main()
