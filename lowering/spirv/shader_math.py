"""Elementary functions in shaders: the formulas of `codegen.elementary` as arith and math ops.

Vulkan promises few digits of the functions of GLSL.std.450, and erf or expm1 are not among them; so only roots, 2^x of
a reduced argument, rounding and fma are the driver's, and the rest are our own formulas, as on the other targets.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import pi
from typing import Any

import numpy as np

from mlirfuse.errors import UnsupportedTarget
from mlirfuse.lowering.codegen.elementary import FUNCTIONS
from mlirfuse.lowering.codegen.function_text import Function, Value
from mlirfuse.lowering.codegen.machine import split
from mlirfuse.lowering.codegen.walk import operations_named
from mlirfuse.mlir import arith, ir, math, vector

__all__ = ["expand_shader_math"]

# What GLSL.std.450 computes exactly, or within the rounding that its callers allow.
_DRIVER = frozenset(("fabs", "ceil", "floor", "fma", "rint", "round", "trunc", "sqrt", "rsqrt", "copysign"))
_OPS = {
    **{f"math.{name}": name for name in FUNCTIONS if name not in _DRIVER},
    "arith.remf": "fmod",
    "math.powf": "pow",
}
_MATH: dict[str, Callable[..., Any]] = {
    "fma": math.FmaOp,
    "fabs": math.AbsFOp,
    "floor": math.FloorOp,
    "ceil": math.CeilOp,
    "trunc": math.TruncOp,
    "roundeven": math.RoundEvenOp,
    "round": math.RoundOp,
    "copysign": math.CopySignOp,
    "exp2": math.Exp2Op,
    "sqrt": math.SqrtOp,
    "rsqrt": math.RsqrtOp,
    "minnum": arith.MinNumFOp,
    "maxnum": arith.MaxNumFOp,
}
_BINARY: dict[str, Callable[..., Any]] = {
    "fadd": arith.AddFOp,
    "fsub": arith.SubFOp,
    "fmul": arith.MulFOp,
    "fdiv": arith.DivFOp,
    "add": arith.AddIOp,
    "sub": arith.SubIOp,
    "mul": arith.MulIOp,
    "and": arith.AndIOp,
    "or": arith.OrIOp,
    "xor": arith.XOrIOp,
    "shl": arith.ShLIOp,
    "ashr": arith.ShRSIOp,
}
_CONVERSION: dict[str, Callable[..., Any]] = {
    "bitcast": arith.BitcastOp,
    "fptosi": arith.FPToSIOp,
    "sitofp": arith.SIToFPOp,
    "zext": arith.ExtUIOp,
}


def expand_shader_math(scope: ir.Operation) -> None:
    """Replace, under `scope`, every op on f32 scalars or vectors that a driver may compute with too few digits."""
    found = operations_named(scope, _OPS)
    for op in found:
        with ir.InsertionPoint(op), op.location:
            op.results[0].replace_all_uses_with(_expanded(_OPS[op.name], list(op.operands)))
        op.erase()


def _expanded(name: str, operands: list[Any]) -> Any:
    kind = operands[0].type
    if isinstance(kind, ir.VectorType):
        lanes = [_expanded(name, [vector.ExtractOp(v, [], [i]).result for v in operands]) for i in range(kind.shape[0])]
        return vector.FromElementsOp(kind, lanes).result
    f32 = ir.F32Type.get()
    if isinstance(kind, ir.F64Type):
        raise UnsupportedTarget(
            f"A kernel computes {name} of float64, which shaders do not have. Cast to float32, or compile for the CPU."
        )
    single = [v if v.type == f32 else arith.ExtFOp(f32, v).result for v in operands]
    if name == "fmod":
        result = _remainder(*single)
    else:
        f = _Ops(name, len(single), given=single)
        result = f.of(FUNCTIONS[name].build(f, _ShaderMachine(), *f.arguments))
    return result if kind == f32 else arith.TruncFOp(kind, result).result


def _remainder(x: Any, y: Any) -> Any:
    """x - trunc(x / y) y, with the sign of x."""
    quotient = math.TruncOp(arith.DivFOp(x, y).result).result
    rest = math.FmaOp(arith.NegFOp(quotient).result, y, x).result
    return math.CopySignOp(rest, x).result


@dataclass
class _Ops(Function):
    """A function whose instructions become ops at the insertion point as they are written."""

    given: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._values: dict[str, Any] = {f"%x{i}": v for i, v in enumerate(self.given)}

    def of(self, value: Value) -> Any:
        return self._operand(value.kind, value.text)

    def emit(self, instruction: str, kind: str) -> Value:
        self._names += 1
        name = f"%t{self._names}"
        self._values[name] = self._op(instruction)
        return Value(self, name, kind)

    def intrinsic(self, name: str, *arguments: Any, kind: str = "f") -> Value:
        self._names += 1
        text = f"%t{self._names}"
        self._values[text] = _MATH[name](*(self.of(self.value(a, kind)) for a in arguments)).result
        return Value(self, text, kind)

    def _operand(self, kind: str, text: str) -> Any:
        if text.startswith("%"):
            return self._values[text]
        if kind == "f":
            number = float(np.uint64(int(text, 16)).view(np.float64))
            return arith.ConstantOp(ir.F32Type.get(), ir.FloatAttr.get(ir.F32Type.get(), number)).result
        width = ir.IntegerType.get_signless(1 if kind == "b" else 32)
        return arith.ConstantOp(width, ir.IntegerAttr.get(width, int(text))).result

    def _op(self, instruction: str) -> Any:
        """An instruction of LLVM IR, as `Function` writes them, as an op."""
        if found := re.fullmatch(r"select i1 (\S+), (float|i32|i1) (\S+), \2 (\S+)", instruction):
            kind = _KIND[found[2]]
            return arith.SelectOp(
                self._operand("b", found[1]), self._operand(kind, found[3]), self._operand(kind, found[4])
            ).result
        if found := re.fullmatch(r"(\w+) (float|i32|i1) (\S+) to (float|i32|i1)", instruction):
            return _CONVERSION[found[1]](_TYPE[found[4]](), self._operand(_KIND[found[2]], found[3])).result
        if found := re.fullmatch(r"(fcmp|icmp) (\w+) (float|i32) (\S+), (\S+)", instruction):
            a, b = (self._operand(_KIND[found[3]], text) for text in (found[4], found[5]))
            if found[1] == "fcmp":
                return arith.CmpFOp(getattr(arith.CmpFPredicate, found[2].upper()), a, b).result
            return arith.CmpIOp(getattr(arith.CmpIPredicate, found[2]), a, b).result
        if found := re.fullmatch(r"fneg float (\S+)", instruction):
            return arith.NegFOp(self._operand("f", found[1])).result
        found = re.fullmatch(r"(\w+) (float|i32|i1) (\S+), (\S+)", instruction)
        assert found, f"no op for {instruction}"
        kind = _KIND[found[2]]
        a, b = (self._operand(kind, text) for text in (found[3], found[4]))
        if found[1] == "fadd" and _rounds(found[4]):
            a = math.RoundEvenOp(a).result
        return _BINARY[found[1]](a, b).result


def _rounds(text: str) -> bool:
    """Whether adding this constant rounds to a whole number.

    The formulas take it away again for the number itself; drivers cancel the two, so the rounding has to be said.
    """
    return text.startswith("0x") and 2.0**23 <= float(np.uint64(int(text, 16)).view(np.float64)) < 2.0**24


_KIND = {"float": "f", "i32": "i", "i1": "b"}
_TYPE: dict[str, Callable[[], Any]] = {
    "float": ir.F32Type.get,
    "i32": lambda: ir.IntegerType.get_signless(32),
    "i1": lambda: ir.IntegerType.get_signless(1),
}
_ROUND = 12582912.0  # 1.5 * 2^23: adding it rounds to an integer that the low mantissa bits hold
_HIGH, _MIDDLE = split(pi / 2)
_HALF_PI = (_HIGH, _MIDDLE, float(np.float32(pi / 2 - _HIGH - _MIDDLE)))


class _ShaderMachine:
    """The primitives of a shader (a `Machine`): exp2, division and roots of GLSL.std.450."""

    def exp2_sum(self, f: Function, estimate: Value, rest: Callable[[Value], Value]) -> Value:
        """2^rest times 2^n, in two factors so that neither leaves the range before the product does."""
        bounded = f.intrinsic("minnum", f.intrinsic("maxnum", estimate, -250.0), 250.0)
        n = f.intrinsic("roundeven", bounded)
        whole = n.convert("i")
        half = whole >> 1
        scale = f.intrinsic("exp2", rest(n)) * (((half + 127) << 23).bits())
        return scale * (((whole - half + 127) << 23).bits())

    def exp2_moderate(self, f: Function, x: Value) -> Value:
        return f.intrinsic("exp2", x)

    def reciprocal(self, f: Function, x: Value) -> Value:
        return f.value(1.0, "f") / x

    def sqrt(self, f: Function, x: Value) -> Value:
        return f.intrinsic("sqrt", x)

    def rsqrt(self, f: Function, x: Value) -> Value:
        return f.intrinsic("rsqrt", x)

    def reduce_half_pi(self, f: Function, x: Value) -> tuple[Value, Value]:
        """By three floats of pi/2: the digits of x beyond 30000 are not worth a double, which few GPUs here have."""
        n = f.intrinsic("roundeven", x * (2 / pi))
        r = x
        for part in _HALF_PI:
            r = f.fma(n, -part, r)
        return (n + _ROUND).bits(), r
