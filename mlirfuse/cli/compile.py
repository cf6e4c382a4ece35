"""`mlirfuse compile`: write an artifact, or the text of one stage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mlirfuse.cli import arguments
from mlirfuse.cli.display import Display, count, milliseconds, size
from mlirfuse.cli.model import SUFFIX, Model, artifact_of, model_of
from mlirfuse.errors import MlirfuseError
from mlirfuse.files import replacing, umask, write_file

HELP = "write an artifact, or with --emit the text of a stage"
STAGES = ("graph", "planned", "scheduled", "kernels", "nvvm", "llvm", "ptx", "spirv", "object")
WITH_WEIGHTS = ("graph", "planned", "scheduled", "kernels")  # their text names weights by key
ENDINGS = {"ptx": ".ptx", "object": ".o", "spirv": ".spv"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"where to write (default: the model's name with {SUFFIX}, or - for --emit)",
    )
    parser.add_argument(
        "--emit", metavar="STAGE", choices=STAGES, help=f"write a stage instead of an artifact: {', '.join(STAGES)}"
    )
    arguments.add_compile_options(parser)
    arguments.add_json(parser)


def execute(args: argparse.Namespace) -> int:
    model = model_of(args.model)
    if model.kind == "artifact":
        raise MlirfuseError(f"{model.text} is compiled already; give the ONNX model to compile it anew.")
    return _emit(model, args) if args.emit else _compile(model, args)


def _compile(model: Model, args: argparse.Namespace) -> int:
    path = Path(args.output or f"{model.name}{SUFFIX}")
    _check_folder(path)
    artifact = artifact_of(model, args)
    artifact.save(path)
    seconds = artifact.report.get("compile_seconds", {})
    totals = artifact.report.get("totals", {})
    display = Display(args.json)
    written = path.stat().st_size
    took = milliseconds(sum(seconds.values()))
    display.line(f"{path}: {artifact.target}, {artifact.precision}, {size(written)}, compiled in {took}")
    if totals:
        display.line(
            f"{count(totals['nodes_imported'], 'node')} in {count(totals['launches'], 'launch', 'launches')} "
            f"of {count(totals['kernels'], 'kernel')}, {count(totals['fallback_nodes'], 'node')} on the host"
        )
    display.result(
        {
            "output": str(path),
            "bytes": written,
            "model": artifact.model,
            "target": artifact.target,
            "precision": artifact.precision,
            "totals": totals,
            "compile_seconds": seconds,
        }
    )
    return 0


def _emit(model: Model, args: argparse.Namespace) -> int:
    from mlirfuse.compiler import emit
    from mlirfuse.options import parse_target

    target = args.target or arguments.DEFAULT_TARGET
    parse_target(target)
    if args.output and args.output != "-":
        _check_folder(Path(args.output))
    content, store = emit(model.source, target, arguments.compile_options(args), args.emit)
    data = content.encode() if isinstance(content, str) else content
    written: dict[str, Any] = {"stage": args.emit, "output": args.output or "-", "weights": None}
    if args.output in (None, "-"):
        if args.json == "-":
            raise MlirfuseError("Standard output cannot hold both the stage and --json -; give one of the two a file.")
        _to_stdout(data)
    else:
        path = Path(args.output)
        write_file(path, data)
        if args.emit in WITH_WEIGHTS and len(store):
            weights = path.with_suffix(".safetensors")
            _save_weights(store, weights)
            written["weights"] = str(weights)
            Display(args.json).line(f"{path} and its weights, {weights}")
    Display(args.json).result(written)
    return 0


def _to_stdout(data: bytes) -> None:
    import sys

    if sys.stdout.isatty() and b"\0" in data[:4096]:
        raise MlirfuseError("This stage is binary; give it a file with -o FILE.")
    sys.stdout.flush()
    sys.stdout.buffer.write(data if data.endswith(b"\n") or b"\0" in data[:4096] else data + b"\n")
    sys.stdout.buffer.flush()


def _save_weights(store: Any, path: Path) -> None:
    """The store's file, renamed into place when it is whole."""
    with replacing(path) as partial:
        store.save(partial)
        partial.chmod(0o666 & ~umask())


def _check_folder(path: Path) -> None:
    """Say so before compiling, not after."""
    if not path.absolute().parent.is_dir():
        raise MlirfuseError(f"The folder {path.parent} of {path} does not exist; make it, or write elsewhere.")
    if path.is_dir():
        raise MlirfuseError(f"{path} is a folder; give the name of a file to write.")
