"""math: elementary functions. Results are NumPy's: within a few units in the last place of a GPU's."""

from typing import Any

from mlirfuse.simulator.registry import translates
from mlirfuse.simulator.translator import Translator

FUNCTIONS = {
    "absf": "np.abs({0})",
    "acos": "np.arccos({0})",
    "asin": "np.arcsin({0})",
    "atan": "np.arctan({0})",
    "atan2": "np.arctan2({0}, {1})",
    "acosh": "np.arccosh({0})",
    "asinh": "np.arcsinh({0})",
    "atanh": "np.arctanh({0})",
    "cbrt": "np.cbrt({0})",
    "ceil": "np.ceil({0})",
    "copysign": "np.copysign({0}, {1})",
    "cos": "np.cos({0})",
    "cosh": "np.cosh({0})",
    "erf": "erf({0})",
    "erfc": "erfc({0})",
    "exp": "np.exp({0})",
    "exp2": "np.exp2({0})",
    "expm1": "np.expm1({0})",
    "floor": "np.floor({0})",
    "fma": "fma({0}, {1}, {2})",
    "log": "np.log({0})",
    "log10": "np.log10({0})",
    "log1p": "np.log1p({0})",
    "log2": "np.log2({0})",
    "powf": "np.power({0}, {1})",
    "round": "round_half_away({0})",
    "roundeven": "np.rint({0})",
    "rsqrt": "rsqrt({0})",
    "sin": "np.sin({0})",
    "sinh": "np.sinh({0})",
    "sqrt": "np.sqrt({0})",
    "tan": "np.tan({0})",
    "tanh": "np.tanh({0})",
    "trunc": "np.trunc({0})",
}
PREDICATES = {"isfinite": "np.isfinite({0})", "isinf": "np.isinf({0})", "isnan": "np.isnan({0})"}


@translates(*(f"math.{name}" for name in FUNCTIONS))
def function(t: Translator, op: Any) -> None:
    """Per element; an fma is rounded twice."""
    t.elementwise(op, FUNCTIONS[op.name.removeprefix("math.")])


@translates(*(f"math.{name}" for name in PREDICATES))
def predicate(t: Translator, op: Any) -> None:
    """i1 per element."""
    t.elementwise(op, PREDICATES[op.name.removeprefix("math.")])


@translates("math.absi")
def absolute_integer(t: Translator, op: Any) -> None:
    """|x|; the most negative integer stays."""
    t.elementwise(op, "abs({0})")


@translates("math.fpowi", "math.ipowi")
def integer_power(t: Translator, op: Any) -> None:
    """x to an integer power."""
    t.elementwise(op, "np.power({0}, {1})")
