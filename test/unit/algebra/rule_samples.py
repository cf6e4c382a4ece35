"""Instances of rules: shapes and numbers for their variables, and their two sides in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlirfuse.dialect import Node, TensorType, semantics
from mlirfuse.lowering.algebra.functions import FUNCTIONS, PARAMETRIC
from mlirfuse.lowering.algebra.match import attribute_slot
from mlirfuse.lowering.algebra.properties import NumericClass
from mlirfuse.lowering.algebra.rule import Rule, kind_of
from mlirfuse.lowering.algebra.term import Apply, Number, Term, Variable, variables

DTYPES = {"float": ("float32", "float16", "float64"), "int": ("int32", "int8", "int64"), "bool": ("bool",)}
PARAMETERS = {"Clip": (-0.5, 0.75), "Hardsigmoid": (0.2, 0.5), "Selu": (1.67, 1.05)}
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0)


@dataclass
class Sample:
    """Arrays for the variables of a rule, and attributes for its functions."""

    rule: Rule
    dtype: str
    arrays: dict[str, Any]
    attrs: dict[str, dict[str, Any]]

    def side(self, which: int) -> Any:
        return self._value(self.rule.sides[which], which)

    def _value(self, term: Term, which: int) -> Any:
        match term:
            case Variable(name):
                return self.arrays[name]
            case Number(number):
                return np.asarray(number).astype(self.dtype)
            case Apply("Kept", (Variable(name),)):
                return self._kept(self.arrays[name])
        arrays = [np.ascontiguousarray(self._value(a, which)) if which is not None else None for a in term.args]
        arrays = [a.reshape(self._value(t, which).shape) for a, t in zip(arrays, term.args, strict=True)]
        return self.apply(term.function, arrays)

    def apply(self, function: str, arrays: list[Any]) -> Any:
        op, attrs = self.node_attrs(function)
        types = tuple(TensorType(a.shape, a.dtype.name) for a in arrays)
        result = semantics(op).infer(Node(op, attrs, types))
        with np.errstate(all="ignore"):
            value = np.asarray(semantics(op).reference(Node(op, attrs, types, (result,)), *arrays))
        return np.array(np.broadcast_to(value, result.dims).astype(result.dtype))

    def node_attrs(self, function: str) -> tuple[str, dict[str, Any]]:
        op, kind = FUNCTIONS[function]
        return op, self.attrs.get(attribute_slot(function), {}) | ({"kind": kind} if kind else {})

    def _kept(self, array: Any) -> Any:
        attrs = self.attrs["@reduce"]
        if attrs["keepdims"] or array.ndim == 0:
            return array
        aligned = array.reshape((1,) * (3 - array.ndim) + array.shape)
        return aligned.reshape([d for i, d in enumerate(aligned.shape) if i not in attrs["axes"]])


def sample(rule: Rule, dtype: str, random: np.random.Generator) -> Sample:
    """A random instance of a rule that meets its conditions."""
    functions = set(_functions(rule.sides[0]))
    attrs = _attributes(functions, random)
    shapes = _shapes(rule, functions, attrs, random)
    arrays = {}
    for name in dict.fromkeys(variables(rule.sides[0])):
        arrays[name] = _numbers(rule, dtype, shapes[name], random)
    if "M" in arrays:
        arrays["M"] = random.integers(0, 2, shapes["M"]).astype(bool)
    for sign, text in ((1, "negative"), (-1, "positive")):
        if f"C is a constant and not {text}" in rule.where:
            arrays["C"] = np.full(shapes["C"], sign * 1.5, dtype)
    return Sample(rule, dtype, arrays, attrs)


def _functions(term: Term) -> list[str]:
    return [] if not isinstance(term, Apply) else [term.function, *(f for a in term.args for f in _functions(a))]


def _attributes(functions: set[str], random: np.random.Generator) -> dict[str, dict[str, Any]]:
    attrs: dict[str, dict[str, Any]] = {}
    for name in sorted(functions & PARAMETRIC):
        alpha, beta = PARAMETERS.get(name, (0.5, 0.0))
        attrs[f"@{name}"] = {"alpha": alpha, "beta": beta}
    if any(f.startswith("Reduce") for f in functions):
        axes = ((1,), (0, 2), (2,))[random.integers(3)]
        attrs["@reduce"] = {"axes": axes, "keepdims": bool(random.integers(2))}
    if "MatMul" in functions:
        attrs["@contract"] = {"equation": "mk,kn->mn"}
    if "Conv" in functions:
        attrs["@conv"] = {
            "strides": (1, 1),
            "pads": (1, 1, 1, 1),
            "dilations": (1, 1),
            "input_dilation": (1, 1),
            "groups": 1,
        }
    if "Expand" in functions:
        attrs["@expand"] = {"shape": (3, 4, 5)}
    return attrs


def _shapes(
    rule: Rule, functions: set[str], attrs: dict[str, Any], random: np.random.Generator
) -> dict[str, tuple[int, ...]]:
    names = dict.fromkeys(variables(rule.sides[0]))
    one = ((), (1,))[random.integers(2)]
    if functions & {"MatMul", "Conv"}:
        m, k, n = (int(random.choice((2, 5, 9))) for _ in range(3))
        sides = ((m, k), (k, n)) if "MatMul" in functions else ((2, k, 5, 5), (n, k, 3, 3))
        shapes = _sides(rule.sides[0], sides)
        return shapes | ({"C": one} if "C is one number" in rule.where else {})
    if "Expand" in functions:
        return {"A": ((3, 1, 5), (5,), (4, 1))[random.integers(3)]}
    whole = (3, 4, 5)
    if "@reduce" in attrs:
        fixed = tuple(1 if i in attrs["@reduce"]["axes"] else d for i, d in enumerate(whole))
        choices = [fixed, (), (1, 1, 1)] + ([(5,)] if 2 not in attrs["@reduce"]["axes"] else [])
        return {name: choices[random.integers(len(choices))] if name == "C" else whole for name in names}
    shapes = {name: (whole, whole, (5,), (4, 1), (3, 1, 1), ())[random.integers(6)] for name in names}
    if "B has the type of the result" in rule.where:
        shapes["B"] = whole
    return shapes


def _sides(term: Term, sides: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of variables below each operand of a contraction or convolution."""
    if not isinstance(term, Apply):
        return {}
    found: dict[str, tuple[int, ...]] = {}
    for i, arg in enumerate(term.args):
        if term.function in ("MatMul", "Conv"):
            found |= dict.fromkeys(variables(arg), sides[i])
        else:
            found |= _sides(arg, sides)
    return found


def _numbers(rule: Rule, dtype: str, shape: tuple[int, ...], random: np.random.Generator) -> Any:
    numeric_class = rule.numeric_class(dtype)
    match kind_of(dtype):
        case "bool":
            return random.integers(0, 2, shape).astype(bool)
        case "int" if numeric_class == NumericClass.EXACT:
            limits = np.iinfo(dtype)
            return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        case "int":
            return random.integers(-9, 9, shape).astype(dtype)
    if numeric_class == NumericClass.EXACT:
        values = random.standard_normal(shape) * 10.0 ** random.integers(-3, 4, shape)
        return np.where(random.random(shape) < 0.4, random.choice(SPECIAL, shape), values).astype(dtype)
    if numeric_class == NumericClass.REASSOCIATING:
        return (random.uniform(0.5, 1.5, shape) * random.choice((-1, 1), shape)).astype(dtype)
    low = 1.1 if "Acosh" in rule.equation else 0.2
    return random.uniform(low, low + 0.7, shape).astype(dtype)
