"""A rule: an equation, read from left to right, with its numeric class and its side conditions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mlirfuse.lowering.algebra.properties import Class
from mlirfuse.lowering.algebra.term import Term, parse_equation

__all__ = ["FAMILIES", "Rule", "kind_of"]

FAMILIES = ("associative", "distributive", "commutative")


@dataclass(frozen=True)
class Rule:
    """`equation` holds for floats, integers and booleans in the class given for each; not where that is None.

    `where` are names of conditions (conditions.py). A `regroups` rule says only that its chain may be computed in any
    order.
    """

    equation: str
    family: str
    floats: Class = None
    integers: Class = None
    booleans: Class = None
    where: tuple[str, ...] = ()
    regroups: bool = False

    @cached_property
    def sides(self) -> tuple[Term, Term]:
        return parse_equation(self.equation)

    def numeric_class(self, dtype: str) -> Class:
        """The class for elements of a type, or None if the rule does not hold for them."""
        kind = kind_of(dtype)
        return self.floats if kind == "float" else self.booleans if kind == "bool" else self.integers

    def __str__(self) -> str:
        return self.equation + (f"  where {', '.join(self.where)}" if self.where else "")


def kind_of(dtype: str) -> str:
    """float, bool or int, for the name of an element type."""
    return "bool" if dtype == "bool" else "int" if "int" in dtype else "float"
