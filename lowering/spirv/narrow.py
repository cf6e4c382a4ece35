"""Integers of 8 and 16 bits as 32-bit ones: shaders compute with words, and their buffers hold words.

A buffer of bytes becomes one of words. An element is loaded by a shift and a mask; it is stored by two atomic
operations, for neighbours in the word may be another thread's. In registers and in workgroup memory an element is a
word whose upper bits are zero, whatever the sign: operations that look at the sign extend it first.
"""

from __future__ import annotations

from typing import Any

from mlirfuse.lowering.spirv.constants import whole
from mlirfuse.mlir import arith, ir, memref

__all__ = ["widen_integers"]

WORD = 32
_WRAPPING = frozenset(("arith.addi", "arith.subi", "arith.muli", "arith.shli", "arith.fptosi", "arith.fptoui"))
_SIGNED = frozenset(
    ("arith.divsi", "arith.remsi", "arith.floordivsi", "arith.ceildivsi", "arith.maxsi", "arith.minsi", "math.absi")
)
_SIGN_READ = frozenset(("arith.sitofp", "arith.index_cast"))
_SIGNED_PREDICATES = tuple(getattr(arith.CmpIPredicate, name) for name in ("slt", "sle", "sgt", "sge"))


def widen_integers(kernel: Any) -> None:
    """Rewrite a `gpu.func` whose memory is loaded and stored by elements."""
    found: list[tuple[Any, list[int], list[int]]] = []

    def collect(op: ir.Operation) -> ir.WalkResult:
        operands, results = ([_narrow(v.type) for v in values] for values in (op.operands, op.results))
        if any(operands) or any(results):
            found.append((op.operation, operands, results))
        for region in op.regions:
            for block in region.blocks:
                for argument in block.arguments:
                    _widen(argument)
        return ir.WalkResult.ADVANCE

    _pack_arguments(kernel)
    kernel.walk(collect)
    for op, _, _ in found:
        for result in op.results:
            _widen(result)
    for op, operands, results in found:
        with ir.InsertionPoint(op), op.location:
            _rewrite(op, operands, results)


def _element(kind: Any) -> Any:
    return ir.ShapedType(kind).element_type if isinstance(kind, (ir.VectorType, ir.MemRefType)) else kind


def _narrow(kind: Any) -> int:
    """The bits of a narrow integer, of a vector of them, or of the elements of a memory; 0 for others."""
    element = _element(kind)
    return element.width if isinstance(element, ir.IntegerType) and element.width in (8, 16) else 0


def _widen(value: Any) -> None:
    kind = value.type
    if not _narrow(kind):
        return
    word = ir.IntegerType.get_signless(WORD)
    if isinstance(kind, ir.MemRefType):
        value.set_type(ir.MemRefType.get(kind.shape, word, kind.layout, kind.memory_space))
    elif isinstance(kind, ir.VectorType):
        value.set_type(ir.VectorType.get(kind.shape, word))
    else:
        value.set_type(word)


def _pack_arguments(kernel: Any) -> None:
    """Buffers of narrow elements => of words; their loads and stores are rewritten on the way."""
    block = kernel.regions[0].blocks[0]
    count = len(ir.FunctionType(ir.TypeAttr(kernel.attributes["function_type"]).value).inputs)
    word = ir.IntegerType.get_signless(WORD)
    for argument in list(block.arguments)[:count]:
        kind = argument.type
        if not (bits := _narrow(kind)):
            continue
        size = -(-kind.shape[0] * bits // WORD)
        argument.set_type(ir.MemRefType.get([size], word, None, kind.memory_space))
        for use in list(argument.uses):
            op = use.owner.operation
            with ir.InsertionPoint(op), op.location:
                if op.name == "memref.load":
                    _load_part(op, argument, bits)
                else:
                    assert op.name == "memref.store", f"{op.name} of a buffer of {kind}"
                    _store_part(op, argument, bits)
            op.erase()
    inputs = [a.type for a in list(block.arguments)[:count]]
    kernel.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, []))


def _place(index: Any, bits: int) -> tuple[Any, Any]:
    """The word that holds an element, and the element's first bit there."""
    many = whole(index.type, WORD // bits)
    word = arith.DivUIOp(index, many).result
    part = arith.MulIOp(arith.RemUIOp(index, many).result, whole(index.type, bits)).result
    return word, arith.IndexCastOp(ir.IntegerType.get_signless(WORD), part).result


def _load_part(op: Any, memory: Any, bits: int) -> None:
    word, shift = _place(op.operands[1], bits)
    shifted = arith.ShRUIOp(memref.LoadOp(memory, [word]).result, shift).result
    op.results[0].replace_all_uses_with(arith.TruncIOp(ir.IntegerType.get_signless(bits), shifted).result)


def _store_part(op: Any, memory: Any, bits: int) -> None:
    word, shift = _place(op.operands[2], bits)
    kind = ir.IntegerType.get_signless(WORD)
    ones = whole(kind, -1)
    others = arith.XOrIOp(arith.ShLIOp(whole(kind, (1 << bits) - 1), shift).result, ones).result
    mine = arith.ShLIOp(arith.ExtUIOp(kind, op.operands[0]).result, shift).result
    memref.AtomicRMWOp(arith.AtomicRMWKind.andi, others, memory, [word])
    memref.AtomicRMWOp(arith.AtomicRMWKind.ori, mine, memory, [word])


def _masked(value: Any, bits: int) -> Any:
    return arith.AndIOp(value, whole(value.type, (1 << bits) - 1)).result


def _signed(value: Any, bits: int) -> Any:
    top = whole(value.type, 1 << (bits - 1))
    return arith.SubIOp(arith.XOrIOp(value, top).result, top).result


def _rewrite(op: Any, operands: list[int], results: list[int]) -> None:
    """One op whose values are words now, with the widths that they had."""
    name = op.name
    if name == "arith.constant":
        _rewrite_constant(op, results[0])
    elif name in ("arith.extui", "arith.extsi", "arith.trunci"):
        _rewrite_conversion(op, operands[0], results[0])
    elif name == "arith.shrsi":
        op.operands[0] = _signed(op.operands[0], operands[0])
        _mask_result(op, results[0])
    elif name in _SIGNED or (name == "arith.cmpi" and _predicate(op) in _SIGNED_PREDICATES) or name in _SIGN_READ:
        for i, bits in enumerate(operands):
            if bits:
                op.operands[i] = _signed(op.operands[i], bits)
        if results[0]:
            _mask_result(op, results[0])
    elif name in _WRAPPING and results[0]:
        _mask_result(op, results[0])
    else:
        assert name != "arith.bitcast", "the bits of a narrow integer are no float"


def _predicate(op: Any) -> int:
    return ir.IntegerAttr(op.attributes["predicate"]).value


def _mask_result(op: Any, bits: int) -> None:
    with ir.InsertionPoint.after(op):
        masked = _masked(op.results[0], bits)
    op.results[0].replace_all_uses_except(masked, masked.owner.operation)


def _rewrite_constant(op: Any, bits: int) -> None:
    mask = (1 << bits) - 1
    kind = op.results[0].type
    value = op.attributes["value"]
    if isinstance(kind, ir.VectorType):
        words = [int(x) & mask for x in ir.DenseIntElementsAttr(value)]
        made = arith.ConstantOp(
            kind,
            ir.DenseElementsAttr.get(
                [ir.IntegerAttr.get(ir.IntegerType.get_signless(WORD), w) for w in words], type=kind
            ),
        ).result
    else:
        made = whole(kind, ir.IntegerAttr(value).value & mask)
    op.results[0].replace_all_uses_with(made)
    op.erase()


def _rewrite_conversion(op: Any, given: int, made: int) -> None:
    """extui, extsi or trunci from `given` to `made` bits, 0 for a width that stays."""
    value, kind = op.operands[0], op.results[0].type
    if op.name == "arith.extsi" and given:
        value = _signed(value, given)
    if value.type != kind:  # a width that is not narrow on one side
        value = {"arith.extui": arith.ExtUIOp, "arith.extsi": arith.ExtSIOp, "arith.trunci": arith.TruncIOp}[op.name](
            kind, value
        ).result
    if made and op.name != "arith.extui":
        value = _masked(value, made)
    op.results[0].replace_all_uses_with(value)
    op.erase()
