"""The table of elementary functions and their definitions as LLVM IR text.

`symbol("exp", 8)` is `fusion.exp.v8f32`: eight lanes. The definitions are always inlined.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import llvmlite.binding as llvm

from mlirfuse.lowering.codegen import exponential, logarithm, trigonometric
from mlirfuse.lowering.codegen.function_text import Function, Value
from mlirfuse.lowering.codegen.machine import Machine

__all__ = ["FUNCTIONS", "definitions", "link_elementary", "symbol"]


@dataclass(frozen=True)
class Elementary:
    """`build(f, machine, *arguments) -> result`, for `parameters` float arguments."""

    build: Callable[..., Value]
    parameters: int = 1


def _intrinsic(name: str) -> Callable[..., Value]:
    return lambda f, machine, *x: f.intrinsic(name, *x)


def _remainder(f: Function, machine: Machine, x: Value, y: Value) -> Value:
    return f.emit(f"frem {x.typed}, {y.text}", "f")


FUNCTIONS = {
    "acos": Elementary(trigonometric.acos),
    "acosh": Elementary(logarithm.acosh),
    "asin": Elementary(trigonometric.asin),
    "asinh": Elementary(logarithm.asinh),
    "atan": Elementary(trigonometric.atan),
    "atan2": Elementary(trigonometric.atan2, 2),
    "atanh": Elementary(logarithm.atanh),
    "ceil": Elementary(_intrinsic("ceil")),
    "copysign": Elementary(_intrinsic("copysign"), 2),
    "cos": Elementary(trigonometric.cos),
    "cosh": Elementary(exponential.cosh),
    "erf": Elementary(exponential.erf),
    "exp": Elementary(exponential.exp),
    "exp2": Elementary(exponential.exp2),
    "expm1": Elementary(exponential.expm1),
    "fabs": Elementary(_intrinsic("fabs")),
    "floor": Elementary(_intrinsic("floor")),
    "fma": Elementary(_intrinsic("fma"), 3),
    "fmod": Elementary(_remainder, 2),
    "log": Elementary(logarithm.log),
    "log10": Elementary(logarithm.log10),
    "log1p": Elementary(logarithm.log1p),
    "log2": Elementary(logarithm.log2),
    "pow": Elementary(logarithm.pow, 2),
    "rint": Elementary(_intrinsic("roundeven")),
    "round": Elementary(_intrinsic("round")),
    "rsqrt": Elementary(lambda f, machine, x: machine.rsqrt(f, x)),
    "sin": Elementary(trigonometric.sin),
    "sinh": Elementary(exponential.sinh),
    "sqrt": Elementary(lambda f, machine, x: machine.sqrt(f, x)),
    "tan": Elementary(trigonometric.tan),
    "tanh": Elementary(exponential.tanh),
    "trunc": Elementary(_intrinsic("trunc")),
}

_SYMBOL = re.compile(r"fusion\.(\w+)\.(?:v(\d+))?f32")


def symbol(name: str, lanes: int = 1) -> str:
    return f"fusion.{name}.f32" if lanes == 1 else f"fusion.{name}.v{lanes}f32"


def definitions(wanted: Iterable[tuple[str, int]], machine: Machine) -> str:
    """LLVM IR text that defines the wanted (name, lanes) functions and declares what they call."""
    declarations: set[str] = set()
    bodies = []
    for name, lanes in wanted:
        entry = FUNCTIONS[name]
        f = Function(symbol(name, lanes), entry.parameters, lanes)
        bodies.append(f.finish(entry.build(f, machine, *f.arguments)))
        declarations |= f.declarations
    return "\n".join([*sorted(declarations), *bodies])


def link_elementary(module: llvm.ModuleRef, header: str, machine: Machine) -> None:
    """Define, in `module`, every elementary function that it declares; they become internal.

    `header` is the text that gives the library the module's data layout and triple.
    """
    matches = [_SYMBOL.fullmatch(f.name) for f in module.functions if f.is_declaration]
    wanted = sorted((m[1], int(m[2] or 1)) for m in matches if m)
    if not wanted:
        return
    module.link_in(llvm.parse_assembly(header + definitions(wanted, machine)))
    for name, lanes in wanted:
        module.get_function(symbol(name, lanes)).linkage = llvm.Linkage.internal
