"""Thread-block clusters in NVVM: the shared memory of other blocks, and barriers over a cluster.

Upstream lowers neither, so that both become NVVM operations before its passes run.
"""

import itertools
import re
from typing import Any

from mlirfuse.errors import UnsupportedTarget
from mlirfuse.lowering.codegen.walk import operations_named
from mlirfuse.mlir import ir, nvvm

__all__ = ["lower_clusters", "require_clusters"]

_FIRST_WITH_CLUSTERS = 90  # sm_90 (CUDA C++ Programming Guide, "Thread Block Clusters")
_READING = frozenset(
    {"gpu.thread_id", "gpu.block_id", "gpu.cluster_block_id", "gpu.lane_id", "gpu.subgroup_id", "fusion.peer_memory"}
    | {"affine.apply", "affine.load", "affine.vector_load", "memref.load", "vector.load", "memref.alloca"}
)
_SHARED, _SHARED_CLUSTER = "!llvm.ptr<3>", "!llvm.ptr<7>"


def lower_clusters(module: Any, index_bits: int) -> None:
    """Rewrite what a `gpu.module` says of clusters; `index_bits` is the width of an index in LLVM.

    gpu.barrier scope <cluster>  =>  nvvm.cluster.arrive (release); nvvm.cluster.wait (acquire)
    fusion.peer_memory           =>  a memref descriptor around nvvm.mapa of the array's address

    A barrier before which nothing is written only tells that the blocks have started: its arrival releases nothing
    (that would wait for memory), and the wait moves down to where that matters.
    """
    for op in operations_named(module, {"gpu.barrier"}):
        if _is_cluster_barrier(op):
            _lower_barrier(op)
    for op in operations_named(module, {"fusion.peer_memory"}):
        _lower_peer_memory(op, index_bits)


def require_clusters(module: ir.Module, chip: str) -> None:
    """Refuse a lowered kernel of clusters for a chip without them: LLVM would end the process."""
    if int(re.sub(r"\D", "", chip)) >= _FIRST_WITH_CLUSTERS:
        return
    for kernel in operations_named(module.operation, {"llvm.func"}):
        if "nvvm.cluster_dim" in kernel.attributes:
            name = ir.StringAttr(kernel.attributes["sym_name"]).value
            raise UnsupportedTarget(
                f"The kernel {name} runs in thread-block clusters, which GPUs have from sm_90 on; "
                f"{chip} has none. Schedule the kernel for {chip}."
            )


def _is_cluster_barrier(op: ir.Operation) -> bool:
    return op.name == "gpu.barrier" and str(op.attributes["scope"]) == "#gpu.barrier_scope<cluster>"


def _lower_barrier(op: ir.Operation) -> None:
    """Every barrier is in uniform control flow, hence aligned: each thread of a warp is at the same one.

    Without a qualifier, `barrier.cluster.arrive` releases what its thread wrote and `barrier.cluster.wait` acquires,
    at the scope of the cluster (PTX ISA, barrier.cluster): that includes the block's own shared memory.
    """
    started = _started_only(op)
    with ir.InsertionPoint(op):
        nvvm.ClusterArriveRelaxedOp(aligned=True) if started else nvvm.ClusterArriveOp(aligned=True)
    with ir.InsertionPoint(_first_that_needs(op) if started else op):
        nvvm.ClusterWaitOp(aligned=True)
    op.erase()


def _started_only(barrier: ir.Operation) -> bool:
    """Whether no thread has written anything: the barrier is in the kernel's body, behind pure operations and loads."""
    if barrier.parent.name != "gpu.func":
        return False
    before = itertools.takewhile(lambda op: op.operation != barrier, barrier.block.operations)
    return all(op.operation.name in _READING or op.operation.name.startswith("arith.") for op in before)


def _first_that_needs(barrier: ir.Operation) -> ir.Operation:
    """The first operation behind a barrier that reaches into another block, meets the cluster again, or is the last."""
    behind = itertools.dropwhile(lambda op: op.operation != barrier, barrier.block.operations)
    found = barrier
    for op in itertools.islice(behind, 1, None):
        found = op.operation
        if _needs_peers(found):
            break
    return found


def _needs_peers(op: ir.Operation) -> bool:
    inside: list[ir.Operation] = []

    def collect(inner: ir.Operation) -> ir.WalkResult:
        inside.append(inner.operation)
        return ir.WalkResult.ADVANCE

    op.walk(collect)
    return any(_is_cluster_barrier(o) or any(_is_peer(v) for v in o.operands) for o in inside)


def _is_peer(value: Any) -> bool:
    return isinstance(value.type, ir.MemRefType) and str(value.type.memory_space) == "7 : i64"


def _lower_peer_memory(op: ir.Operation, index_bits: int) -> None:
    shared, rank = op.operands
    result = op.results[0]
    alignment = _alignment(shared)
    index = ir.IntegerType.get_signless(index_bits)
    with ir.InsertionPoint(op):
        address = _create("memref.extract_aligned_pointer_as_index", ir.IndexType.get(), shared)
        word = _create("arith.index_cast", ir.IntegerType.get_signless(32), address)
        pointer = _create("llvm.inttoptr", ir.Type.parse(_SHARED), word)
        number = _create("arith.index_cast", ir.IntegerType.get_signless(32), rank)
        peer = _create("nvvm.mapa", ir.Type.parse(_SHARED_CLUSTER), pointer, number)
        descriptor = _descriptor(peer, list(ir.MemRefType(result.type).shape), index)
        memory = _create("builtin.unrealized_conversion_cast", result.type, descriptor)
        if alignment:  # or LLVM would take vectors apart: it knows nothing of what mapa returns
            aligned = {"alignment": ir.IntegerAttr.get(ir.IntegerType.get_signless(32), alignment)}
            memory = _create("memref.assume_alignment", result.type, memory, **aligned)
    result.replace_all_uses_with(memory)
    op.erase()


def _descriptor(pointer: Any, shape: list[int], index: ir.Type) -> Any:
    """What a static memref of `shape` at `pointer` is in LLVM: pointer twice, offset, sizes and strides."""
    rank = len(shape)
    arrays = f", array<{rank} x {index}>, array<{rank} x {index}>" if rank else ""
    type_ = ir.Type.parse(f"!llvm.struct<(ptr<7>, ptr<7>, {index}{arrays})>")
    strides = [1] * rank
    for axis in reversed(range(rank - 1)):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    whole = _create("llvm.mlir.poison", type_)
    fields: list[tuple[tuple[int, ...], Any]] = [((0,), pointer), ((1,), pointer), ((2,), 0)]
    fields += [((3, axis), size) for axis, size in enumerate(shape)]
    fields += [((4, axis), stride) for axis, stride in enumerate(strides)]
    for position, value in fields:
        if isinstance(value, int):
            value = _create("llvm.mlir.constant", index, value=ir.IntegerAttr.get(index, value))
        whole = _create("llvm.insertvalue", type_, whole, value, position=ir.DenseI64ArrayAttr.get(position))
    return whole


def _create(name: str, result: ir.Type, *operands: Any, **attributes: ir.Attribute) -> Any:
    return ir.Operation.create(name, results=[result], operands=operands, attributes=attributes).results[0]


def _alignment(shared: Any) -> int:
    """Bytes that the start of a workgroup attribution is a multiple of, in every block; 0 where nothing says so."""
    if not isinstance(shared.owner, ir.Block):
        return 0
    function = shared.owner.owner.operation
    inputs = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value).inputs
    attributes = ir.BlockArgument(shared).arg_number - len(inputs)
    if attributes < 0 or "workgroup_attrib_attrs" not in function.attributes:
        return 0
    known = ir.DictAttr(ir.ArrayAttr(function.attributes["workgroup_attrib_attrs"])[attributes])
    return ir.IntegerAttr(known["llvm.align"]).value if "llvm.align" in known else 0
