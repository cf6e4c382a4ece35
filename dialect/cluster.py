"""What kernels of thread-block clusters add to the `kernels` stage: the shared memory of another block."""

from typing import Any

from mlirfuse.dialect.core import Fusion
from mlirfuse.mlir import ext, ir, safe_verifier

__all__ = ["SHARED_CLUSTER", "PeerMemoryOp"]

SHARED_CLUSTER = 7  # LLVM's address space of shared::cluster (NVPTX)
_WORKGROUP = "#gpu.address_space<workgroup>"


class PeerMemoryOp(ext.Operation, dialect=Fusion, name="peer_memory", traits=[ext.Pure]):
    """The shared array `shared` as the block of number `rank` in the same thread-block cluster has it.

    `rank` (index) is a block's `gpu.cluster_block_id x`, below the cluster's size. The result is a memref of the same
    shape and element type in address space 7, shared::cluster; ordinary loads and stores work on it. Other blocks
    are only known to have started, and to run still, between two `gpu.barrier scope <cluster>`: every access lies
    after the kernel's first such barrier and before its last.

    Source: CUDA C++ Programming Guide, "Distributed Shared Memory"; PTX ISA, `mapa`.
    """

    shared: ext.Operand[Any]
    rank: ext.Operand[Any]
    peer: ext.Result[Any]

    @staticmethod
    def peer_type(shared: ir.MemRefType) -> ir.MemRefType:
        """The type that a shared array has in another block."""
        space = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), SHARED_CLUSTER)
        return ir.MemRefType.get(shared.shape, shared.element_type, memory_space=space)

    @safe_verifier
    def verify_invariants(self: Any) -> str | None:
        with self.operation.location:
            return _complaint(*(v.type for v in (*self.operation.operands, *self.operation.results)))


def _complaint(shared: ir.Type, rank: ir.Type, peer: ir.Type) -> str | None:
    if not isinstance(shared, ir.MemRefType):
        return f"takes a shared array, not {shared}"
    if not isinstance(rank, ir.IndexType):
        return f"takes the rank of a block as an index, not {rank}"
    whole = ir.MemRefType.get(shared.shape, shared.element_type, memory_space=ir.Attribute.parse(_WORKGROUP))
    if shared != whole or not shared.has_static_shape:
        return f"takes a whole static array in {_WORKGROUP}, not {shared}"
    expected = PeerMemoryOp.peer_type(shared)
    return None if peer == expected else f"should give {expected}, but its result is declared {peer}"
