"""The functions of terms as operations of the dialect, and chains of them modulo associativity."""

from __future__ import annotations

from mlirfuse.dialect.scalar import BINARY, UNARY

__all__ = ["CHAINS", "COMMUTATIVE", "FUNCTIONS", "NAMES", "PARAMETRIC", "REDUCTIONS", "UNARY_FUNCTIONS", "chain_of"]

_SHORT = {"reciprocal": "Recip"}
_LEFT_OUT = ("isinf", "isnan")  # booleans of numbers: no rule is about them


def _title(kind: str) -> str:
    return _SHORT.get(kind) or "".join(word.capitalize() for word in kind.split("_"))


UNARY_FUNCTIONS = {_title(kind): kind for kind in UNARY if kind not in _LEFT_OUT}
_BINARY_FUNCTIONS = {_title(kind): kind for kind in BINARY}
REDUCTIONS = {f"Reduce{_title(kind)}": kind for kind in ("sum", "mean", "max", "min", "prod")}
# Unary functions with parameters: within a rule they are the same everywhere.
PARAMETRIC = frozenset({"Celu", "Clip", "Elu", "Hardsigmoid", "LeakyRelu", "Selu", "ThresholdedRelu"})

# name -> (op, kind)
FUNCTIONS: dict[str, tuple[str, str]] = {
    **{name: ("unary", kind) for name, kind in UNARY_FUNCTIONS.items()},
    **{name: ("binary", kind) for name, kind in _BINARY_FUNCTIONS.items()},
    **{name: ("reduce", kind) for name, kind in REDUCTIONS.items()},
    "Where": ("select", ""), "MatMul": ("contract", ""), "Conv": ("conv", ""), "Expand": ("expand", ""),
    "Reshape": ("reshape", ""),
}  # fmt: skip
NAMES = {op_and_kind: name for name, op_and_kind in FUNCTIONS.items()}

COMMUTATIVE = frozenset(
    {"Add", "Mul", "Max", "Min", "And", "Or", "Xor", "Equal", "BitAnd", "BitOr", "BitXor"}
)  # fmt: skip
# A chain is what associativity and commutativity make one value of: signed members of a sum, of a product, ...
CHAINS = frozenset({"Add", "Mul", "Max", "Min", "And", "Or", "Xor", "BitAnd", "BitOr", "BitXor"})
_INVERSE = {"Sub": "Add", "Div": "Mul"}


def chain_of(function: str) -> str | None:
    """The associative operation whose chains `function` is part of: Add for Add and Sub."""
    return function if function in CHAINS else _INVERSE.get(function)
