"""The options that verbs share, and what they say about a compilation."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from mlirfuse.options import FUSIONS, LAYOUTS, PRECISIONS, REWRITES, CompileOptions

__all__ = [
    "add_compile_options",
    "add_device",
    "add_json",
    "add_model",
    "add_runs",
    "add_shape",
    "add_threads",
    "chosen_options",
    "compile_options",
    "pair",
    "positive",
]

DEFAULT_TARGET = "cpu"
# option on the command line -> field of CompileOptions
_FIELDS = {
    "--precision": "precision",
    "--shape": "shapes",
    "--fusion": "fusion",
    "--rewrite": "rewrite",
    "--layout": "layout",
    "--strict": "strict",
    "--no-fuse": "no_fuse",
    "--force-fuse": "force_fuse",
    "--tuning": "tuning",
}


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=".onnx file, .mlirfuse artifact or zoo:NAME")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", metavar="FILE", help="write the result as JSON; - is standard output, instead of text"
    )


def add_shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape", metavar="NAME=8x3x224x224", dest="shapes", type=pair(_dimensions, "8x3x224x224"), action="append",
        default=[], help="fix the shape of an input; may be repeated",
    )  # fmt: skip


def add_compile_options(parser: argparse.ArgumentParser) -> None:
    """`--target` and the fields of CompileOptions."""
    group = parser.add_argument_group("compilation")
    default = CompileOptions()

    def choice(flag: str, values: tuple[str, ...], text: str) -> None:
        name = _FIELDS[flag]
        group.add_argument(
            flag,
            choices=values,
            help=f"{text}; one of {', '.join(values)} (default {getattr(default, name)})",
            metavar="VALUE",
        )

    group.add_argument(
        "--target", metavar="TARGET", help=f"cpu, cuda, cuda:sm_90, simulator, ... (default {DEFAULT_TARGET})"
    )
    choice("--precision", PRECISIONS, "arithmetic of contractions")
    add_shape(group)  # type: ignore[arg-type]  # a group adds arguments as a parser does
    choice("--fusion", FUSIONS, "what may share a kernel")
    choice("--rewrite", REWRITES, "how much the graph may be rewritten")
    choice("--layout", LAYOUTS, "memory order of tensors")
    group.add_argument("--strict", action="store_true", help="refuse nodes that would run on the host")
    group.add_argument(
        "--no-fuse",
        metavar="NODE",
        action="append",
        default=[],
        help="keep an ONNX node in a group of its own; may be repeated",
    )
    group.add_argument(
        "--force-fuse",
        metavar="A,B",
        action="append",
        default=[],
        help="put these ONNX nodes in one group; may be repeated",
    )
    group.add_argument("--tuning", metavar="FILE", help="a database of `mlirfuse tune`, which compiling reads")


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", metavar="N", type=positive, help="CPU threads of one inference (default: every core)"
    )


def _device(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def add_device(parser: argparse.ArgumentParser) -> None:
    text = "the GPU that runs: its number (cuda, vulkan), or part of its name (vulkan)"
    parser.add_argument("--device", metavar="GPU", type=_device, help=text)


def add_running(parser: argparse.ArgumentParser) -> None:
    """What verbs that compile and run take."""
    add_threads(parser)
    add_device(parser)
    add_compile_options(parser)
    add_json(parser)


def add_runs(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--runs", metavar="N", type=positive, help=text)


def compile_options(args: argparse.Namespace) -> CompileOptions:
    """The options as given; what is not given has CompileOptions' own default."""
    given = {name: getattr(args, name) for name in chosen_options(args).values()}
    if "shapes" in given:
        given["shapes"] = dict(given["shapes"])
    return CompileOptions(**given)


def chosen_options(args: argparse.Namespace) -> dict[str, str]:
    """The compile options that were given: flag to field of CompileOptions."""
    return {flag: name for flag, name in _FIELDS.items() if getattr(args, name, None)}


# --- types ----------------------------------------------------------------------------------------


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found '{text}'")
    return int(text)


def seed(text: str) -> int:
    """A whole number of at least 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, found '{text}'")
    return int(text)


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def pair(value: Callable[[str], Any], example: str) -> Callable[[str], tuple[str, Any]]:
    """A type for NAME=VALUE; names may hold `=` if the value does not."""

    def parse(text: str) -> tuple[str, Any]:
        name, equals, rest = text.rpartition("=")
        if not equals or not name or not rest:
            raise argparse.ArgumentTypeError(f"expected NAME={example}, found '{text}'")
        return name, value(rest)

    return parse


def _dimensions(text: str) -> tuple[int, ...]:
    parts = [] if text == "scalar" else text.replace(",", "x").split("x")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"expected a shape such as 8x3x224x224, found '{text}'")
    return tuple(map(int, parts))
