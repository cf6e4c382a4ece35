"""LLVM IR text of straight-line functions on floats, written as ordinary Python arithmetic.

A `Function` has `lanes` elements per value (1 = scalar): the same formula yields `float` code for a
GPU thread and `<8 x float>` code for a CPU. `Value` overloads the operators; each use appends one
instruction. No fast-math flag is ever set: the formulas rely on the order of the operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Function", "Value"]

_ELEMENT = {"f": "float", "d": "double", "i": "i32", "b": "i1"}


@dataclass(frozen=True)
class Value:
    """An SSA value of `function`; `kind` is f (float), d (double), i (i32) or b (i1)."""

    function: Function
    text: str
    kind: str

    def _binary(self, op: str, other: Operand, swap: bool = False) -> Value:
        a, b = self, self.function.value(other, self.kind)
        if swap:
            a, b = b, a
        return self.function.emit(f"{op} {a.typed}, {b.text}", self.kind)

    def _compare(self, predicate: str, other: Operand) -> Value:
        op = "icmp" if self.kind == "i" else "fcmp"
        return self.function.emit(f"{op} {predicate} {self.typed}, {self.function.value(other, self.kind).text}", "b")

    @property
    def typed(self) -> str:
        return f"{self.function.type(self.kind)} {self.text}"

    def __add__(self, other: Operand) -> Value:
        return self._binary("add" if self.kind == "i" else "fadd", other)

    def __radd__(self, other: float) -> Value:
        return self + other

    def __sub__(self, other: Operand) -> Value:
        return self._binary("sub" if self.kind == "i" else "fsub", other)

    def __rsub__(self, other: float) -> Value:
        return self._binary("sub" if self.kind == "i" else "fsub", other, swap=True)

    def __mul__(self, other: Operand) -> Value:
        return self._binary("mul" if self.kind == "i" else "fmul", other)

    def __rmul__(self, other: float) -> Value:
        return self * other

    def __truediv__(self, other: Operand) -> Value:
        return self._binary("fdiv", other)

    def __neg__(self) -> Value:
        return self.function.emit(f"fneg {self.typed}", self.kind)

    def __and__(self, other: Operand) -> Value:
        return self._binary("and", other)

    def __or__(self, other: Operand) -> Value:
        return self._binary("or", other)

    def __xor__(self, other: Operand) -> Value:
        return self._binary("xor", other)

    def __lshift__(self, bits: int) -> Value:
        return self._binary("shl", bits)

    def __rshift__(self, bits: int) -> Value:
        """Arithmetic shift: the sign is kept."""
        return self._binary("ashr", bits)

    def __lt__(self, other: Operand) -> Value:
        return self._compare("slt" if self.kind == "i" else "olt", other)

    def __gt__(self, other: Operand) -> Value:
        return self._compare("sgt" if self.kind == "i" else "ogt", other)

    def equals(self, other: Operand) -> Value:
        """Ordered: false where either side is NaN."""
        return self._compare("eq" if self.kind == "i" else "oeq", other)

    def is_nan(self) -> Value:
        return self._compare("uno", self)

    def bits(self) -> Value:
        """The float's bits as i32, or the i32's bits as float."""
        kind = {"f": "i", "i": "f"}[self.kind]
        return self.function.emit(f"bitcast {self.typed} to {self.function.type(kind)}", kind)

    def convert(self, kind: str) -> Value:
        """Nearest value of another kind; float to i32 truncates."""
        op = {"fi": "fptosi", "if": "sitofp", "fd": "fpext", "df": "fptrunc", "di": "fptosi", "bi": "zext"}[
            self.kind + kind
        ]
        return self.function.emit(f"{op} {self.typed} to {self.function.type(kind)}", kind)


Operand = Value | float | int


@dataclass
class Function:
    """One function under construction: float parameters, one float result."""

    name: str
    parameters: int = 1
    lanes: int = 1
    lines: list[str] = field(default_factory=list)
    declarations: set[str] = field(default_factory=set)
    _names: int = 0
    _block: str = "entry"

    @property
    def arguments(self) -> list[Value]:
        return [Value(self, f"%x{i}", "f") for i in range(self.parameters)]

    def type(self, kind: str) -> str:
        return _ELEMENT[kind] if self.lanes == 1 else f"<{self.lanes} x {_ELEMENT[kind]}>"

    def suffix(self, kind: str) -> str:
        """The type as LLVM's intrinsics mangle it: f32, v8f32, ..."""
        element = {"f": "f32", "d": "f64", "i": "i32"}[kind]
        return element if self.lanes == 1 else f"v{self.lanes}{element}"

    def emit(self, instruction: str, kind: str) -> Value:
        self._names += 1
        name = f"%t{self._names}"
        self.lines.append(f"  {name} = {instruction}")
        return Value(self, name, kind)

    def value(self, operand: Operand, kind: str) -> Value:
        """`operand` itself, or the constant in every lane; float constants are rounded to float."""
        if isinstance(operand, Value):
            return operand
        if kind in "ib":
            text = str(int(operand))
        else:
            rounded = np.float64(np.float32(operand)) if kind == "f" else np.float64(operand)
            text = f"0x{int(rounded.view(np.uint64)):016X}"
        return Value(self, text if self.lanes == 1 else f"splat ({_ELEMENT[kind]} {text})", kind)

    def call(self, callee: str, *arguments: Operand, kind: str = "f") -> Value:
        """Call a function all of whose parameters and result are of `kind`."""
        values = [self.value(a, kind) for a in arguments]
        result = self.type(kind)
        self.declarations.add(f"declare {result} @{callee}({', '.join([result] * len(values))})")
        return self.emit(f"call {result} @{callee}({', '.join(v.typed for v in values)})", kind)

    def intrinsic(self, name: str, *arguments: Operand, kind: str = "f") -> Value:
        """Call `llvm.<name>`, overloaded on the type of `kind`."""
        return self.call(f"llvm.{name}.{self.suffix(kind)}", *arguments, kind=kind)

    def fma(self, a: Operand, b: Operand, c: Operand) -> Value:
        kind = next(v.kind for v in (a, b, c) if isinstance(v, Value))
        return self.intrinsic("fma", a, b, c, kind=kind)

    def abs(self, x: Value) -> Value:
        return self.intrinsic("fabs", x, kind=x.kind)

    def with_sign_of(self, magnitude: Value, sign: Value) -> Value:
        return self.intrinsic("copysign", magnitude, sign)

    def select(self, condition: Value, then: Operand, otherwise: Operand) -> Value:
        kind = next(v.kind for v in (then, otherwise) if isinstance(v, Value))
        a, b = self.value(then, kind), self.value(otherwise, kind)
        return self.emit(f"select {condition.typed}, {a.typed}, {b.typed}", kind)

    def polynomial(self, x: Value, coefficients: tuple[float, ...]) -> Value:
        """c[0] + c[1] x + c[2] x^2 + ... by Horner's rule, one fma per step."""
        result = self.value(coefficients[-1], x.kind)
        for c in reversed(coefficients[:-1]):
            result = self.fma(result, x, c)
        return result

    def branch(self, condition: Value, rare: Callable[[], tuple[Value, ...]], common: tuple[Value, ...]) -> list[Value]:
        """The values of `rare()` where `condition`, else `common`; scalar functions only: really jumps."""
        assert self.lanes == 1
        self._names += 1
        before, taken, after = self._block, f"taken{self._names}", f"after{self._names}"
        self.lines += [f"  br i1 {condition.text}, label %{taken}, label %{after}", f"{taken}:"]
        self._block = taken
        values = rare()
        self.lines += [f"  br label %{after}", f"{after}:"]
        taken, self._block = self._block, after
        return [
            self.emit(f"phi {self.type(c.kind)} [ {v.text}, %{taken} ], [ {c.text}, %{before} ]", c.kind)
            for v, c in zip(values, common, strict=True)
        ]

    def finish(self, result: Value) -> str:
        """The definition, always inlined where it is called."""
        parameters = ", ".join(a.typed for a in self.arguments)
        body = "\n".join(["entry:", *self.lines, f"  ret {result.typed}"])
        return f"define {self.type('f')} @{self.name}({parameters}) alwaysinline nounwind memory(none) {{\n{body}\n}}\n"
