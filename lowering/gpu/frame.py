"""The frame of a kernel: its function, arguments, shared memory, and thread and block variables."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlirfuse.dialect.cluster import PeerMemoryOp
from mlirfuse.dialect.indexing import Expr, Var
from mlirfuse.element_types import element_bytes
from mlirfuse.errors import UnsupportedTarget
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.kernel.builder import Builder, memory_type
from mlirfuse.lowering.kernel.point import Buffer, Evaluator
from mlirfuse.mlir import affine, gpu, ir

__all__ = ["Frame", "SharedPart", "SharedShape", "Storage", "kernel_frame"]

GLOBAL = "#gpu.address_space<global>"
INDEX_LIMIT = (1 << 31) - 1  # kernels compute addresses in signed 32-bit integers
WORKGROUP = "#gpu.address_space<workgroup>"
# Rows and columns of a shared array, with its element type where that is not f32; or the size of a flat one.
SharedShape = tuple[int, int] | tuple[int, int, str] | tuple[int]


@dataclass(frozen=True)
class Storage:
    """How a tensor lies in its buffer: strides, span and the alignment of its start, all in elements."""

    strides: tuple[int, ...]
    span: int
    aligned: int = 4


@dataclass(frozen=True)
class SharedPart:
    """A shared array of `columns` that is a part of a flat one, from `offset` on."""

    memory: Any
    offset: int
    columns: int


@dataclass
class Frame:
    """What stage emitters share: the builder, buffers of the group's operands and outputs, shared arrays, variables."""

    group: Group
    builder: Builder
    threads: int
    grid: tuple[int, ...]
    buffers: dict[int, Buffer]
    shared: list[Any]
    thread: Expr
    block: tuple[Expr, Expr, Expr]
    cluster: int = 1
    """Blocks, neighbours along x, that make a cluster."""
    rank: Expr = field(default_factory=lambda: Expr(0))
    """The block's number in its cluster."""

    def evaluator(self, places: Mapping[int, Any] | None = None, lane: Expr | None = None, width: int = 1) -> Evaluator:
        """An evaluator that finds the group's operands in their buffers, and further values where `places` says."""
        operands = {v: self.buffers[v] for v in self.group.inputs if v in self.buffers}
        return Evaluator(self.builder, self.group, {**operands, **(places or {})}, lane, width)

    def store_outputs(
        self, evaluator: Evaluator, where: Mapping[int, tuple[Expr, ...]], outputs: Sequence[int]
    ) -> None:
        """Compute each output at its index and store it."""
        for v in outputs:
            self.buffers[v].store(evaluator, where[v], evaluator.value(v, where[v]))

    def barrier(self) -> None:
        gpu.BarrierOp()
        self.builder.forget()

    def cluster_barrier(self) -> None:
        """A barrier of all threads of all blocks of the cluster; between two, the blocks may use `peer_memory`."""
        gpu.BarrierOp(scope=ir.Attribute.parse("#gpu.barrier_scope<cluster>"))
        self.builder.forget()

    def peer_memory(self, shared: Any, rank: Expr) -> Any:
        """The shared array `shared`, a memref, of the block `rank` of the cluster."""
        return PeerMemoryOp(shared, self.builder.index(rank), PeerMemoryOp.peer_type(shared.type)).peer

    def shared_store(self, array: int, row: Expr, column: Expr, value: Any) -> None:
        """Store a scalar, or a vector at and after `column`."""
        memory, affine_map, operands = self._shared(array, row, column)
        store = affine.AffineVectorStoreOp if isinstance(value.type, ir.VectorType) else affine.AffineStoreOp
        store(value, memory, operands, affine_map)

    def shared_load(self, array: int, row: Expr, column: Expr, width: int = 1) -> Any:
        """Load a scalar, or `width` elements from `column` on."""
        memory, affine_map, operands = self._shared(array, row, column)
        element = memory.type.element_type
        if width == 1:
            return affine.AffineLoadOp(element, memory, operands, affine_map).result
        return affine.AffineVectorLoadOp(ir.VectorType.get([width], element), memory, operands, affine_map).result

    def _shared(self, array: int, row: Expr, column: Expr) -> tuple[Any, ir.AffineMap, list[Any]]:
        """A shared array's memory, and the index there."""
        part = self.shared[array]
        if isinstance(part, SharedPart):
            return part.memory, *self._map(row * part.columns + column + part.offset)
        return part, *self._map(row, column)

    def _map(self, *index: Expr) -> tuple[ir.AffineMap, list[Any]]:
        """One affine map for a multi-dimensional index; divisions become operands of their own."""
        results: list[ir.AffineExpr] = []
        operands: list[Any] = []
        for e in index:
            if self.builder.is_affine(e):
                one, values = self.builder.affine_map(e)
                shifted = one.results[0]
                for position in reversed(range(len(values))):
                    shifted = _shift(shifted, position, len(operands) + position)
                results.append(shifted)
                operands += values
            else:
                results.append(ir.AffineDimExpr.get(len(operands)))
                operands.append(self.builder.index(e))
        return ir.AffineMap.get(len(operands), 0, results), operands


def _shift(e: Any, old: int, new: int) -> Any:
    """The expression with dimension `old` renamed to `new`."""
    return (
        e.compose(
            ir.AffineMap.get(
                new + 1, 0, [ir.AffineDimExpr.get(i if i != old else new) for i in range(max(old, new) + 1)]
            )
        )
        if old != new
        else e
    )


@contextlib.contextmanager
def kernel_frame(
    name: str,
    group: Group,
    storages: Mapping[int, Storage],
    *,
    threads: int,
    grid: Sequence[int],
    shared_shapes: Sequence[SharedShape] = (),
    registers: int | None = None,
    cluster: int = 1,
) -> Iterator[tuple[ir.Module, Frame]]:
    """A module with one gpu.func `name`; inside the context, the insertion point is before its return.

    Arguments are the group's operands, then its outputs, each a flat buffer in global memory. `registers` is how many a
    thread may have; without it the assembler weighs spills against occupancy by rules of its own. Each `cluster` blocks
    along x make a thread-block cluster.
    """
    arguments: list[str] = []
    values = [*group.inputs, *group.outputs]
    reach = max([math.prod(grid) * threads, *(storages[v].span for v in values)])
    if reach > INDEX_LIMIT:
        raise UnsupportedTarget(
            f"A kernel of {name.split('_', 1)[-1]} would reach {reach} elements or threads, and GPU kernels count in "
            f"32 bits, up to {INDEX_LIMIT}. Split the tensor, or compile for the CPU."
        )
    for value in values:
        storage = storages[value]
        element = memory_type(group.types[value].dtype)
        readonly = ", llvm.readonly" if value in group.inputs else ""
        align = storage.aligned * max(1, element_bytes(group.types[value].dtype))
        attributes = f"{{llvm.noalias{readonly}, llvm.align = {align} : i64}}"
        arguments.append(f"%a{len(arguments)}: memref<{storage.span}x{element}, {GLOBAL}> {attributes}")
    workgroup = ", ".join(
        f"%s{i}: memref<{_shared_type(shape)}, {WORKGROUP}> {{llvm.align = 16 : i64}}"
        for i, shape in enumerate(shared_shapes)
    )
    padded_grid = (*grid, *(1 for _ in range(3 - len(grid))))
    assert padded_grid[0] % cluster == 0, f"a grid of {padded_grid} blocks in clusters of {cluster}"
    limit = f", nvvm.maxnreg = {registers} : i32" if registers else ""
    sizes = f"array<i32: {cluster}, 1, 1>"
    clusters = f", gpu.known_cluster_size = {sizes}, nvvm.cluster_dim = {sizes}" if cluster > 1 else ""
    text = (
        f"module attributes {{gpu.container_module}} {{ gpu.module @kernels {{ gpu.func @{name}({', '.join(arguments)})"
        f"{' workgroup(' + workgroup + ')' if workgroup else ''} kernel attributes {{"
        f"gpu.known_block_size = array<i32: {threads}, 1, 1>, "
        f"gpu.known_grid_size = array<i32: {', '.join(map(str, padded_grid))}>, "
        f"nvvm.maxntid = array<i32: {threads}, 1, 1>{limit}{clusters}}} {{ gpu.return }} }} }}"
    )
    module = ir.Module.parse(text)
    gpu_module = module.body.operations[0]
    function = gpu_module.regions[0].blocks[0].operations[0]
    block = function.regions[0].blocks[0]
    block_arguments = list(block.arguments)
    builder = Builder()
    with ir.InsertionPoint(block.operations[len(block.operations) - 1]):
        buffers = {
            value: Buffer(
                block_arguments[i], storages[value].strides, group.types[value].dtype, Expr(0), storages[value].aligned
            )
            for i, value in enumerate(values)
        }
        thread = _variable(builder, "tid", threads, lambda: gpu.ThreadIdOp(gpu.Dimension.x).result)
        blocks = tuple(
            _variable(builder, f"b{axis}", size, lambda dimension=dimension: gpu.BlockIdOp(dimension).result)  # type: ignore[misc]
            for axis, size, dimension in zip(
                "xyz", padded_grid, (gpu.Dimension.x, gpu.Dimension.y, gpu.Dimension.z), strict=True
            )
        )
        rank = _variable(builder, "rank", cluster, lambda: gpu.ClusterBlockIdOp(gpu.Dimension.x).result)
        builder.end_of_top()
        shared = block_arguments[len(values) :]
        frame = Frame(group, builder, threads, padded_grid, buffers, shared, thread, blocks, cluster, rank)  # type: ignore[arg-type]
        yield module, frame


def _variable(builder: Builder, name: str, size: int, make: Any) -> Expr:
    if size == 1:
        return Expr(0)
    variable = Expr(0, ((Var(name, 0, size - 1), 1),))
    builder.bind(variable, make(), affine=True)
    return variable


def _shared_type(shape: SharedShape) -> str:
    """The inside of a shared array's memref type."""
    *sizes, element = shape if isinstance(shape[-1], str) else (*shape, "f32")
    return "x".join(map(str, (*sizes, element)))
