"""MODEL on the command line: an ONNX file, an artifact, or a network of the zoo."""

from __future__ import annotations

import argparse
import atexit
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlirfuse.cli.arguments import DEFAULT_TARGET, chosen_options, compile_options
from mlirfuse.cli.progress import compile_progress
from mlirfuse.errors import MlirfuseError

__all__ = ["Model", "artifact_of", "model_of"]

ZOO = "zoo:"
SUFFIX = ".mlirfuse"


@dataclass(frozen=True)
class Model:
    """What the user named."""

    text: str
    kind: Literal["onnx", "artifact", "zoo"]

    @property
    def name(self) -> str:
        """A short name for titles and files: resnet50 for zoo:light/resnet50 and models/resnet50.onnx."""
        return Path(self.text.removeprefix(ZOO)).stem

    @functools.cached_property
    def source(self) -> str:
        """The path of the ONNX file; a network of the zoo is written to one that lasts as long as this process."""
        if self.kind == "artifact":
            raise MlirfuseError(f"{self.text} is compiled already; this needs the ONNX model that it was made from.")
        return self.text if self.kind == "onnx" else _zoo_file(self.text.removeprefix(ZOO))

    def discard(self) -> None:
        """Remove the file that `source` wrote, if it did; it is written again when asked for."""
        written = self.__dict__.pop("source", None)
        if self.kind == "zoo" and written is not None:
            Path(written).unlink(missing_ok=True)


def _zoo_file(name: str) -> str:
    import onnx

    from mlirfuse import zoo

    model = zoo.build(name)
    path = Path(_scratch()) / f"{name.replace('/', '_')}.onnx"
    onnx.save(model, path)
    return str(path)


@functools.cache
def _scratch() -> str:
    folder = tempfile.mkdtemp(prefix="mlirfuse-zoo-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def model_of(text: str) -> Model:
    """MODEL as it was typed; artifacts are known by their suffix."""
    if text.startswith(ZOO):
        return Model(text, "zoo")
    path = Path(text)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise MlirfuseError(
            f"The model {text} {what}; "
            f"give an .onnx file, an {SUFFIX} artifact, or zoo:NAME (`mlirfuse zoo` lists the names)."
        )
    return Model(text, "artifact" if path.suffix == SUFFIX else "onnx")


def artifact_of(model: Model, args: argparse.Namespace) -> Any:
    """The compiled network: loaded, or compiled now with the options in `args`."""
    if model.kind == "artifact":
        from mlirfuse.artifact import Artifact

        artifact = Artifact.load(model.text)
        _refuse_options(model, artifact, args)
        return artifact
    from mlirfuse.compiler import compile_artifact
    from mlirfuse.options import parse_target

    target = args.target or DEFAULT_TARGET
    parse_target(target)  # before a large network is built
    options = compile_options(args)
    with compile_progress(model.name) as progress:
        return compile_artifact(model.source, target, options, progress=progress)


def _refuse_options(model: Model, artifact: Any, args: argparse.Namespace) -> None:
    """Options that only a compiler can follow are an error for what is compiled already."""
    given = list(chosen_options(args)) + (["--target"] if args.target else [])
    if given:
        verb = "have" if len(given) > 1 else "has"
        raise MlirfuseError(
            f"{model.text} is compiled already, for {artifact.target} in {artifact.precision}, "
            f"so that {', '.join(given)} {verb} no effect; "
            "leave the option out, or give the ONNX model."
        )
