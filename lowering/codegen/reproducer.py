"""What a crashed compiler leaves behind: a text that makes the same crash again."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlirfuse.options import environment

__all__ = ["tool_versions", "write_reproducer"]

_TOOLS = ("mlirfuse", "torch-mlir", "llvmlite", "numpy")


def write_reproducer(name: str, what: str, text: str, how: str) -> Path | None:
    """Write `text` whole or not at all into the folder of crashes ($MLIRFUSE_CRASH_DIR), under a new name.

    A head of `//` lines says `what` happened, in which versions, and `how` to see it again. None if nothing can be
    written: the crash is to be told, not the full disk.
    """
    folder = environment().crash_dir
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"\W+", "_", name)[:60].strip("_")
        handle, temporary = tempfile.mkstemp(prefix=f"crash-{stem}-", suffix=".part", dir=folder)
        path = Path(temporary).with_suffix(".mlir")
        head = [what, tool_versions(), how]
        with os.fdopen(handle, "w") as out:
            out.write("".join(f"// {line}\n" for line in "\n".join(head).splitlines()) + text)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        return None
    return path


def tool_versions() -> str:
    """One line: everything whose version can matter."""
    found = [f"{tool} {_version(tool)}" for tool in _TOOLS]
    return ", ".join([*found, f"Python {platform.python_version()}", f"{platform.system()} {platform.machine()}"])


def _version(tool: str) -> str:
    try:
        return version(tool)
    except PackageNotFoundError:
        return "from a checkout"
