"""The text that `mlirfuse-opt` works on: split into parts, and shown under diagnostics."""

import dataclasses
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.passes import Diagnostic

__all__ = ["Source", "read_source"]

_SEPARATOR = re.compile(r"^// -----.*$", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """MLIR text with the name that messages call it by; line numbers are those of the whole file."""

    name: str
    text: str

    def split(self) -> list["Source"]:
        """The parts between lines `// -----`, each padded with empty lines so that its line numbers hold."""
        parts, start = [], 0
        for end in [*(match.start() for match in _SEPARATOR.finditer(self.text)), len(self.text)]:
            padding = "\n" * self.text.count("\n", 0, start)
            parts.append(Source(self.name, padding + self.text[start:end]))
            start = end
        return parts

    def show(self, diagnostic: Diagnostic) -> str:
        """The diagnostic as text, with the line that it points to."""
        diagnostic = self.rename(diagnostic)
        lines = self.text.splitlines()
        head, *notes = str(dataclasses.replace(diagnostic, notes=())), *map(str, diagnostic.notes)
        if diagnostic.file == self.name and 0 < diagnostic.line <= len(lines):
            head += f"\n{lines[diagnostic.line - 1]}\n{' ' * (diagnostic.column - 1)}^"
        return "\n".join([head, *notes])

    def rename(self, diagnostic: Diagnostic) -> Diagnostic:
        """The bindings call every text "-"."""
        return dataclasses.replace(
            diagnostic,
            file=self.name if diagnostic.file == "-" else diagnostic.file,
            notes=tuple(map(self.rename, diagnostic.notes)),
        )


def read_source(path: str) -> Source:
    """The text of a file, or of standard input for `-`."""
    if path == "-":
        return Source("<stdin>", sys.stdin.read())
    try:
        return Source(path, Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MlirfuseError(f"cannot read {path}: {error}") from None
