"""What is known of scalar functions: the facts that all rules are generated from.

A fact states its numeric class for floats and for integers (None: it does not hold). Over finite operands, without
overflow:

- exact: the same bits, those of NaN, infinities and zeros of either sign included (all NaN count as one);
- reassociating: equal numbers, both sides defined for the same operands; rounding, the sign of a zero, and which
  intermediate results overflow may differ;
- domain-changing: equal where both sides are defined, but one side is defined for more operands, or ignores one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from mlirfuse.lowering.algebra.functions import COMMUTATIVE, UNARY_FUNCTIONS

__all__ = [
    "ANTITONE",
    "ASSOCIATIVE",
    "COMMUTATIVE_OPERANDS",
    "DISTRIBUTES",
    "EVEN",
    "HOMOMORPHISMS",
    "IDEMPOTENT",
    "INVERSES",
    "INVERSE_OF",
    "MONOTONE",
    "ODD",
    "POINTWISE",
    "REDUCTION_OF",
    "UNIT",
    "Class",
    "Fact",
    "NumericClass",
]


class NumericClass(IntEnum):
    """How much a rule may change numbers; each includes those before it."""

    EXACT = 0
    REASSOCIATING = 1
    DOMAIN = 2

    @property
    def text(self) -> str:
        return ("exact", "reassociating", "domain-changing")[self]


E, R, D = NumericClass
Class = NumericClass | None


@dataclass(frozen=True)
class Fact:
    """A property of `names`, with its class for floats, for integers, and for booleans."""

    names: tuple[str, ...]
    floats: Class = None
    integers: Class = None
    booleans: Class = None


_OF_INTEGERS = ("Abs", "Clip", "Neg", "Relu", "Sign", "Square")
_ANY_NUMBER = ("Add", "Mul", "Max", "Min")
# (a o b) o c = a o (b o c). Max and Min leave the sign of a zero open, so that their order is not exact for floats.
ASSOCIATIVE = (
    *(Fact((name,), R, E) for name in _ANY_NUMBER),
    *(Fact((name,), None, E) for name in ("BitAnd", "BitOr", "BitXor")),
    *(Fact((name,), None, None, E) for name in ("And", "Or", "Xor")),
)
# a o a = a
IDEMPOTENT = (
    Fact(("Max",), E, E), Fact(("Min",), E, E), Fact(("BitAnd",), None, E), Fact(("BitOr",), None, E),
    Fact(("And",), None, None, E), Fact(("Or",), None, None, E),
)  # fmt: skip
UNIT = {"Mul": 1}
# o -> (its inverse operation, its inverse element)
INVERSE_OF = {"Add": ("Sub", "Neg"), "Mul": ("Div", "Recip")}
# (outer, inner): a outer (b inner c) = (a outer b) inner (a outer c). Wrapping integers are a ring, but not ordered.
DISTRIBUTES = (
    Fact(("Mul", "Add"), R, E), Fact(("Max", "Min"), R, E), Fact(("Min", "Max"), R, E),
    Fact(("Add", "Max"), R, D), Fact(("Add", "Min"), R, D),
    Fact(("And", "Or"), None, None, E), Fact(("Or", "And"), None, None, E), Fact(("And", "Xor"), None, None, E),
    Fact(("BitAnd", "BitOr"), None, E), Fact(("BitOr", "BitAnd"), None, E), Fact(("BitAnd", "BitXor"), None, E),
)  # fmt: skip
# (f, o, *): f(a) * f(b) = f(a o b)
HOMOMORPHISMS = (
    Fact(("Abs", "Mul", "Mul"), E), Fact(("Square", "Mul", "Mul"), R, E), Fact(("Recip", "Mul", "Mul"), R),
    Fact(("Sqrt", "Mul", "Mul"), D), Fact(("Rsqrt", "Mul", "Mul"), D), Fact(("Sign", "Mul", "Mul"), R),
    Fact(("Exp", "Add", "Mul"), R), Fact(("Log", "Mul", "Add"), D), Fact(("Neg", "Add", "Add"), R, E),
    Fact(("Not", "And", "Or"), None, None, E), Fact(("Not", "Or", "And"), None, None, E),
)  # fmt: skip
# f(max(a, b)) = max(f(a), f(b)), and the same for min; where f has no value for some operands, max hides them
MONOTONE = (
    *(Fact((name,), R, E) for name in ("Clip", "Relu", "Sign")),
    *(Fact((name,), R) for name in (
        "Asinh", "Atan", "Ceil", "Elu", "Erf", "Exp", "Floor", "LeakyRelu", "Round", "Sigmoid", "Sinh", "Softplus",
        "Softsign", "Tanh",
    )),
    *(Fact((name,), D) for name in ("Acosh", "Asin", "Atanh", "Log", "Sqrt")),
)  # fmt: skip
# f(max(a, b)) = min(f(a), f(b)); -INT_MIN is INT_MIN
ANTITONE = (Fact(("Neg",), R, D), Fact(("Acos",), D), Fact(("Rsqrt",), D))
# (f, g, h): f(g(a)) = h(a), the identity where h is empty
INVERSES = (
    Fact(("Neg", "Neg", ""), E, E), Fact(("Not", "Not", ""), None, None, E), Fact(("Recip", "Recip", ""), D),
    Fact(("Exp", "Log", ""), D), Fact(("Log", "Exp", ""), R), Fact(("Square", "Sqrt", ""), D),
    Fact(("Square", "Rsqrt", "Recip"), D),
    Fact(("Square", "Abs", "Square"), E, E),
    Fact(("Sqrt", "Square", "Abs"), R), Fact(("Recip", "Sqrt", "Rsqrt"), R), Fact(("Sqrt", "Recip", "Rsqrt"), R),
    Fact(("Recip", "Rsqrt", "Sqrt"), D),
    *(Fact((name, name, name), E, E) for name in ("Abs", "Relu", "Sign")),
    *(Fact((name, name, name), E) for name in ("Ceil", "Floor", "Round")),
)  # fmt: skip
# f(-a) = f(|a|) = f(a): exact where f is defined by its operand's magnitude
EVEN = (Fact(("Abs",), E, E), Fact(("Square",), E, E), Fact(("Cos",), R), Fact(("Cosh",), R))
# -f(-a) = f(a)
ODD = (
    *(Fact((name,), E) for name in ("Recip", "Round")),
    *(
        Fact((name,), R)
        for name in ("Asin", "Asinh", "Atan", "Atanh", "Erf", "Sign", "Sin", "Sinh", "Softsign", "Tan", "Tanh")
    ),
)
REDUCTION_OF = {"Add": "ReduceSum", "Mul": "ReduceProd", "Max": "ReduceMax", "Min": "ReduceMin"}
# a o b = b o a; which of two zeros Max and Min give, they leave open
COMMUTATIVE_OPERANDS = (
    *(f for f in ASSOCIATIVE if f.names[0] not in ("Add", "Mul")), Fact(("Add",), E, E), Fact(("Mul",), E, E),
    Fact(("Equal",), E, E, E),
)  # fmt: skip
assert {f.names[0] for f in COMMUTATIVE_OPERANDS} == COMMUTATIVE
# Element by element, so that they commute with whatever moves or chooses elements.
POINTWISE = tuple(
    Fact((name,), None if name == "Not" else E, E if name in _OF_INTEGERS else None, E if name == "Not" else None)
    for name in sorted(UNARY_FUNCTIONS)
)
