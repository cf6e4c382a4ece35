"""Diagnostics as plain data: MLIR's own objects die with the callback that delivers them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlirfuse.mlir import ir

__all__ = ["Diagnostic", "collect_diagnostics"]


@dataclass(frozen=True)
class Diagnostic:
    """One message on one place; `file` is "" where the location names none, `line` 0 where it is the whole file."""

    severity: str  # error, warning, remark or note
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    place: str = ""  # the location as MLIR prints it, for those without a file
    notes: tuple["Diagnostic", ...] = ()

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = position or self.place
        head = f"{where}: {self.severity}: {self.message}" if where else f"{self.severity}: {self.message}"
        return "\n".join([head, *map(str, self.notes)])


@contextlib.contextmanager
def collect_diagnostics(ctx: ir.Context, errors_only: bool = False) -> Iterator[list[Diagnostic]]:
    """Gather what `ctx` reports while inside; with `errors_only` the rest goes to whoever listens outside."""
    found: list[Diagnostic] = []

    def receive(info: Any) -> bool:
        diagnostic = _freeze(info)
        if errors_only and diagnostic.severity != "error":
            return False
        found.append(diagnostic)
        return True

    emits = ctx.emit_error_diagnostics
    ctx.emit_error_diagnostics = True  # else parsing and running passes hide their errors in the exception
    handler = ctx.attach_diagnostic_handler(receive)
    try:
        yield found
    finally:
        handler.detach()
        ctx.emit_error_diagnostics = emits


def _freeze(info: Any) -> Diagnostic:
    file, line, column = _position(info.location) or ("", 0, 0)
    place = str(info.location)
    return Diagnostic(
        severity=info.severity.name.lower(),
        message=info.message,
        file=file,
        line=line,
        column=column,
        place="" if place == "loc(unknown)" else place,
        notes=tuple(_freeze(note) for note in info.notes),
    )


def _position(location: Any) -> tuple[str, int, int] | None:
    """The first file position that a location leads to."""
    location = ir.Location.from_attr(location.attr)  # notes arrive without their own class
    if isinstance(location, ir.FileLineColLoc):
        return location.filename, location.start_line, location.start_col
    if isinstance(location, ir.NameLoc):
        return _position(location.child_loc)
    if isinstance(location, ir.CallSiteLoc):
        return _position(location.callee)
    if isinstance(location, ir.FusedLoc):
        return next(filter(None, map(_position, location.locations)), None)
    return None
