"""`mlirfuse zoo`: the networks that need no download."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlirfuse.cli import arguments
from mlirfuse.cli.display import Display
from mlirfuse.files import replacing

HELP = "list the networks of the zoo, or write one as an .onnx file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME", nargs="?", help="the network to write, as zoo:NAME or NAME")
    parser.add_argument(
        "-o", "--output", metavar="FILE.onnx", help="where to write it (default: its name in this folder)"
    )
    parser.add_argument(
        "--seed", metavar="N", type=arguments.seed, default=0, help="seed of random weights (default 0)"
    )
    arguments.add_json(parser)


def execute(args: argparse.Namespace) -> int:
    from mlirfuse import zoo

    display = Display(args.json)
    if args.model is None:
        names = [*zoo.names(), *zoo.blocks()]
        for name in names:
            display.line(f"zoo:{name}")
        display.result({"networks": names})
        return 0
    import onnx

    model = zoo.build(args.model, seed=args.seed)
    path = Path(args.output or f"{args.model.removeprefix('zoo:').replace('/', '_')}.onnx")
    with replacing(path) as partial:
        onnx.save(model, partial)
    display.line(f"{path}: {len(model.graph.node)} nodes")
    display.result({"output": str(path), "nodes": len(model.graph.node)})
    return 0
