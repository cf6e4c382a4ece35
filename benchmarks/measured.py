"""Result files of the benchmarks: one JSON for each, with the machine, versions and dates of what was measured."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mlirfuse
from mlirfuse.device import host_device
from mlirfuse.files import write_file
from mlirfuse.zoo import WHEEL_NETWORKS

__all__ = [
    "LIGHT_NETWORKS",
    "PAPER_NETWORKS",
    "README",
    "RESULTS",
    "Measured",
    "machine",
    "markdown_row",
    "source_digest",
    "today",
    "versions",
    "write_block",
]

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
LIGHT_NETWORKS = WHEEL_NETWORKS  # those of the onnx package
# The fifteen networks of the DNNFusion paper (table 4), as the zoo spells them.
PAPER_NETWORKS = (
    *("efficientnet-b0", "vgg16", "mobilenetv1-ssd", "yolov4-320", "c3d", "s3d", "unet", "fasterrcnn", "maskrcnn"),
    *("tinybert-s384", "distilbert-s384-fine", "albert-base-s384-fine", "bert-base-s384", "mobilebert-s384"),
    "gpt2-s384-fine",
)


class Measured:
    """Entries by key in one file, written after each, so that a run that is stopped goes on where it was.

    Entries of one file are of one machine: `Measured(path, machine)` of another starts with none.
    """

    def __init__(self, path: Path, here: Mapping[str, Any]) -> None:
        self.path = path
        self.data: dict[str, Any] = {"machine": dict(here), "entries": {}}
        if path.exists():
            found = json.loads(path.read_text())
            if found.get("machine") == self.data["machine"]:
                self.data = found

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        return self.data["entries"]

    def is_current(self, key: str, **facts: Any) -> bool:
        """Whether an entry exists that was measured on these very facts; one that failed or was skipped is none."""
        entry = self.entries.get(key, {"failed": "not tried"})
        done = not {"failed", "skipped"} & set(entry)
        return done and all(entry.get(name) == value for name, value in facts.items())

    def put(self, key: str, entry: Mapping[str, Any]) -> None:
        """Add or replace one entry and write the file."""
        self.data["entries"] = dict(sorted({**self.entries, key: {**entry, "date": today()}}.items()))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, (json.dumps(self.data, indent=1) + "\n").encode())


def write_block(readme: Path, script: str, text: str) -> None:
    """Replace what stands between the markers of `script` in a page."""
    begin, end = f"<!-- written by benchmarks/{script} --readme: begin -->", "<!-- end -->"
    head, rest = readme.read_text().split(begin)
    _, tail = rest.split(end, 1)
    write_file(readme, f"{head}{begin}\n{text}\n{end}{tail}".encode())


def markdown_row(cells: Iterable[object]) -> str:
    """| a | b |"""
    return f"| {' | '.join(map(str, cells))} |"


def source_digest() -> str:
    """What the compiler is: a digest of its sources, so that results of other sources can be told."""
    home, digest = Path(mlirfuse.__file__).parent, hashlib.sha256()
    for folder in ("mlirfuse", "dialect", "lowering", "zoo"):
        root = home.parent / folder if (home.parent / folder).is_dir() else home / folder
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def machine() -> dict[str, Any]:
    """This machine's CPU."""
    device = host_device()
    return {
        "cpu": device.name,
        "cores": device.multiprocessors,
        "vector_bits": device.vector_bytes * 8,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """The version of this checkout and of installed packages; None for what is not installed."""
    found: dict[str, str | None] = {"mlirfuse": mlirfuse.__version__}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def today() -> str:
    """The date, as 2025-06-30."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
