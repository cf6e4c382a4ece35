"""How results look: tables for people on standard output, JSON for programs, files written whole or not at all."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlirfuse.files import write_file

__all__ = ["Display", "amount", "count", "microseconds", "milliseconds", "signed", "size"]

WIDE = 1000  # columns where standard output is a file or a pipe: one line for each row


class Display:
    """Prints for people, unless `--json -` gives standard output to a program."""

    def __init__(self, json_path: str | None = None) -> None:
        self.json_path = json_path
        terminal = sys.stdout.isatty()
        self.console = _console(
            file=sys.stdout, quiet=json_path == "-", width=None if terminal else WIDE,
            markup=False, highlight=False, emoji=False, soft_wrap=False,
        )  # fmt: skip

    def line(self, text: str = "", style: str | None = None) -> None:
        self.console.print(text, style=style, soft_wrap=True)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", left: Sequence[str] = ()
    ) -> None:
        """A table; columns are right-aligned but for the first and those in `left`. An empty cell is None."""
        from rich import box
        from rich.table import Table

        table = Table(
            title=title or None, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False
        )
        for i, column in enumerate(columns):
            is_text = i == 0 or column in left
            table.add_column(column, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        self.console.print(table)

    def result(self, data: Mapping[str, Any]) -> None:
        """Write the JSON that was asked for."""
        if self.json_path is None:
            return
        text = json.dumps(_finite(data), indent=2, allow_nan=False) + "\n"
        if self.json_path == "-":
            sys.stdout.write(text)
        else:
            write_file(self.json_path, text.encode())


def _console(**settings: Any) -> Any:
    """A rich console that leaves a reader who is gone to the caller, and not with an exit of its own."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Quiet(**settings)


def _finite(data: Any) -> Any:
    """JSON has no name for what is not finite: such numbers become text."""
    if isinstance(data, Mapping):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data


# --- units ----------------------------------------------------------------------------------------


def milliseconds(seconds: float | None) -> str:
    """Three significant digits: 0.00412 is 4.12 ms."""
    if seconds is None:
        return ""
    value = seconds * 1e3
    return f"{value:.3g} ms" if value < 1000 else f"{seconds:.3g} s"


def microseconds(seconds: float) -> str:
    """Three significant digits: 0.0000641 is 64.1 us."""
    return f"{seconds * 1e6:.3g} us" if abs(seconds) < 1e-3 else f"{seconds * 1e3:.3g} ms"


def signed(number: float, show: Callable[[float], str]) -> str:
    """A difference: with a plus where it is one, "none" for 0."""
    return "none" if not number else f"{'+' if number > 0 else ''}{show(number)}"


def size(count: float | None) -> str:
    """Bytes: 1548800 is 1.55 MB."""
    return amount(count, "B")


def amount(count: float | None, unit: str = "") -> str:
    """A number with a decimal prefix: 3.87e9 with FLOP is 3.87 GFLOP."""
    if count is None:
        return ""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= 0.9995 * factor:
            return f"{count / factor:.3g} {prefix}{unit}".rstrip()
    return f"{count:.4g} {unit}".rstrip()


def count(number: int, noun: str, plural: str | None = None) -> str:
    """1 launch, 2 launches."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
