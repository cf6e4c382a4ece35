"""From the GPU form of the `kernels` stage to the LLVM dialect and to LLVM IR.

Upstream passes do the work; the functions around them repair what those passes lose (each says what).
A kernel is lowered in a module of its own, so that it can be cached and compiled beside the others.
"""

import re

from mlirfuse.lowering.codegen.expand_math import expand_math
from mlirfuse.lowering.codegen.llvm_text import translate
from mlirfuse.lowering.codegen.walk import operations_named
from mlirfuse.lowering.nvvm.clusters import lower_clusters
from mlirfuse.mlir import ir, passmanager

__all__ = [
    "STATIC_SHARED_LIMIT",
    "device_pipeline",
    "dynamic_shared_bytes",
    "lower_kernel",
    "static_shared_bytes",
    "to_llvm_ir",
]

STATIC_SHARED_LIMIT = 48 * 1024
_SHARED = 3
_DYNAMIC = "fusion_dynamic_shared"  # has "dynamic_sh" in common with upstream's name
_DYNAMIC_BYTES = "fusion.dynamic_shared_bytes"


def device_pipeline(index_bits: int, nvgpu: bool) -> tuple[str, str]:
    """Upstream passes from a `gpu.module` of affine, vector, memref ... to loops of scf, and on to the LLVM dialect.

    arith is converted before gpu-to-nvvm, which would otherwise call libdevice for it.
    """
    bits = f"index-bitwidth={index_bits}"
    first = "convert-nvgpu-to-nvvm," if nvgpu else ""
    return (
        f"builtin.module({first}gpu.module("
        "gpu.func(affine-expand-index-ops,lower-affine),"
        "convert-vector-to-scf{full-unroll=true},expand-strided-metadata,lower-affine,canonicalize,cse))",
        f"builtin.module(gpu.module(convert-scf-to-cf,convert-arith-to-llvm{{{bits}}},"
        f"convert-gpu-to-nvvm{{use-bare-ptr-memref-call-conv=1 {bits} has-redux=1}},"
        f"convert-math-to-llvm,convert-vector-to-llvm,convert-arith-to-llvm{{{bits}}},convert-nvvm-to-llvm,"
        f"convert-index-to-llvm{{{bits}}},convert-ub-to-llvm,canonicalize,cse,reconcile-unrealized-casts))",
    )


def lower_kernel(text: str, unroll: int | None = None) -> ir.Module:
    """Lower a module of one `gpu.module` (of the fusion dialect, only fusion.peer_memory) to the LLVM dialect.

    The caller has entered a context and a location; the module lives in that context. Index is 32
    bits wide unless nvgpu ops need 64. `unroll` says how many steps of an innermost loop LLVM makes one, and keeps
    ptxas from unrolling it further; None leaves that to both.
    """
    module = ir.Module.parse(text)
    nvgpu = "nvgpu." in text
    index_bits = 64 if nvgpu else 32
    for op in module.body.operations:
        if op.operation.name == "gpu.module":
            lower_clusters(op.operation, index_bits)
            expand_math(op.operation, vectors=False)
    to_loops, to_llvm = device_pipeline(index_bits, nvgpu)
    passmanager.PassManager.parse(to_loops).run(module.operation)
    if unroll is not None:
        _unroll_innermost_loops(module, unroll)
    passmanager.PassManager.parse(to_llvm).run(module.operation)
    _keep_loop_annotations(module)
    _publish_dynamic_shared_memory(module)
    _move_large_shared_memory(module)
    return module


def _unroll_innermost_loops(module: ir.Module, count: int) -> None:
    """Annotate them, now that they are loops of scf: lower-affine would drop it."""
    annotation = ir.Attribute.parse(f"#llvm.loop_annotation<unroll = <count = {count} : i32>>")
    for loop in operations_named(module.operation, {"scf.for"}):
        if len(operations_named(loop, {"scf.for", "scf.while"})) == 1:
            loop.attributes["llvm.loop_annotation"] = annotation


def _keep_loop_annotations(module: ir.Module) -> None:
    """The translation reads the branches' own attribute and drops the discardable one."""
    for name in ("llvm.br", "llvm.cond_br"):
        for op in operations_named(module.operation, {name}):
            if "llvm.loop_annotation" in op.attributes:
                op.attributes["loop_annotation"] = op.attributes["llvm.loop_annotation"]
                del op.attributes["llvm.loop_annotation"]


def _publish_dynamic_shared_memory(module: ir.Module) -> None:
    """Make the lowered gpu.dynamic_shared_memory external; LLVM would emit one static byte."""
    for op in operations_named(module.operation, {"llvm.mlir.global"}):
        if "dynamic_sh" in ir.StringAttr(op.attributes["sym_name"]).value:
            op.attributes["linkage"] = ir.Attribute.parse("#llvm.linkage<external>")
            op.attributes["alignment"] = ir.Attribute.parse("1024 : i64")


_ARRAY = re.compile(r"!llvm\.array<(\d+) x (?:([a-z]+\d+)|vector<(\d+)x([a-z]+\d+)>)>")


def _array_bytes(text: str) -> int:
    match = _ARRAY.fullmatch(text)
    assert match, f"shared memory of type {text}"
    count, scalar, lanes, element = match.groups()
    bits = int(re.sub(r"\D", "", scalar or element))
    return int(count) * int(lanes or 1) * max(bits // 8, 1)


def _address_space(op: ir.Operation) -> int:
    return ir.IntegerAttr(op.attributes["addr_space"]).value if "addr_space" in op.attributes else 0


def _static_shared_memory(module: ir.Module) -> tuple[dict[str, int], int]:
    """({buffer: offset}, bytes in total) of the static shared memory, laid out one after the other."""
    offsets, total = {}, 0
    for op in operations_named(module.operation, {"llvm.mlir.global"}):
        name = ir.StringAttr(op.attributes["sym_name"]).value
        if _address_space(op) == _SHARED and "dynamic_sh" not in name:
            total = -(-total // 128) * 128
            offsets[name] = total
            total += _array_bytes(str(ir.TypeAttr(op.attributes["global_type"]).value))
    return offsets, total


def static_shared_bytes(module: ir.Module) -> int:
    """Bytes of shared memory that the lowered kernel declares itself."""
    return _static_shared_memory(module)[1]


def _move_large_shared_memory(module: ir.Module) -> None:
    """Static buffers beyond 48 KiB in total => one dynamic buffer with the same layout.

    Only dynamic shared memory may exceed the static limit. The kernel is marked with the bytes to
    launch it with.
    """
    offsets, total = _static_shared_memory(module)
    if total <= STATIC_SHARED_LIMIT:
        return
    dynamic = ir.Operation.parse(
        f"llvm.mlir.global external @{_DYNAMIC}() {{addr_space = {_SHARED} : i32, alignment = 1024 : i64}}"
        " : !llvm.array<0 x i8>"
    )
    globals_ = operations_named(module.operation, {"llvm.mlir.global"})
    ir.InsertionPoint(globals_[0]).insert(dynamic)
    for address in operations_named(module.operation, {"llvm.mlir.addressof"}):
        name = ir.FlatSymbolRefAttr(address.attributes["global_name"]).value
        if name in offsets:
            address.attributes["global_name"] = ir.FlatSymbolRefAttr.get(_DYNAMIC)
            _offset_address(address, offsets[name])
    for op in globals_:
        if ir.StringAttr(op.attributes["sym_name"]).value in offsets:
            op.erase()
    for function in operations_named(module.operation, {"llvm.func"}):
        if "nvvm.kernel" in function.attributes:
            function.attributes[_DYNAMIC_BYTES] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), total)


def _offset_address(address: ir.Operation, offset: int) -> None:
    """Let every use of a pointer see it `offset` bytes further on."""
    pointer = address.results[0]
    with ir.InsertionPoint(address):
        moved = ir.Operation.create(
            "llvm.getelementptr",
            results=[pointer.type],
            operands=[pointer],
            attributes={
                "elem_type": ir.TypeAttr.get(ir.IntegerType.get_signless(8)),
                "rawConstantIndices": ir.DenseI32ArrayAttr.get([offset]),
            },
        )
    moved.move_after(address)
    pointer.replace_all_uses_except(moved.results[0], moved)


def dynamic_shared_bytes(module: ir.Module) -> int:
    """Bytes that `_move_large_shared_memory` moved to the launch, or 0."""
    for function in operations_named(module.operation, {"llvm.func"}):
        if _DYNAMIC_BYTES in function.attributes:
            return ir.IntegerAttr(function.attributes[_DYNAMIC_BYTES]).value
    return 0


def to_llvm_ir(module: ir.Module) -> str:
    """LLVM IR text of a lowered module's gpu.module."""
    plain = ir.Module.create()
    for op in module.body.operations:
        if op.operation.name == "gpu.module":
            for inner in op.regions[0].blocks[0].operations:
                plain.body.append(inner.operation.clone())
    return translate(plain)
