"""Equations between terms, and their text: `A * C + A * B = A * (B + C)`.

Single capital letters are variables. Functions have the names of ONNX operators (`Recip` is short for Reciprocal);
+ - * / stand for Add, Sub, Mul and Div.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["Apply", "Number", "Term", "Variable", "parse_equation", "variables"]


@dataclass(frozen=True)
class Variable:
    """Any tensor."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Number:
    """The same number in every element."""

    value: int

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Apply:
    """A function of terms."""

    function: str
    args: tuple[Term, ...]

    def __str__(self) -> str:
        if self.function in _SYMBOLS:
            left, right = (f"({a})" if isinstance(a, Apply) and a.function in _SYMBOLS else str(a) for a in self.args)
            return f"{left} {_SYMBOLS[self.function]} {right}"
        return f"{self.function}({', '.join(map(str, self.args))})"


Term = Variable | Number | Apply
_SYMBOLS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/"}
_FUNCTIONS = {symbol: name for name, symbol in _SYMBOLS.items()}
_TOKEN = re.compile(r"\s*([A-Za-z]\w*|\d+|[-+*/(),])")


@functools.cache
def parse_equation(text: str) -> tuple[Term, Term]:
    """The two sides of `text`; ValueError with the place where it is none."""
    left, equals, right = text.partition("=")
    if not equals:
        raise ValueError(f"expected an equation with one '=', found '{text}'")
    return _Parser(left).whole(), _Parser(right).whole()


def variables(term: Term) -> Iterator[str]:
    """The names of the variables, once for each place, from left to right."""
    if isinstance(term, Variable):
        yield term.name
    elif isinstance(term, Apply):
        for arg in term.args:
            yield from variables(arg)


class _Parser:
    """Recursive descent: sums of products of calls."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._tokens = _TOKEN.findall(text)
        if "".join(self._tokens) != re.sub(r"\s", "", text):
            raise ValueError(f"'{text}' has a character that terms do not have")

    def whole(self) -> Term:
        term = self._chain("+-", self._product)
        if self._at != len(self._tokens):
            raise ValueError(f"'{self._tokens[self._at]}' is not expected in '{self._text}'")
        return term

    def _product(self) -> Term:
        return self._chain("*/", self._atom)

    def _chain(self, symbols: str, part: Callable[[], Term]) -> Term:
        term = part()
        while self._peek() and self._peek() in symbols:
            term = Apply(_FUNCTIONS[self._next()], (term, part()))
        return term

    def _atom(self) -> Term:
        token = self._next()
        if token == "(":
            term = self._chain("+-", self._product)
            self._expect(")")
            return term
        if token.isdigit():
            return Number(int(token))
        if self._peek() != "(":
            if not (len(token) == 1 and token.isupper()):
                raise ValueError(f"'{token}' in '{self._text}' is neither a variable nor a function of something")
            return Variable(token)
        self._expect("(")
        args = [self._chain("+-", self._product)]
        while self._peek() == ",":
            self._next()
            args.append(self._chain("+-", self._product))
        self._expect(")")
        return Apply(token, tuple(args))

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise ValueError(f"'{self._text}' ends too early")
        self._at += 1
        return token

    def _expect(self, token: str) -> None:
        if (found := self._next()) != token:
            raise ValueError(f"expected '{token}' in '{self._text}', found '{found}'")
