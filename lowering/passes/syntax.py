"""The textual form of pass pipelines, as MLIR defines it.

pipeline ::= op-name `(` (element (`,` element)*)? `)`
element  ::= pipeline | pass-name (`{` options `}`)?
"""

import re
from dataclasses import dataclass

from mlirfuse.lowering.passes.registry import PipelineError

__all__ = ["Element", "parse_elements"]

_NAME = re.compile(r"[\w.\-]+")
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True)
class Element:
    """A pass with the text of its options, or (with `children`) an anchor op with what runs on it."""

    name: str
    options: str = ""
    children: tuple["Element", ...] | None = None


def parse_elements(text: str) -> tuple[Element, ...]:
    """The comma-separated elements of `text`; PipelineError shows where it stops making sense."""
    elements, at = _elements(text, 0)
    if at < len(text):
        raise _error(text, at, "expected the end or ','")
    return elements


def _elements(text: str, at: int) -> tuple[tuple[Element, ...], int]:
    found = []
    while True:
        element, at = _element(text, _skip(text, at))
        found.append(element)
        at = _skip(text, at)
        if text[at : at + 1] != ",":
            return tuple(found), at
        at += 1


def _element(text: str, at: int) -> tuple[Element, int]:
    match = _NAME.match(text, at)
    if match is None:
        raise _error(text, at, "expected the name of a pass or op")
    name, at = match.group(), _skip(text, match.end())
    if text[at : at + 1] == "{":
        end = _closing_brace(text, at)
        return Element(name, text[at + 1 : end].strip()), end + 1
    if text[at : at + 1] != "(":
        return Element(name), at
    at = _skip(text, at + 1)
    children: tuple[Element, ...] = ()
    if text[at : at + 1] != ")":
        children, at = _elements(text, at)
    if text[at : at + 1] != ")":
        raise _error(text, at, f"expected ',' or the ')' of {name}(")
    return Element(name, children=children), at + 1


def _closing_brace(text: str, at: int) -> int:
    depth, quote = 0, ""
    for i in range(at, len(text)):
        c = text[i]
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "{}":
            depth += 1 if c == "{" else -1
            if depth == 0:
                return i
    raise _error(text, at, "no '}' for this '{'")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _error(text: str, at: int, what: str) -> PipelineError:
    return PipelineError(f"bad pass pipeline: {what} at column {at + 1}\n  {text}\n  {' ' * at}^")
