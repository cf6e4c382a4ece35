"""affine expressions: apply, min, max, and the maps of loops, conditions and accesses."""

import re
from typing import Any

from mlirfuse.mlir import ir
from mlirfuse.simulator.linear import Linear
from mlirfuse.simulator.registry import translates
from mlirfuse.simulator.translator import Translator

__all__ = ["condition", "map_results"]


def evaluate(t: Translator, expression: Any, dims: list[Linear], symbols: list[Linear]) -> Linear:
    """An affine expression over linear forms; mod and division leave behind what they do not divide."""
    if isinstance(expression, ir.AffineConstantExpr):
        return Linear(constant=expression.value)
    if isinstance(expression, ir.AffineDimExpr):
        return dims[expression.position]
    if isinstance(expression, ir.AffineSymbolExpr):
        return symbols[expression.position]
    a, b = (evaluate(t, side, dims, symbols) for side in (expression.lhs, expression.rhs))
    if isinstance(expression, ir.AffineAddExpr):
        return a + b
    if isinstance(expression, ir.AffineMulExpr):
        return _product(t, a, b)
    if isinstance(expression, ir.AffineCeilDivExpr):
        return _quotient(t, a.scale(-1), b).scale(-1)
    if isinstance(expression, ir.AffineFloorDivExpr):
        return _quotient(t, a, b)
    assert isinstance(expression, ir.AffineModExpr)
    return _modulo(t, a, b)


def _varies(t: Translator, *parts: Linear) -> bool:
    return any(t.is_lane_name(name) for part in parts for name, _ in part.terms)


def _product(t: Translator, a: Linear, b: Linear) -> Linear:
    if a.is_constant or b.is_constant:
        return b.scale(a.constant) if a.is_constant else a.scale(b.constant)
    return Linear.variable(t.pure(f"{t.sum(a)}*{t.sum(b)}", lanes=_varies(t, a, b)))


def _quotient(t: Translator, a: Linear, b: Linear) -> Linear:
    """(q*b + r) floordiv b = q + r floordiv b"""
    if not b.is_constant or b.constant <= 0:
        return Linear.variable(t.assign(f"{t.sum(a)}//{t.sum(b)}", lanes=_varies(t, a, b)))
    whole, rest = a.quotient_and_rest(b.constant)
    if rest.is_constant:
        return whole
    return whole + Linear.variable(t.pure(f"{t.sum(rest)}//{b.constant}", lanes=_varies(t, rest)))


def _modulo(t: Translator, a: Linear, b: Linear) -> Linear:
    """(q*b + r) mod b = r mod b"""
    if not b.is_constant or b.constant <= 0:
        return Linear.variable(t.assign(f"{t.sum(a)}%{t.sum(b)}", lanes=_varies(t, a, b)))
    _, rest = a.quotient_and_rest(b.constant)
    if rest.is_constant:
        return rest
    return Linear.variable(t.pure(f"{t.sum(rest)}%{b.constant}", lanes=_varies(t, rest)))


def map_results(t: Translator, attribute: Any, operands: list[Any]) -> list[Linear]:
    """The results of an affine map attribute on index values, dimensions first, then symbols."""
    affine_map = attribute.value
    values = [t.linear(v) for v in operands]
    dims, symbols = values[: affine_map.n_dims], values[affine_map.n_dims :]
    return [evaluate(t, expression, dims, symbols) for expression in affine_map.results]


def condition(t: Translator, attribute: Any, operands: list[Any]) -> str:
    """A boolean variable: the operands lie in the integer set."""
    # The bindings cannot take a set attribute apart, but they can a map with the same expressions.
    text = str(attribute)
    equalities = ["== 0" in part for part in re.findall(r">= 0|== 0", text)]
    text = re.sub(r"\s*(>= 0|== 0)", "", text).replace("affine_set", "affine_map").replace(" : (", " -> (")
    values = map_results(t, ir.Attribute.parse(text, attribute.context), operands)
    parts = [_constraint(t, value, equal) for value, equal in zip(values, equalities, strict=True)]
    return t.pure("&".join(dict.fromkeys(parts)), lanes=_varies(t, *values))


def _constraint(t: Translator, value: Linear, equal: bool) -> str:
    """value >= 0 (or == 0), with the uniform part on the right: the lanes' part is a loop invariant."""
    lanes = value.part(t.is_lane_name)
    uniform = value - lanes
    if lanes.is_constant:
        return t.pure(f"({t.sum(value)}{'==' if equal else '>='}0)", lanes=False)
    if lanes.terms[0][1] < 0:
        return t.pure(f"({t.sum(lanes.scale(-1))}{'==' if equal else '<='}{t.sum(uniform)})")
    return t.pure(f"({t.sum(lanes)}{'==' if equal else '>='}{t.sum(uniform.scale(-1))})")


@translates("affine.apply")
def apply(t: Translator, op: Any) -> None:
    """The map's only result."""
    t.bind_linear(op.results[0], map_results(t, op.attributes["map"], list(op.operands))[0])


@translates("affine.min", "affine.max")
def extremum(t: Translator, op: Any) -> None:
    """The least or greatest of the map's results."""
    function = "smaller" if op.name == "affine.min" else "larger"
    results = [t.sum(r) for r in map_results(t, op.attributes["map"], list(op.operands))]
    text = results[0]
    for other in results[1:]:
        text = f"{function}({text}, {other})"
    t.define_pure(op, text)
