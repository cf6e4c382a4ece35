"""Floats of 16 bits as integers that hold their bits, where a device has no memory of such floats.

Kernels compute in single precision: an element is widened after every load and narrowed before every store, and only
these conversions know its format. `widen_integers` then puts the integers into words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from mlirfuse.lowering.spirv.constants import whole
from mlirfuse.mlir import arith, ir

__all__ = ["hold_halves"]

_SAME = ("memref.load", "memref.store", "memref.alloc", "arith.select", "vector.from_elements", "vector.extract",
         "scf.if", "scf.for", "scf.yield", "gpu.func")  # fmt: skip


def hold_halves(kernel: Any, formats: Collection[str]) -> None:
    """Rewrite a `gpu.func` whose vectors are taken apart: values of type f16 or bf16, if in `formats`, become i16."""
    found: list[tuple[Any, str]] = []

    def collect(op: ir.Operation) -> ir.WalkResult:
        held = {_format(v.type) for v in (*op.operands, *op.results)} & set(formats)
        found.extend((op.operation, name) for name in sorted(held))
        return ir.WalkResult.ADVANCE

    kernel.walk(collect)
    block = kernel.regions[0].blocks[0]
    for argument in block.arguments:
        _hold(argument, formats)
    for op, name in found:
        if op.name in ("arith.extf", "arith.truncf"):
            with ir.InsertionPoint(op), op.location:
                convert = (_WIDENED if op.name == "arith.extf" else _NARROWED)[name]
                op.results[0].replace_all_uses_with(convert(op.operands[0]))
            op.erase()
            continue
        assert op.name in _SAME, f"{op.name} computes with floats of 16 bits"
        for value in (*op.results, *(a for region in op.regions for b in region.blocks for a in b.arguments)):
            _hold(value, formats)
    count = len(ir.FunctionType(ir.TypeAttr(kernel.attributes["function_type"]).value).inputs)
    inputs = [a.type for a in list(block.arguments)[:count]]
    kernel.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, []))


def _format(kind: Any) -> str:
    """The name of a float type, of the elements of a vector, or of those of a memory."""
    return str(ir.ShapedType(kind).element_type if isinstance(kind, (ir.VectorType, ir.MemRefType)) else kind)


def _hold(value: Any, formats: Collection[str]) -> None:
    kind = value.type
    if _format(kind) not in formats:
        return
    bits = ir.IntegerType.get_signless(16)
    if isinstance(kind, ir.MemRefType):
        value.set_type(ir.MemRefType.get(kind.shape, bits, kind.layout, kind.memory_space))
    elif isinstance(kind, ir.VectorType):
        value.set_type(ir.VectorType.get(kind.shape, bits))
    else:
        value.set_type(bits)


# -- conversions of scalars


def _word() -> Any:
    return ir.IntegerType.get_signless(32)


def _widened_half(value: Any) -> Any:
    pair = ir.VectorType.get([2], ir.F32Type.get())
    both = _made("spirv.GL.UnpackHalf2x16", pair, [arith.ExtUIOp(_word(), value).result])
    first = ir.ArrayAttr.get([ir.IntegerAttr.get(_word(), 0)])
    return _made("spirv.CompositeExtract", ir.F32Type.get(), [both], indices=first)


def _narrowed_half(value: Any) -> Any:
    zero = arith.ConstantOp(ir.F32Type.get(), 0.0).result
    pair = _made("spirv.CompositeConstruct", ir.VectorType.get([2], ir.F32Type.get()), [value, zero])
    both = _made("spirv.GL.PackHalf2x16", _word(), [pair])
    return arith.TruncIOp(ir.IntegerType.get_signless(16), both).result


def _widened_brain(value: Any) -> Any:
    shifted = arith.ShLIOp(arith.ExtUIOp(_word(), value).result, whole(_word(), 16)).result
    return arith.BitcastOp(ir.F32Type.get(), shifted).result


def _narrowed_brain(value: Any) -> Any:
    """Rounded to nearest, ties to even; NaN stays NaN."""
    word = _word()
    bits = arith.BitcastOp(word, value).result
    odd = arith.AndIOp(arith.ShRUIOp(bits, whole(word, 16)).result, whole(word, 1)).result
    rounded = arith.AddIOp(arith.AddIOp(bits, whole(word, 0x7FFF)).result, odd).result
    quiet = arith.OrIOp(bits, whole(word, 1 << 22)).result
    kept = arith.SelectOp(arith.CmpFOp(arith.CmpFPredicate.UNO, value, value).result, quiet, rounded).result
    return arith.TruncIOp(ir.IntegerType.get_signless(16), arith.ShRUIOp(kept, whole(word, 16)).result).result


def _made(name: str, kind: Any, operands: list[Any], **attributes: Any) -> Any:
    return ir.Operation.create(name, results=[kind], operands=operands, attributes=attributes).results[0]


_WIDENED: dict[str, Callable[[Any], Any]] = {"f16": _widened_half, "bf16": _widened_brain}
_NARROWED: dict[str, Callable[[Any], Any]] = {"f16": _narrowed_half, "bf16": _narrowed_brain}
