"""From the LLVM dialect to LLVM IR text, spelt so that llvmlite's LLVM 22 reads what MLIR's LLVM 24 prints.

The two differ in floating-point constants: LLVM 24 prints `+inf`, `+qnan`, `f0x3F3504F3` and the
shortest decimal that rounds to the value; LLVM 22 wants decimals to be exact, or the bits.
"""

import re
import struct

import numpy as np

from mlirfuse.errors import UnsupportedOp
from mlirfuse.mlir import ir, llvm

__all__ = ["spell_for_llvm_22", "translate"]

_BITS = {"half": 16, "bfloat": 16, "float": 32, "double": 64}
_TOKEN = re.compile(
    r"""
    \b(?P<type>half|bfloat|float|double)\b
    | (?P<constant>(?<=[\s(\[])
        (?: f0x(?P<bits>[0-9A-F]+)
          | (?P<sign>[+-])(?: (?P<inf>inf) | (?P<quiet>qnan) | (?:s?nan)\(0x(?P<payload>[0-9A-Fa-f]+)\) )
          | (?P<decimal>[+-]?\d+\.\d+(?:e[+-]?\d+)?)
        )(?=[\s,)\]>]|$))
    """,
    re.VERBOSE,
)
_MAY_HOLD_CONSTANT = re.compile(r"f0x|[+-](?:inf|s?nan|qnan)|\d\.\d")
_MANTISSA = {"half": 10, "bfloat": 7, "float": 23, "double": 52}


def translate(module: ir.Module) -> str:
    """LLVM IR text of a module in the LLVM dialect.

    Any other op would crash the translation natively, so it is refused here.
    """
    foreign: set[str] = set()

    def note(op: ir.Operation) -> ir.WalkResult:
        if not op.name.startswith(("llvm.", "nvvm.")) and op.name != "builtin.module":
            foreign.add(op.name)
        return ir.WalkResult.ADVANCE

    module.operation.walk(note)
    if foreign:
        raise UnsupportedOp(
            f"A kernel cannot become LLVM IR: nothing lowers {', '.join(sorted(foreign))}. This is a gap in mlirfuse's "
            "kernel emission or lowering; please report it with the kernels stage (mlirfuse compile --emit kernels)."
        )
    return spell_for_llvm_22(llvm.translate_module_to_llvmir(module.operation))


def spell_for_llvm_22(llvm_ir: str) -> str:
    """The same module; a constant's type is the last floating-point type before it on its line."""
    return "\n".join(_line(line) if _MAY_HOLD_CONSTANT.search(line) else line for line in llvm_ir.split("\n"))


def _line(line: str) -> str:
    kind: str | None = None

    def respell(match: re.Match[str]) -> str:
        nonlocal kind
        if match["type"]:
            kind = match["type"]
            return kind
        return match[0] if kind is None else _hexadecimal(_value_bits(match, kind), kind)

    return _TOKEN.sub(respell, line)


def _value_bits(match: re.Match[str], kind: str) -> int:
    """The bits of the constant in its own type."""
    if match["bits"]:
        return int(match["bits"], 16)
    width, mantissa = _BITS[kind], _MANTISSA[kind]
    if match["decimal"]:
        return _decimal_bits(float(match["decimal"]), kind)
    exponent = ((1 << (width - 1 - mantissa)) - 1) << mantissa
    sign = (match["sign"] == "-") << (width - 1)
    if match["inf"]:
        return sign | exponent
    return sign | exponent | (int(match["payload"], 16) if match["payload"] else 1 << (mantissa - 1))


def _decimal_bits(value: float, kind: str) -> int:
    if kind == "double":
        return int(np.float64(value).view(np.uint64))
    if kind == "half":
        return int(np.float16(value).view(np.uint16))
    single = int(np.float32(value).view(np.uint32))
    if kind == "float":
        return single
    return (single + 0x7FFF + ((single >> 16) & 1)) >> 16  # bfloat: to nearest even


def _hexadecimal(bits: int, kind: str) -> str:
    """LLVM 22's spelling: the bits of the type; a float's are those of the equal double."""
    if kind == "half":
        return f"0xH{bits:04X}"
    if kind == "bfloat":
        return f"0xR{bits:04X}"
    return f"0x{_widened(bits) if kind == 'float' else bits:016X}"


def _widened(bits: int) -> int:
    """float bits -> double bits; NaN payloads are kept."""
    if bits & 0x7F800000 == 0x7F800000:
        return (bits >> 31) << 63 | 0x7FF << 52 | (bits & 0x7FFFFF) << 29
    return struct.unpack("<Q", struct.pack("<d", struct.unpack("<f", struct.pack("<I", bits))[0]))[0]
