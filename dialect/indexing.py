"""Index arithmetic as canonical integer expressions, without MLIR.

An `Expr` is `const + sum(coefficient * atom)`. Atoms are variables with a known range, floor
divisions and remainders by positive constants, minima and maxima, and fetches (an index that is
read from a tensor). Building an expression simplifies it with the ranges of its variables, so
that chains of reshapes, transposes and slices collapse to what they really do.

    >>> i = var("i", 12)
    >>> (i * 4 + 3) // 4
    i
    >>> (i // 3) * 3 + i % 3
    i
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

__all__ = [
    "Atom",
    "Condition",
    "Expr",
    "Fetch",
    "FloorDiv",
    "MaxOf",
    "MinOf",
    "Mod",
    "Var",
    "as_expr",
    "const",
    "delinearize",
    "linearize",
    "var",
]


@dataclass(frozen=True)
class Var:
    """A variable that takes the integers in [lo, hi]."""

    name: str
    lo: int
    hi: int

    @property
    def range(self) -> tuple[int, int]:
        return self.lo, self.hi

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class FloorDiv:
    """floor(value / divisor), divisor > 0."""

    value: Expr
    divisor: int

    @property
    def range(self) -> tuple[int, int]:
        lo, hi = self.value.range
        return lo // self.divisor, hi // self.divisor

    def __repr__(self) -> str:
        return f"({self.value!r} floordiv {self.divisor})"


@dataclass(frozen=True)
class Mod:
    """value - divisor * floor(value / divisor): in [0, divisor)."""

    value: Expr
    divisor: int

    @property
    def range(self) -> tuple[int, int]:
        return 0, self.divisor - 1

    @cached_property
    def quotient(self) -> Atom | None:
        """value // divisor, where that is one atom."""
        whole = self.value // self.divisor
        return whole.terms[0][0] if len(whole.terms) == 1 and not whole.constant and whole.terms[0][1] == 1 else None

    def __repr__(self) -> str:
        return f"({self.value!r} mod {self.divisor})"


@dataclass(frozen=True)
class MinOf:
    """The smaller of two expressions."""

    a: Expr
    b: Expr

    @property
    def range(self) -> tuple[int, int]:
        (la, ha), (lb, hb) = self.a.range, self.b.range
        return min(la, lb), min(ha, hb)

    def __repr__(self) -> str:
        return f"min({self.a!r}, {self.b!r})"


@dataclass(frozen=True)
class MaxOf:
    """The larger of two expressions."""

    a: Expr
    b: Expr

    @property
    def range(self) -> tuple[int, int]:
        (la, ha), (lb, hb) = self.a.range, self.b.range
        return max(la, lb), max(ha, hb)

    def __repr__(self) -> str:
        return f"max({self.a!r}, {self.b!r})"


@dataclass(frozen=True)
class Fetch:
    """An index read from integer operand `operand` at `index`; negative values count from `size`."""

    operand: int
    index: tuple[Expr, ...]
    size: int

    @property
    def range(self) -> tuple[int, int]:
        return 0, self.size - 1

    def __repr__(self) -> str:
        return f"fetch#{self.operand}[{', '.join(map(repr, self.index))}]"


Atom = Var | FloorDiv | Mod | MinOf | MaxOf | Fetch


@dataclass(frozen=True)
class Expr:
    """const + sum of coefficient * atom; build with `var`, `const` and arithmetic."""

    constant: int
    terms: tuple[tuple[Atom, int], ...] = ()

    @cached_property
    def _hash(self) -> int:
        return hash((self.constant, self.terms))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def range(self) -> tuple[int, int]:
        """Inclusive bounds of the value (interval arithmetic: exact for affine expressions)."""
        lo = hi = self.constant
        for atom, factor in self.terms:
            a, b = atom.range
            lo += min(a * factor, b * factor)
            hi += max(a * factor, b * factor)
        return lo, hi

    @property
    def is_constant(self) -> bool:
        return not self.terms

    def __add__(self, other: Expr | int) -> Expr:
        other = as_expr(other)
        if not other.terms:
            return Expr(self.constant + other.constant, self.terms)
        if not self.terms:
            return Expr(self.constant + other.constant, other.terms)
        return _collect(self.constant + other.constant, (*self.terms, *other.terms))

    __radd__ = __add__

    def __neg__(self) -> Expr:
        return self * -1

    def __sub__(self, other: Expr | int) -> Expr:
        return self + as_expr(other) * -1

    def __rsub__(self, other: int) -> Expr:
        return as_expr(other) - self

    def __mul__(self, factor: int) -> Expr:
        if factor == 0:
            return Expr(0)
        if factor == 1:
            return self
        return Expr(self.constant * factor, tuple((atom, c * factor) for atom, c in self.terms))

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Expr:
        if divisor == 1:
            return self
        whole, rest = _split(self, divisor)
        lo, hi = rest.range
        if lo // divisor == hi // divisor:
            return whole + lo // divisor
        if (parts := _coarse_and_fine(rest, divisor)) is not None:  # (4a + b) // 12 = a // 3 for b in [0, 4)
            coarse, _, grain = parts
            return whole + coarse // (divisor // grain)
        rest_common = math.gcd(divisor, rest.constant, *(c for _, c in rest.terms))
        if rest_common > 1:  # (4a + 2) // 6 = (2a + 1) // 3
            rest, divisor = _scaled_down(rest, rest_common), divisor // rest_common
        if (
            len(rest.terms) == 1
            and rest.constant == 0
            and rest.terms[0][1] == 1
            and isinstance(rest.terms[0][0], FloorDiv)
        ):
            inner = rest.terms[0][0]  # (a // b) // c = a // (b c)
            return whole + inner.value // (inner.divisor * divisor)
        return whole + Expr(0, ((FloorDiv(rest, divisor), 1),))

    def __mod__(self, divisor: int) -> Expr:
        if divisor == 1:
            return Expr(0)
        _, rest = _split(self, divisor)
        lo, hi = rest.range
        if lo // divisor == hi // divisor:
            return rest - (lo // divisor) * divisor
        if (parts := _coarse_and_fine(rest, divisor)) is not None:  # (4a + b) mod 12 = 4 (a mod 3) + b for b in [0, 4)
            coarse, fine, grain = parts
            return (coarse % (divisor // grain)) * grain + fine
        common = math.gcd(divisor, rest.constant, *(c for _, c in rest.terms))
        if common > 1:  # (4a) mod 8 = 4 (a mod 2)
            return (_scaled_down(rest, common) % (divisor // common)) * common
        if len(rest.terms) == 1 and rest.constant == 0 and rest.terms[0][1] == 1:
            inner = rest.terms[0][0]
            if isinstance(inner, Mod) and inner.divisor % divisor == 0:  # (a mod 6) mod 3 = a mod 3
                return inner.value % divisor
        return Expr(0, ((Mod(rest, divisor), 1),))

    def variables(self) -> frozenset[Var]:
        """Every variable that the value depends on."""
        return frozenset(v for atom, _ in self.terms for v in _atom_variables(atom))

    def substitute(self, values: Mapping[Var, Expr]) -> Expr:
        """Replace variables and simplify again (with the ranges of what came in)."""
        if not values or not self.terms:
            return self
        out = Expr(self.constant)
        for atom, factor in self.terms:
            out = out + _substitute_atom(atom, values) * factor
        return out

    def rewrite_fetches(self, replace: Callable[[Fetch], Expr]) -> Expr:
        """Replace every fetch, innermost last."""
        out = Expr(self.constant)
        for atom, factor in self.terms:
            out = out + _rewrite_fetch_atom(atom, replace) * factor
        return out

    def coefficient(self, variable: Var) -> int | None:
        """The factor of `variable` if the value is affine in it, else None."""
        found = 0
        for atom, factor in self.terms:
            if atom == variable:
                found = factor
            elif variable in _atom_variables(atom):
                return None
        return found

    def evaluate(self, values: Mapping[Var, int]) -> int:
        """The value for given variables; expressions with fetches have none."""
        return self.constant + sum(_evaluate_atom(atom, values) * factor for atom, factor in self.terms)

    def __repr__(self) -> str:
        parts = [f"{atom!r}" if c == 1 else f"{atom!r} * {c}" for atom, c in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return " + ".join(parts)


@dataclass(frozen=True)
class Condition:
    """lo <= value <= hi."""

    value: Expr
    lo: int
    hi: int

    @property
    def always(self) -> bool:
        lo, hi = self.value.range
        return self.lo <= lo and hi <= self.hi

    @property
    def never(self) -> bool:
        lo, hi = self.value.range
        return hi < self.lo or self.hi < lo

    def substitute(self, values: Mapping[Var, Expr]) -> Condition:
        return Condition(self.value.substitute(values), self.lo, self.hi)


def const(value: int) -> Expr:
    """A constant."""
    return Expr(value)


def var(name: str, size: int, lo: int = 0) -> Expr:
    """A variable over [lo, lo + size); a range of one value is that constant."""
    if size == 1:
        return Expr(lo)
    return Expr(0, ((Var(name, lo, lo + size - 1), 1),))


def as_expr(value: Expr | int) -> Expr:
    return value if isinstance(value, Expr) else Expr(value)


def fetch(operand: int, index: Sequence[Expr], size: int) -> Expr:
    """An index read from an operand."""
    return Expr(0, ((Fetch(operand, tuple(index), size), 1),))


def minimum(a: Expr, b: Expr | int) -> Expr:
    b = as_expr(b)
    if a.range[1] <= b.range[0]:
        return a
    if b.range[1] <= a.range[0]:
        return b
    return Expr(0, ((MinOf(a, b), 1),))


def maximum(a: Expr, b: Expr | int) -> Expr:
    b = as_expr(b)
    if a.range[0] >= b.range[1]:
        return a
    if b.range[0] >= a.range[1]:
        return b
    return Expr(0, ((MaxOf(a, b), 1),))


def linearize(index: Sequence[Expr], shape: Sequence[int]) -> Expr:
    """Row-major position of `index` in `shape`."""
    out = Expr(0)
    for i, size in zip(index, shape, strict=True):
        out = out * size + i
    return out


def delinearize(position: Expr, shape: Sequence[int]) -> tuple[Expr, ...]:
    """The index in `shape` of a row-major position."""
    out: list[Expr] = []
    for axis in range(len(shape) - 1, -1, -1):
        if shape[axis] == 1:
            out.append(Expr(0))
            continue
        out.append(position if axis == 0 else position % shape[axis])
        position = position // shape[axis]
    return tuple(reversed(out))


@lru_cache(maxsize=1 << 16)
def _key(atom: Atom) -> str:
    return f"{type(atom).__name__}:{atom!r}"


def _collect(constant: int, terms: Sequence[tuple[Atom, int]]) -> Expr:
    factors: dict[Atom, int] = {}
    for atom, factor in terms:
        factors[atom] = factors.get(atom, 0) + factor
    factors = {atom: c for atom, c in factors.items() if c}
    for atom, c in list(factors.items()):  # c d (x // d) + c (x mod d) = c x
        if not isinstance(atom, Mod) or c * atom.divisor not in factors.values():
            continue
        if (quotient := atom.quotient) is not None and factors.get(quotient) == c * atom.divisor:
            del factors[atom], factors[quotient]
            return Expr(constant, _sorted(factors)) + atom.value * c
    return Expr(constant, _sorted(factors))


def _sorted(factors: Mapping[Atom, int]) -> tuple[tuple[Atom, int], ...]:
    return tuple(sorted(factors.items(), key=lambda item: _key(item[0])) if len(factors) > 1 else factors.items())


def _split(value: Expr, divisor: int) -> tuple[Expr, Expr]:
    """value = divisor * whole + rest, with what divides evenly in `whole`."""
    whole = tuple((a, c // divisor) for a, c in value.terms if c % divisor == 0)
    rest = tuple((a, c) for a, c in value.terms if c % divisor)
    return Expr(value.constant // divisor, whole), Expr(value.constant % divisor, rest)


def _coarse_and_fine(value: Expr, divisor: int) -> tuple[Expr, Expr, int] | None:
    """value = grain * coarse + fine: grain > 1 divides `divisor`, fine is in [0, grain) and not constant."""
    grains = {math.gcd(divisor, c) for _, c in value.terms}
    for grain in sorted(grains, reverse=True):
        if grain in (1, divisor):
            continue
        fine = Expr(value.constant % grain, tuple((a, c) for a, c in value.terms if c % grain))
        lo, hi = fine.range
        if fine.terms and lo >= 0 and hi < grain:
            coarse = Expr(value.constant // grain, tuple((a, c // grain) for a, c in value.terms if c % grain == 0))
            return coarse, fine, grain
    return None


def _scaled_down(value: Expr, by: int) -> Expr:
    return Expr(value.constant // by, tuple((a, c // by) for a, c in value.terms))


def _atom_variables(atom: Atom) -> frozenset[Var]:
    match atom:
        case Var():
            return frozenset((atom,))
        case FloorDiv() | Mod():
            return atom.value.variables()
        case MinOf() | MaxOf():
            return atom.a.variables() | atom.b.variables()
        case Fetch():
            return frozenset(v for e in atom.index for v in e.variables())


def _substitute_atom(atom: Atom, values: Mapping[Var, Expr]) -> Expr:
    match atom:
        case Var():
            return values.get(atom, Expr(0, ((atom, 1),)))
        case FloorDiv():
            return atom.value.substitute(values) // atom.divisor
        case Mod():
            return atom.value.substitute(values) % atom.divisor
        case MinOf():
            return minimum(atom.a.substitute(values), atom.b.substitute(values))
        case MaxOf():
            return maximum(atom.a.substitute(values), atom.b.substitute(values))
        case Fetch():
            return fetch(atom.operand, [e.substitute(values) for e in atom.index], atom.size)


def _rewrite_fetch_atom(atom: Atom, replace: Callable[[Fetch], Expr]) -> Expr:
    match atom:
        case Var():
            return Expr(0, ((atom, 1),))
        case FloorDiv():
            return atom.value.rewrite_fetches(replace) // atom.divisor
        case Mod():
            return atom.value.rewrite_fetches(replace) % atom.divisor
        case MinOf():
            return minimum(atom.a.rewrite_fetches(replace), atom.b.rewrite_fetches(replace))
        case MaxOf():
            return maximum(atom.a.rewrite_fetches(replace), atom.b.rewrite_fetches(replace))
        case Fetch():
            return replace(atom)


def _evaluate_atom(atom: Atom, values: Mapping[Var, int]) -> int:
    match atom:
        case Var():
            return values[atom]
        case FloorDiv():
            return atom.value.evaluate(values) // atom.divisor
        case Mod():
            return atom.value.evaluate(values) % atom.divisor
        case MinOf():
            return min(atom.a.evaluate(values), atom.b.evaluate(values))
        case MaxOf():
            return max(atom.a.evaluate(values), atom.b.evaluate(values))
        case Fetch():
            raise ValueError("an expression with a fetch has no value without its tensor")
