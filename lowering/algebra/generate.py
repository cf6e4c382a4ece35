"""All rules, generated from the facts of properties.py, family by family."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator

from mlirfuse.lowering.algebra.properties import (
    ANTITONE,
    ASSOCIATIVE,
    COMMUTATIVE_OPERANDS,
    DISTRIBUTES,
    EVEN,
    HOMOMORPHISMS,
    IDEMPOTENT,
    INVERSE_OF,
    INVERSES,
    MONOTONE,
    ODD,
    POINTWISE,
    REDUCTION_OF,
    UNIT,
    Fact,
    NumericClass,
)
from mlirfuse.lowering.algebra.rule import FAMILIES, Rule
from mlirfuse.lowering.algebra.term import parse_equation

__all__ = ["PAPER_COUNTS", "RULES", "count_by_family"]

PAPER_COUNTS = {"associative": 45, "distributive": 38, "commutative": 66}  # Niu et al., PLDI 2021, section 4.2
E, R, D = NumericClass
_SYMBOLS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/"}
_LIKE = "B and C have one type"
_SAME = "A and B have one type"
_FIXED = "C is constant along the reduced axes"
_WIDE = "A has the reduced axes"


def _apply(function: str, a: str, b: str) -> str:
    """The text of a binary function."""
    return f"({a} {_SYMBOLS[function]} {b})" if function in _SYMBOLS else f"{function}({a}, {b})"


def _rule(family: str, left: str, right: str, fact: Fact, *where: str, regroups: bool = False) -> Rule:
    text = " = ".join(map(str, parse_equation(f"{left} = {right}")))
    return Rule(text, family, fact.floats, fact.integers, fact.booleans, where, regroups)


def _meet(*facts: Fact) -> Fact:
    """What holds if all facts are used."""
    worst = [[getattr(f, kind) for f in facts] for kind in ("floats", "integers", "booleans")]
    return Fact((), *(None if None in classes else max(classes) for classes in worst))


def _named(facts: tuple[Fact, ...], *names: str) -> Fact | None:
    return next((f for f in facts if f.names == names), None)


# --- associative: the members of one chain ---------------------------------------------------------


def _associative() -> Iterator[Rule]:
    rule = functools.partial(_rule, "associative")
    for fact in IDEMPOTENT:
        yield rule(_apply(fact.names[0], "A", "A"), "A", fact)
    yield rule("A * A", "Square(A)", Fact((), E, E))
    yield rule("A + A", "2 * A", Fact((), E, E))
    yield rule("A - A", "0", Fact((), D, E))
    yield rule("A / A", "1", Fact((), D))
    for op in ("Xor", "BitXor"):
        yield rule(_apply(op, "A", "A"), "0", Fact((), None, E) if op == "BitXor" else Fact((), None, None, E))
    yield from _inverses(rule)
    for fact in HOMOMORPHISMS:
        yield from _of_homomorphism(fact, rule)
    for fact in MONOTONE:
        for op in ("Max", "Min"):
            yield rule(
                _apply(op, f"{fact.names[0]}(A)", f"{fact.names[0]}(B)"),
                f"{fact.names[0]}({op}(A, B))",
                fact,
                *_slope(fact),
            )
    for fact in ANTITONE:
        f = fact.names[0]
        for op, other in (("Max", "Min"), ("Min", "Max")):
            yield rule(_apply(op, f"{f}(A)", f"{f}(B)"), f"{f}({other}(A, B))", fact)
    for fact in INVERSES:
        f, g, h = fact.names
        yield rule(f"{f}({g}(A))", f"{h}(A)" if h else "A", fact)
        if f == "Square":
            yield rule(f"{g}(A) * {g}(A)", f"{h}(A)" if h else "A", fact)
    for fact in EVEN:
        for g in ("Neg", "Abs"):
            if fact.names[0] != g:
                yield rule(f"{fact.names[0]}({g}(A))", f"{fact.names[0]}(A)", fact)
    for fact in ODD:
        yield rule(f"Neg({fact.names[0]}(Neg(A)))", f"{fact.names[0]}(A)", fact)
    for fact in ASSOCIATIVE:
        [op] = fact.names
        yield rule(_apply(op, _apply(op, "A", "B"), "C"), _apply(op, "A", _apply(op, "B", "C")), fact, regroups=True)


def _inverses(rule: functools.partial[Rule]) -> Iterator[Rule]:
    """Inverse elements and inverse operations."""
    for op, (back, inverse) in INVERSE_OF.items():
        fact = Fact((), E, E) if op == "Add" else Fact((), R)
        undo = fact if op == "Add" else Fact((), D)
        # A division takes longer than a multiplication, so that it must save as many reciprocals.
        where = ("B has the type of the result",) if op == "Mul" else ()
        yield rule(_apply(op, "A", f"{inverse}(B)"), _apply(back, "A", "B"), fact, *where)
        yield rule(_apply(back, "A", f"{inverse}(B)"), _apply(op, "A", "B"), undo)
        yield rule(
            f"{inverse}({_apply(back, 'A', 'B')})",
            _apply(back, "B", "A"),
            Fact((), R, E) if op == "Add" else Fact((), D),
        )
    yield rule("Neg(A) * Neg(B)", "A * B", Fact((), E, E))
    yield rule("Neg(A) / Neg(B)", "A / B", Fact((), E))


def _of_homomorphism(fact: Fact, rule: functools.partial[Rule]) -> Iterator[Rule]:
    """f(a) * f(b) = f(a o b), with the inverse operations, and with a shared argument."""
    f, source, target = fact.names
    yield rule(_apply(target, f"{f}(A)", f"{f}(B)"), f"{f}({_apply(source, 'A', 'B')})", fact)
    if source in INVERSE_OF and target in INVERSE_OF:
        back = Fact((), fact.floats, fact.integers if source == target == "Add" else None)
        yield rule(
            _apply(INVERSE_OF[target][0], f"{f}(A)", f"{f}(B)"), f"{f}({_apply(INVERSE_OF[source][0], 'A', 'B')})", back
        )
    if source == target == "Mul" and f not in ("Square", "Sqrt"):
        yield rule(f"{f}(A) * {f}(A * B)", f"Square({f}(A)) * {f}(B)", _meet(fact, Fact((), R)))


def _slope(fact: Fact) -> tuple[str, ...]:
    return ("its slope is not negative",) if fact.names[0] in ("Elu", "LeakyRelu") else ()


# --- distributive: one operation over another -------------------------------------------------------


def _distributive() -> Iterator[Rule]:
    rule = functools.partial(_rule, "distributive")
    for fact in DISTRIBUTES:
        yield from _of_distribution(fact, rule)
    for inner in ("Add", "Sub"):
        yield rule(_apply(inner, "A / C", "B / C"), f"{_apply(inner, 'A', 'B')} / C", Fact((), R))
    yield rule("Max(A * C, B * C)", "Max(A, B) * C", Fact((), R), "C is a constant and not negative")
    yield rule("Min(A * C, B * C)", "Min(A, B) * C", Fact((), R), "C is a constant and not negative")
    for linear in ("MatMul", "Conv"):
        for inner in ("Add", "Sub"):
            yield rule(
                _apply(inner, f"{linear}(A, B)", f"{linear}(A, C)"),
                f"{linear}(A, {_apply(inner, 'B', 'C')})",
                Fact((), R),
                _LIKE,
            )
            yield rule(
                _apply(inner, f"{linear}(A, C)", f"{linear}(B, C)"),
                f"{linear}({_apply(inner, 'A', 'B')}, C)",
                Fact((), R),
                _SAME,
            )
        yield rule(f"{linear}(A * C, B)", f"C * {linear}(A, B)", Fact((), R), "C is one number")
        yield rule(f"{linear}(A, B * C)", f"C * {linear}(A, B)", Fact((), R), "C is one number")
    yield rule("C * MatMul(A, B)", "MatMul(A * C, B)", Fact((), R), "C is one number")
    yield rule("C * MatMul(A, B)", "MatMul(A, B * C)", Fact((), R), "C is one number")
    for op in ("Add", "Sub", "Mul", "Div", "Max", "Min"):
        fact = Fact((), R if op in ("Max", "Min") else E, E)
        yield rule(f"Where(M, {_apply(op, 'A', 'C')}, {_apply(op, 'B', 'C')})", _apply(op, "Where(M, A, B)", "C"), fact)
        if op in ("Sub", "Div"):
            yield rule(
                f"Where(M, {_apply(op, 'C', 'A')}, {_apply(op, 'C', 'B')})", _apply(op, "C", "Where(M, A, B)"), fact
            )


def _of_distribution(fact: Fact, rule: functools.partial[Rule]) -> Iterator[Rule]:
    """a o b + a o c = a o (b + c), with the forms that a o b takes where b is the unit, or a itself."""
    outer, inner = fact.names
    forms = {_apply(outer, "A", "{0}"): "{0}"}
    if outer in UNIT:
        forms |= {"A": str(UNIT[outer]), "Square(A)": "A"}
    operations = [inner, INVERSE_OF[inner][0]] if inner in INVERSE_OF else [inner]
    for op in operations:
        for left, b in forms.items():
            for right, c in forms.items():
                if "{0}" not in left + right:
                    continue  # a + a o a: nothing is saved
                if op == inner and "{0}" in left and "{0}" not in right:
                    continue
                whole = _apply(op, left.format("B"), right.format("C"))
                yield rule(whole, _apply(outer, "A", _apply(op, b.format("B"), c.format("C"))), fact)
    if _named(DISTRIBUTES, inner, outer) is not None:  # a lattice: absorption
        drops = Fact((), D if fact.floats is not None else None, fact.integers, fact.booleans)
        yield rule(_apply(inner, "A", _apply(outer, "A", "B")), "A", drops)


# --- commutative: the order of two operations, or of operands ---------------------------------------


def _commutative() -> Iterator[Rule]:
    rule = functools.partial(_rule, "commutative")
    for fact in COMMUTATIVE_OPERANDS:
        yield rule(_apply(fact.names[0], "A", "B"), _apply(fact.names[0], "B", "A"), fact)
    for fact in POINTWISE:
        f = fact.names[0]
        yield rule(f"Where(M, {f}(A), {f}(B))", f"{f}(Where(M, A, B))", fact)
        yield rule(f"{f}(Expand(A))", f"Expand({f}(A))", fact)
    yield from _through_reductions(rule)


def _through_reductions(rule: functools.partial[Rule]) -> Iterator[Rule]:
    """Functions applied to a reduction instead of to what is reduced."""
    for fact in HOMOMORPHISMS:
        f, source, target = fact.names
        if source in REDUCTION_OF and target in REDUCTION_OF:
            yield rule(f"{REDUCTION_OF[target]}({f}(A))", f"{f}({REDUCTION_OF[source]}(A))", fact)
    yield rule("ReduceMean(Neg(A))", "Neg(ReduceMean(A))", Fact((), R))
    for fact in MONOTONE:
        f = fact.names[0]
        for op in ("ReduceMax", "ReduceMin"):
            yield rule(f"{op}({f}(A))", f"{f}({op}(A))", fact, *_slope(fact))
    for fact in ANTITONE:
        f = fact.names[0]
        for op, other in (("ReduceMax", "ReduceMin"), ("ReduceMin", "ReduceMax")):
            yield rule(f"{op}({f}(A))", f"{f}({other}(A))", fact)
    yield from _of_fixed_operands(rule)
    for op, reduction in (*REDUCTION_OF.items(), ("Add", "ReduceMean")):
        fact = next(f for f in ASSOCIATIVE if f.names == (op,))
        fact = fact if reduction != "ReduceMean" else Fact((), R)
        yield rule(
            _apply(op, f"{reduction}(A)", f"{reduction}(B)"), f"{reduction}({_apply(op, 'A', 'B')})", fact, _SAME
        )
    yield rule("ReduceSum(A) - ReduceSum(B)", "ReduceSum(A - B)", Fact((), R, E), _SAME)
    yield rule("ReduceMean(A) - ReduceMean(B)", "ReduceMean(A - B)", Fact((), R), _SAME)


def _of_fixed_operands(rule: functools.partial[Rule]) -> Iterator[Rule]:
    """reduce(a o c) = reduce(a) o c, where c is constant along what is reduced and o distributes over the reduction."""
    for fact in DISTRIBUTES:
        outer, inner = fact.names
        if inner not in REDUCTION_OF:
            continue
        over = [REDUCTION_OF[inner], *(["ReduceMean"] if inner == "Add" else [])]
        for reduction in over:
            held = Fact((), fact.floats, fact.integers if reduction != "ReduceMean" else None)
            for op in (outer, *((INVERSE_OF[outer][0],) if outer in INVERSE_OF else ())):
                fixed = Fact((), held.floats, held.integers if op != "Div" else None)
                yield rule(
                    f"{reduction}({_apply(op, 'A', 'C')})",
                    _apply(op, f"{reduction}(A)", "Kept(C)"),
                    fixed,
                    _FIXED,
                    _WIDE,
                )
    for op in ("Add", "Sub"):
        yield rule(
            f"ReduceMean(A {_SYMBOLS[op]} C)", f"ReduceMean(A) {_SYMBOLS[op]} Kept(C)", Fact((), R), _FIXED, _WIDE
        )
    yield rule("ReduceMean(C - A)", "Kept(C) - ReduceMean(A)", Fact((), R), _FIXED, _WIDE)
    for reduction, other in (("ReduceMax", "ReduceMin"), ("ReduceMin", "ReduceMax")):
        yield rule(f"{reduction}(C - A)", f"Kept(C) - {other}(A)", Fact((), R, D), _FIXED, _WIDE)
        positive, negative = (f"C is a constant and not {sign}" for sign in ("negative", "positive"))
        yield rule(f"{reduction}(A * C)", f"{reduction}(A) * Kept(C)", Fact((), R), positive, _FIXED, _WIDE)
        yield rule(f"{reduction}(A * C)", f"{other}(A) * Kept(C)", Fact((), R), negative, _FIXED, _WIDE)


def _generate() -> tuple[Rule, ...]:
    rules = (*_associative(), *_distributive(), *_commutative())
    first = {(r.equation, r.where): r for r in reversed(rules)}
    used = (r for r in rules if (r.floats, r.integers, r.booleans) != (None, None, None))
    return tuple(r for r in dict.fromkeys(used) if first[r.equation, r.where] is r)


RULES = _generate()


def count_by_family() -> dict[str, int]:
    """How many rules each family has."""
    counts = Counter(r.family for r in RULES)
    return {family: counts[family] for family in FAMILIES}
