"""Lanes that exchange values: through the hardware of a subgroup where that is wide enough, else through memory.

Kernels shuffle in warps of 32. A subgroup may be narrower; what is promised of it is a number of neighbouring lanes.
The steps of a butterfly that stay within so many lanes are shuffles of SPIR-V; the others write to workgroup memory,
wait, and read.
"""

from __future__ import annotations

from typing import Any

from mlirfuse.lowering.codegen.walk import operations_named
from mlirfuse.lowering.spirv.constants import whole
from mlirfuse.mlir import arith, gpu, ir, memref

__all__ = ["WORKGROUP", "exchange_lanes"]

WORKGROUP = "#spirv.storage_class<Workgroup>"
_SHUFFLED = 32  # bits of what subgroups exchange on every device that has them


def exchange_lanes(module: ir.Module, threads: int, subgroup: int) -> None:
    """gpu.shuffle xor over a warp => over `subgroup` lanes, or through memory where a partner is further away."""
    shuffles = operations_named(module.operation, {"gpu.shuffle"})
    assert all("xor" in str(op.attributes["mode"]) for op in shuffles), "kernels shuffle by xor"
    near = [op for op in shuffles if _distance(op) < subgroup and _bits(op) == _SHUFFLED]
    for op in near:
        with ir.InsertionPoint(op), op.location:
            op.operands[2] = whole(op.operands[2].type, subgroup)
    if far := [op for op in shuffles if op not in near]:
        _exchange_in_memory(module, threads, far)


def _distance(op: Any) -> int:
    """By how many lanes the partner of a shuffle is away."""
    return ir.IntegerAttr(op.operands[1].owner.attributes["value"]).value


def _bits(op: Any) -> int:
    return op.operands[0].type.width


def _exchange_in_memory(module: ir.Module, threads: int, shuffles: list[Any]) -> None:
    """Every thread writes its value to workgroup memory and reads its partner's."""
    (kernel,) = operations_named(module.operation, {"gpu.func"})
    memory: dict[str, Any] = {}
    with ir.InsertionPoint.at_block_begin(kernel.regions[0].blocks[0]), kernel.location:
        thread = gpu.ThreadIdOp(gpu.Dimension.x).result
        for op in shuffles:
            kind = str(op.operands[0].type)
            if kind not in memory:
                array = ir.Type.parse(f"memref<{threads}x{kind}, {WORKGROUP}>")
                memory[kind] = memref.AllocOp(array, [], []).result
    for op in shuffles:
        with ir.InsertionPoint(op), op.location:
            array = memory[str(op.operands[0].type)]
            partner = arith.XOrIOp(thread, arith.IndexCastOp(ir.IndexType.get(), op.operands[1]).result).result
            memref.StoreOp(op.operands[0], array, [thread])
            gpu.BarrierOp()
            value = memref.LoadOp(array, [partner]).result
            gpu.BarrierOp()
            op.results[0].replace_all_uses_with(value)
        op.erase()
