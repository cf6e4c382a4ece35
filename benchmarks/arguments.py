"""The arguments that benchmarks have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measured import RESULTS

__all__ = ["NAMES", "parser_for"]


def names(text: str) -> tuple[str, ...]:
    """a,b as ("a", "b")."""
    return tuple(filter(None, text.split(",")))


NAMES: dict[str, Any] = {"type": names, "metavar": "NAME,..."}  # of an argument that is a list of names


def parser_for(
    about: str | None, results: str, networks: Sequence[str], *, page: str | None = None, force: bool = True
) -> argparse.ArgumentParser:
    """--networks and --results (a file of this name); with a `page`, --readme writes the table in it."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=networks, help="as `mlirfuse zoo` names them", **NAMES)
    parser.add_argument("--results", metavar="FILE", type=Path, default=RESULTS / results)
    if force:
        parser.add_argument("--force", action="store_true", help="do again what has not changed")
    if page:
        parser.add_argument("--readme", action="store_true", help=f"do nothing but write the table in {page}")
    return parser
