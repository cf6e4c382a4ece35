"""`--verify-diagnostics`: comments that say which diagnostics a text must cause, and nothing else.

    // expected-error @+1 {{part of the message}}
    // expected-note-re @below {{result #{{[0-9]+}}}}

The place is a line offset, `@above`, `@below` (the next line that holds no expectation) or `@unknown` (a diagnostic
without a place); without one it is the comment's own line. With `-re`, text in inner braces is a regular expression.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlirfuse.cli.source import Source
from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.passes import Diagnostic

__all__ = ["Expectation", "read_expectations", "verify_diagnostics"]

_COMMENT = re.compile(r"expected-(error|note|remark|warning)(-re)? *(?:@(\S+) *)?\{\{(.*?)\}\}(?=\s|$)")
_INNER = re.compile(r"\{\{(.*?)\}\}")


@dataclass(frozen=True)
class Expectation:
    """A diagnostic that must come; `line` 0 is one without a place."""

    severity: str
    line: int
    text: str
    regex: bool
    written_at: int

    def accepts(self, diagnostic: Diagnostic) -> bool:
        if diagnostic.severity != self.severity or diagnostic.line != self.line:
            return False
        if not self.regex:
            return self.text in diagnostic.message
        literal = _INNER.split(self.text)  # literal and expression by turns
        pattern = "".join(part if i % 2 else re.escape(part) for i, part in enumerate(literal))
        return re.search(pattern, diagnostic.message) is not None


def read_expectations(source: Source) -> list[Expectation]:
    """The expectations written in a text."""
    lines = source.text.splitlines()
    has_expectation = [_COMMENT.search(line) is not None for line in lines]
    found = []
    for number, line in enumerate(lines, start=1):
        for severity, regex, place, text in _COMMENT.findall(line):
            target = _line_of(place, number, has_expectation)
            found.append(Expectation(severity, target, text, bool(regex), number))
    return found


def verify_diagnostics(source: Source, diagnostics: Iterable[Diagnostic]) -> list[str]:
    """What differs between the expectations in `source` and what came, as messages; empty if nothing does."""
    open_, problems = read_expectations(source), []
    for diagnostic in _with_notes(diagnostics):
        match = next((e for e in open_ if e.accepts(diagnostic)), None)
        if match is not None:
            open_.remove(match)
        elif diagnostic.severity != "note":  # as in MLIR, notes may go unmentioned
            problems.append(f"unexpected {source.show(diagnostic)}")
    problems += [f"{source.name}:{e.written_at}: expected {e.severity} was not produced: {e.text}" for e in open_]
    return problems


def _line_of(place: str, number: int, has_expectation: Sequence[bool]) -> int:
    if place == "unknown":
        return 0
    if place in ("above", "below"):
        step = 1 if place == "below" else -1
        number += step
        while 0 < number <= len(has_expectation) and has_expectation[number - 1]:
            number += step
        return number
    try:
        return number + int(place or 0)
    except ValueError:
        known = "@+N, @-N, @above, @below or @unknown"
        raise MlirfuseError(f"line {number}: @{place} is no place of a diagnostic; write {known}") from None


def _with_notes(diagnostics: Iterable[Diagnostic]) -> Iterable[Diagnostic]:
    for diagnostic in diagnostics:
        yield diagnostic
        yield from _with_notes(diagnostic.notes)
