"""Input arrays of a network: from .npy files, the rest seeded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlirfuse.cli import arguments
from mlirfuse.cli.arguments import pair
from mlirfuse.errors import MlirfuseError

__all__ = ["add_inputs", "input_arrays"]


def add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input", metavar="NAME=FILE.npy", dest="inputs", type=pair(str, "FILE.npy"), action="append", default=[],
        help="the array of an input; inputs that are not given are random",
    )  # fmt: skip
    parser.add_argument("--seed", metavar="N", type=arguments.seed, default=0, help="seed of random inputs (default 0)")


def input_arrays(specs: Sequence[Any], args: argparse.Namespace) -> dict[str, Any]:
    """Every input by name: the files given, the others normal (floats) or zero (integers)."""
    from mlirfuse.runtime.inputs import random_inputs

    given = {name: _load(name, file) for name, file in args.inputs}
    known = [spec.name for spec in specs]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise MlirfuseError(
            f"There is no input '{unknown[0]}'; the network has {', '.join(map(repr, known)) or 'none'}."
        )
    random = dict(zip(known, random_inputs(specs, args.seed), strict=True))
    return {**random, **given}


def _load(name: str, file: str) -> Any:
    import numpy as np

    if not Path(file).is_file():
        raise MlirfuseError(f"The file {file} for the input '{name}' does not exist.")
    try:
        found = np.load(file, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            found.close()
            raise ValueError("it is an archive of several arrays")
        return found
    except (ValueError, EOFError, OSError) as error:
        raise MlirfuseError(f"The file {file} for the input '{name}' is not a NumPy array (.npy): {error}.") from error
