"""arith: integer and floating-point arithmetic, comparisons and casts."""

from typing import Any

import numpy as np

from mlirfuse.mlir import ir
from mlirfuse.simulator.element import ValueType, value_type
from mlirfuse.simulator.linear import Linear
from mlirfuse.simulator.registry import translates
from mlirfuse.simulator.translator import Translator

FLOAT = {
    "addf": "{0}+{1}",
    "subf": "{0}-{1}",
    "mulf": "{0}*{1}",
    "divf": "{0}/{1}",
    "remf": "np.fmod({0}, {1})",
    "negf": "-{0}",
    "maximumf": "np.maximum({0}, {1})",
    "minimumf": "np.minimum({0}, {1})",
    "maxnumf": "np.fmax({0}, {1})",
    "minnumf": "np.fmin({0}, {1})",
}
INTEGER = {
    "muli": "{0}*{1}",
    "andi": "{0}&{1}",
    "ori": "{0}|{1}",
    "xori": "{0}^{1}",
    "shli": "{0}<<{1}",
    "shrsi": "{0}>>{1}",
    "maxsi": "larger({0}, {1})",
    "minsi": "smaller({0}, {1})",
    "divsi": "quotient({0}, {1})",
    "remsi": "remainder({0}, {1})",
    "floordivsi": "floor_quotient({0}, {1})",
    "ceildivsi": "-floor_quotient(-{0}, {1})",
}
UNSIGNED = {
    "divui": "floor_quotient({0}, {1})",
    "remui": "modulo({0}, {1})",
    "ceildivui": "(floor_quotient({0}, {1})+(modulo({0}, {1})!=0))",
    "shrui": "{0}>>{1}",
    "maxui": "larger({0}, {1})",
    "minui": "smaller({0}, {1})",
}
CMPI = ("==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">=")
CMPF = (
    "False&({0}=={1})",
    "{0}=={1}",
    "{0}>{1}",
    "{0}>={1}",
    "{0}<{1}",
    "{0}<={1}",
    "({0}<{1})|({0}>{1})",
    "({0}=={0})&({1}=={1})",
    "np.logical_not(({0}<{1})|({0}>{1}))",
    "np.logical_not({0}<={1})",
    "np.logical_not({0}<{1})",
    "np.logical_not({0}>={1})",
    "np.logical_not({0}>{1})",
    "{0}!={1}",
    "({0}!={0})|({1}!={1})",
    "True|({0}=={1})",
)


def constant_value(attribute: Any, kind: ValueType) -> Any:
    """A scalar, or an array of the vector's shape with one lane."""
    if not kind.shape:
        return np.asarray(attribute.value).astype(kind.dtype)[()]
    if attribute.is_splat:
        return np.asarray(attribute.get_splat_value().value).astype(kind.dtype)[()]
    elements = [attribute[i] for i in range(kind.size)]
    return np.asarray(elements).astype(kind.dtype).reshape(*kind.shape, 1, 1)


@translates("arith.constant")
def constant(t: Translator, op: Any) -> None:
    """An index becomes a literal, a splat vector its scalar."""
    result, attribute = op.results[0], op.attributes["value"]
    if isinstance(result.type, ir.IndexType):
        t.bind_linear(result, Linear(constant=ir.IntegerAttr(attribute).value))
        return
    value = constant_value(attribute, value_type(result.type))
    name = t.constant(value)
    if isinstance(result.type, ir.VectorType) and np.ndim(value) == 0:
        t.bind_splat(result, name)
    else:
        t.bind(result, name)


@translates("ub.poison")
def undefined(t: Translator, op: Any) -> None:
    """Any value will do: zero."""
    result = op.results[0]
    if isinstance(result.type, ir.IndexType):
        t.bind_linear(result, Linear())
        return
    kind = value_type(result.type)
    name = t.constant(np.zeros((), kind.dtype)[()])
    if kind.shape:
        t.bind_splat(result, name)
    else:
        t.bind(result, name)


@translates(*(f"arith.{name}" for name in FLOAT))
def float_arithmetic(t: Translator, op: Any) -> None:
    """One rounding per operation, in the element type."""
    t.elementwise(op, FLOAT[op.name.removeprefix("arith.")])


@translates("arith.addi", "arith.subi")
def add_or_subtract(t: Translator, op: Any) -> None:
    """Sums of indices stay symbolic; i1 is arithmetic modulo two."""
    subtract = op.name == "arith.subi"
    result = op.results[0]
    if isinstance(result.type, ir.IndexType):
        a, b = t.linear(op.operands[0]), t.linear(op.operands[1])
        t.bind_linear(result, a - b if subtract else a + b)
    elif value_type(result.type).element == "i1":
        t.elementwise(op, "{0}^{1}")
    else:
        t.elementwise(op, "{0}-{1}" if subtract else "{0}+{1}")


@translates(*(f"arith.{name}" for name in INTEGER))
def integer_arithmetic(t: Translator, op: Any) -> None:
    """Two's complement; division truncates unless its name says otherwise."""
    name, result = op.name.removeprefix("arith."), op.results[0]
    if name == "muli":
        if isinstance(result.type, ir.IndexType):
            a, b = t.linear(op.operands[0]), t.linear(op.operands[1])
            if a.is_constant or b.is_constant:
                t.bind_linear(result, b.scale(a.constant) if a.is_constant else a.scale(b.constant))
                return
        elif value_type(result.type).element == "i1":
            name = "andi"
    t.elementwise(op, INTEGER[name])


@translates(*(f"arith.{name}" for name in UNSIGNED))
def unsigned_arithmetic(t: Translator, op: Any) -> None:
    """The operands' bits as unsigned integers."""
    dtype = value_type(op.results[0].type).dtype
    template = UNSIGNED[op.name.removeprefix("arith.")].replace("{0}", "unsigned({0})").replace("{1}", "unsigned({1})")
    t.elementwise(op, f"signed({template}, {t.constant(dtype)})")


@translates("arith.cmpi")
def compare_integers(t: Translator, op: Any) -> None:
    """eq, ne, four signed and four unsigned predicates."""
    predicate = ir.IntegerAttr(op.attributes["predicate"]).value
    operand = "unsigned({%d})" if predicate >= 6 else "{%d}"
    t.elementwise(op, f"({operand % 0}{CMPI[predicate]}{operand % 1})")


@translates("arith.cmpf")
def compare_floats(t: Translator, op: Any) -> None:
    """Ordered predicates are false on a NaN, unordered ones true."""
    t.elementwise(op, CMPF[ir.IntegerAttr(op.attributes["predicate"]).value])


@translates("arith.select")
def select(t: Translator, op: Any) -> None:
    """condition ? a : b, per lane or per element."""
    condition, *values = op.operands
    vector = isinstance(op.results[0].type, ir.VectorType)
    if vector and not isinstance(condition.type, ir.VectorType) and all(t.splat(v) for v in values):
        names = [t.splat(v) for v in values]
        t.bind_splat(op.results[0], t.assign(f"select({t.ref(condition)}, {names[0]}, {names[1]})"))
    else:
        t.elementwise(op, "select({0}, {1}, {2})")


@translates("arith.index_cast", "arith.index_castui")
def index_cast(t: Translator, op: Any) -> None:
    """Between index and a fixed width; uniform indices are Python integers."""
    result, source = op.results[0], op.operands[0]
    operand = "unsigned({0})" if op.name.endswith("ui") and not isinstance(source.type, ir.IndexType) else "{0}"
    if isinstance(result.type, ir.IndexType):
        constant = t.constants.get(t.ref(source))
        if constant is not None:
            t.bind_linear(result, Linear(constant=int(constant)))
            return
        t.elementwise(op, f"to_index({operand})")
    else:
        t.elementwise(op, f"cast({operand}, {t.constant(value_type(result.type).dtype)})")


@translates("arith.extsi", "arith.trunci", "arith.extf", "arith.truncf", "arith.sitofp", "arith.fptosi", "arith.fptoui")
def cast(t: Translator, op: Any) -> None:
    """Round to nearest even, or truncate towards zero to an integer. A true i1 sign-extends to -1."""
    dtype = t.constant(value_type(op.results[0].type).dtype)
    source = value_type(op.operands[0].type).element
    if source == "i1" and op.name in ("arith.extsi", "arith.sitofp"):
        t.elementwise(op, f"-cast({{0}}, {dtype})")
    elif op.name == "arith.trunci" and value_type(op.results[0].type).element == "i1":
        t.elementwise(op, "({0}&1)!=0")
    else:
        t.elementwise(op, f"cast({{0}}, {dtype})")


@translates("arith.extui", "arith.uitofp")
def cast_unsigned(t: Translator, op: Any) -> None:
    """Of the operand's bits as an unsigned integer."""
    t.elementwise(op, f"cast(unsigned({{0}}), {t.constant(value_type(op.results[0].type).dtype)})")


@translates("arith.bitcast")
def bitcast(t: Translator, op: Any) -> None:
    """The same bits as another type of the same width."""
    t.elementwise(op, f"{{0}}.view({t.constant(value_type(op.results[0].type).dtype)})")
