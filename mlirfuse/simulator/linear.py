"""Linear forms over Python variables: how the translator holds index values until it must write them down."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Linear"]


@dataclass(frozen=True)
class Linear:
    """constant + sum of coefficient * variable; `terms` is sorted and has no zero coefficient."""

    terms: tuple[tuple[str, int], ...] = ()
    constant: int = 0

    @staticmethod
    def of(terms: dict[str, int], constant: int) -> "Linear":
        """The normal form of a sum."""
        return Linear(tuple(sorted((name, c) for name, c in terms.items() if c)), constant)

    @staticmethod
    def variable(name: str) -> "Linear":
        """1 * name."""
        return Linear(((name, 1),))

    @property
    def is_constant(self) -> bool:
        """No variable is left."""
        return not self.terms

    def __add__(self, other: "Linear") -> "Linear":
        terms = dict(self.terms)
        for name, coefficient in other.terms:
            terms[name] = terms.get(name, 0) + coefficient
        return Linear.of(terms, self.constant + other.constant)

    def scale(self, factor: int) -> "Linear":
        """factor * self."""
        return Linear.of({name: c * factor for name, c in self.terms}, self.constant * factor)

    def __sub__(self, other: "Linear") -> "Linear":
        return self + other.scale(-1)

    def part(self, keep: Callable[[str], bool]) -> "Linear":
        """The terms whose variable satisfies `keep`, without the constant."""
        return Linear(tuple((name, c) for name, c in self.terms if keep(name)))

    def quotient_and_rest(self, divisor: int) -> tuple["Linear", "Linear"]:
        """(q, r) with self == q * divisor + r, r free of multiples of the divisor."""
        whole = {name: c // divisor for name, c in self.terms if c % divisor == 0}
        rest = {name: c for name, c in self.terms if c % divisor}
        return Linear.of(whole, self.constant // divisor), Linear.of(rest, self.constant % divisor)

    def text(self) -> str:
        """As a Python expression."""
        parts = [name if c == 1 else f"{c}*{name}" for name, c in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return "+".join(parts).replace("+-", "-")
