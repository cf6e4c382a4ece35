"""From the GPU form of the `kernels` stage to one SPIR-V shader module for each kernel.

Upstream passes do the work. Before them a kernel is brought to what shaders have: buffers in storage classes, vectors
that are loaded element by element (logical pointers cannot be cast), lanes that exchange values within the subgroups
that the device promises, grids within 65535 blocks a dimension.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlirfuse.errors import UnsupportedTarget
from mlirfuse.lowering.codegen.walk import operations_named
from mlirfuse.lowering.spirv.halves import hold_halves
from mlirfuse.lowering.spirv.lanes import WORKGROUP, exchange_lanes
from mlirfuse.lowering.spirv.narrow import widen_integers
from mlirfuse.lowering.spirv.shader_math import expand_shader_math
from mlirfuse.lowering.spirv.signs import spell_signs
from mlirfuse.lowering.spirv.starts import move_starts
from mlirfuse.mlir import arith, gpu, ir, memref, passmanager, vector

__all__ = ["MOST_BLOCKS", "Shader", "make_shader"]

MOST_BLOCKS = 65535  # blocks along one dimension that every Vulkan device allows (maxComputeWorkGroupCount)
_CAPABILITIES = (
    "Shader, Int64, Int16, Float16, Float64, StorageBuffer16BitAccess, GroupNonUniform, GroupNonUniformShuffle"
)
_SPACES = {
    "#gpu.address_space<global>": "#spirv.storage_class<StorageBuffer>",
    "#gpu.address_space<workgroup>": WORKGROUP,
}


@dataclass(frozen=True)
class Shader:
    """A SPIR-V module with one entry point.

    `grid` is what to dispatch; `capabilities` are SPIR-V's names of what the device must have beyond `Shader`;
    `workgroup_bytes` is the memory that a block's threads share, `subgroup` the neighbouring threads that exchange
    values without it.
    """

    entry: str
    spirv: bytes
    text: str
    grid: tuple[int, int, int]
    capabilities: tuple[str, ...]
    workgroup_bytes: int = 0
    subgroup: int = 0


def make_shader(text: str, subgroup: int = 0, halves: bool = True) -> Shader:
    """The shader of a module with one `gpu.func`; the caller has entered a context and a location.

    In blocks on the device, `subgroup` neighbouring threads exchange values without memory; 0 if none do. With
    `halves` it has buffers of float16.
    """
    for gpu_space, storage_class in _SPACES.items():
        text = text.replace(gpu_space, storage_class)
    module = ir.Module.parse(text)
    _run(
        module,
        "builtin.module(gpu.module(gpu.func(affine-expand-index-ops,lower-affine)),"
        "convert-vector-to-scf{full-unroll=true},arith-unsigned-when-equivalent,canonicalize,cse)",
    )
    (kernel,) = operations_named(module.operation, {"gpu.func"})
    name = ir.StringAttr(kernel.attributes["sym_name"]).value
    if "gpu.known_cluster_size" in kernel.attributes:
        raise UnsupportedTarget(
            f"The kernel {name} runs in thread-block clusters, which Vulkan does not have. Schedule it for the device."
        )
    block, grid = (tuple(_numbers(kernel, f"gpu.known_{what}_size")) for what in ("block", "grid"))
    _load_elements(module)
    _take_vectors_apart(module)
    move_starts(kernel)
    expand_shader_math(module.operation)
    hold_halves(kernel, ("bf16",) if halves else ("bf16", "f16"))
    widen_integers(kernel)
    spell_signs(module.operation)
    exchange_lanes(module, math.prod(block), subgroup)
    dispatched = _fold_grid(module, grid)
    _allocate_workgroup_memory(kernel)
    workgroup = _workgroup_bytes(module)
    environment = _environment(subgroup)
    ready = ir.Module.parse(_with_entry_point(str(module), block, environment))
    _run(
        ready,
        "builtin.module(cse,convert-math-to-spirv,convert-gpu-to-spirv,"
        "spirv.module(spirv-lower-abi-attrs,canonicalize))",
    )
    _spell_infinities(ready)
    _run(ready, "builtin.module(spirv.module(spirv-update-vce))")
    (shader,) = (op.operation for op in ready.body.operations if op.operation.name == "spirv.module")
    written = str(shader)
    needed = _needed(written)
    lanes = subgroup if "GroupNonUniformShuffle" in needed else 0
    return Shader(name, _binary(written, environment), written, dispatched, needed, workgroup, lanes)


# --- steps ------------------------------------------------------------------------------------------


def _run(module: ir.Module, pipeline: str) -> None:
    passmanager.PassManager.parse(pipeline).run(module.operation)


def _numbers(kernel: Any, name: str) -> list[int]:
    return list(ir.DenseI32ArrayAttr(kernel.attributes[name]))


def _index(value: int) -> Any:
    return arith.ConstantOp(ir.IndexType.get(), value).result


def _load_elements(module: ir.Module) -> None:
    """Loads and stores of vectors => one for each element."""
    for op in operations_named(module.operation, {"vector.load"}):
        with ir.InsertionPoint(op), op.location:
            base, *outer, last = op.operands
            kind = ir.VectorType(op.results[0].type)
            elements = [
                memref.LoadOp(base, [*outer, arith.AddIOp(last, _index(i)).result]).result for i in range(kind.shape[0])
            ]
            op.results[0].replace_all_uses_with(vector.FromElementsOp(kind, elements).result)
        op.erase()
    for op in operations_named(module.operation, {"vector.store"}):
        with ir.InsertionPoint(op), op.location:
            value, base, *outer, last = op.operands
            for i in range(ir.VectorType(value.type).shape[0]):
                element = vector.ExtractOp(value, [], [i]).result
                memref.StoreOp(element, base, [*outer, arith.AddIOp(last, _index(i)).result])
        op.erase()


def _take_vectors_apart(module: ir.Module) -> None:
    """Arithmetic of vectors => of each element, for shader compilers lack some of it (a logical or of four)."""
    apart: list[Any] = []

    def collect(op: ir.Operation) -> ir.WalkResult:
        if op.name.startswith(("arith.", "math.", "vector.fma")) and any(
            isinstance(result.type, ir.VectorType) for result in op.results
        ):
            apart.append(op.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    for op in apart:
        kind = op.results[0].type
        with ir.InsertionPoint(op), op.location:
            elements = [_element_of(op, i, kind.element_type) for i in range(kind.shape[0])]
            op.results[0].replace_all_uses_with(vector.FromElementsOp(kind, elements).result)
        op.erase()


def _element_of(op: Any, i: int, kind: Any) -> Any:
    """What the op computes for element `i`."""
    if op.name == "arith.constant":
        value = ir.DenseElementsAttr(op.attributes["value"])
        return arith.ConstantOp(kind, value.get_splat_value() if value.is_splat else _number(kind, value[i])).result
    operands = [vector.ExtractOp(v, [], [i]).result if isinstance(v.type, ir.VectorType) else v for v in op.operands]
    name = "math.fma" if op.name == "vector.fma" else op.name
    attributes = {named: op.attributes[named] for named in op.attributes}
    return ir.Operation.create(name, results=[kind], operands=operands, attributes=attributes).results[0]


def _number(kind: Any, value: Any) -> Any:
    return (ir.FloatAttr if isinstance(kind, ir.FloatType) else ir.IntegerAttr).get(kind, value)


def _fold_grid(module: ir.Module, grid: tuple[int, ...]) -> tuple[int, int, int]:
    """Blocks along x beyond what a device dispatches go along z too; surplus blocks repeat the last one's work."""
    x, y, z = grid
    if x <= MOST_BLOCKS:
        return x, y, z
    assert z == 1, "kernels use two dimensions of blocks"
    columns = -(-x // -(-x // MOST_BLOCKS))
    rows = -(-x // columns)
    for op in operations_named(module.operation, {"gpu.block_id"}):
        if "x" not in str(op.attributes["dimension"]):
            continue
        with ir.InsertionPoint.at_block_begin(op.block), op.location:
            column, row = gpu.BlockIdOp(gpu.Dimension.x), gpu.BlockIdOp(gpu.Dimension.z)
            number = arith.AddIOp(arith.MulIOp(row.result, _index(columns)).result, column.result).result
            block = arith.MinUIOp(number, _index(x - 1)).result
        op.results[0].replace_all_uses_with(block)
        op.erase()
    return columns, y, rows


def _allocate_workgroup_memory(kernel: Any) -> None:
    """Attributions of workgroup memory => memref.alloc; `_with_entry_point` takes the arguments away."""
    if "workgroup_attributions" not in kernel.attributes:
        return
    count = ir.IntegerAttr(kernel.attributes["workgroup_attributions"]).value
    block = kernel.regions[0].blocks[0]
    arguments = list(block.arguments)
    with ir.InsertionPoint.at_block_begin(block), kernel.location:
        for argument in arguments[len(arguments) - count :]:
            argument.replace_all_uses_with(memref.AllocOp(argument.type, [], []).result)


def _workgroup_bytes(module: ir.Module) -> int:
    """What the arrays in workgroup memory take together."""
    kinds = [ir.MemRefType(op.results[0].type) for op in operations_named(module.operation, {"memref.alloc"})]
    return sum(math.prod(kind.shape) * kind.element_type.width // 8 for kind in kinds)


_ATTRIBUTIONS = re.compile(r" workgroup\((?:[^()]|\([^()]*\))*\)")
_SIGNATURE = re.compile(r'(gpu\.func @(?:"[^"]*"|[\w.$-]+)\()((?:[^()]|\([^()]*\))*)\)')
_KERNEL_ATTRIBUTES = re.compile(r"attributes \{[^{}]*gpu\.known_block_size[^{}]*\}")


def _environment(subgroup: int) -> str:
    """What a shader may use, and the lanes of a subgroup."""
    limits = f"subgroup_size = {subgroup}" if subgroup else ""
    return (
        f"#spirv.target_env<#spirv.vce<v1.3, [{_CAPABILITIES}], "
        f"[SPV_KHR_storage_buffer_storage_class, SPV_KHR_16bit_storage]>, api=Vulkan, #spirv.resource_limits<{limits}>>"
    )


def _with_entry_point(text: str, block: tuple[int, ...], environment: str) -> str:
    """The module's text with Vulkan's `environment` and entry point in the place of CUDA's attributes."""
    size = ", ".join(map(str, block))
    entry = f"attributes {{spirv.entry_point_abi = #spirv.entry_point_abi<workgroup_size = [{size}]>}}"
    text = _ATTRIBUTIONS.sub("", text)
    text = _SIGNATURE.sub(lambda found: found[1] + re.sub(r" \{llvm[^}]*\}", "", found[2]) + ")", text, count=1)
    text = _KERNEL_ATTRIBUTES.sub(lambda _: entry, text, count=1)
    return text.replace("module attributes {", f"module attributes {{spirv.target_env = {environment}, ", 1)


_BITS = {"f32": (np.float32, np.int32), "f16": (np.float16, np.int16), "f64": (np.float64, np.int64)}


def _spell_infinities(module: ir.Module) -> None:
    """Constants that are no number => their bits: WebGPU's shader compilers refuse such literals."""
    for op in operations_named(module.operation, {"spirv.Constant"}):
        kind, value = op.results[0].type, op.attributes["value"]
        vector = isinstance(kind, ir.VectorType)
        if str(kind.element_type if vector else kind) not in _BITS:
            continue
        numbers = [float(x) for x in ir.DenseFPElementsAttr(value)] if vector else [ir.FloatAttr(value).value]
        if all(map(math.isfinite, numbers)):
            continue
        with ir.InsertionPoint(op), op.location:
            made = [_spelt(kind.element_type if vector else kind, number) for number in numbers]
            result = _created("spirv.CompositeConstruct", kind, made) if vector else made[0]
        op.results[0].replace_all_uses_with(result)
        op.erase()


def _spelt(kind: Any, number: float) -> Any:
    """A constant, by its bits if it is no number."""
    if math.isfinite(number):
        return _constant(kind, ir.FloatAttr.get(kind, number))
    real, whole = map(np.dtype, _BITS[str(kind)])
    integer = ir.IntegerType.get_signless(whole.itemsize * 8)
    bits = int(np.array(number, real).view(whole))
    return _created("spirv.Bitcast", kind, [_constant(integer, ir.IntegerAttr.get(integer, bits))])


def _constant(kind: Any, value: Any) -> Any:
    return ir.Operation.create("spirv.Constant", results=[kind], attributes={"value": value}).results[0]


def _created(name: str, kind: Any, operands: list[Any]) -> Any:
    return ir.Operation.create(name, results=[kind], operands=operands).results[0]


def _binary(shader: str, environment: str) -> bytes:
    module = ir.Module.parse(
        f"module attributes {{gpu.container_module}} {{ gpu.module @shader [{environment}] {{\n{shader}\n}} }}"
    )
    _run(module, "builtin.module(gpu-module-to-binary)")
    (made,) = (op.operation for op in module.body.operations if op.operation.name == "gpu.binary")
    return bytes(gpu.ObjectAttr(ir.ArrayAttr(made.attributes["objects"])[0]).object)


def _needed(shader: str) -> tuple[str, ...]:
    found = re.search(r"#spirv\.vce<v[\d.]+, \[([^\]]*)\]", shader)
    assert found, "spirv-update-vce says what the module needs"
    return tuple(sorted({name.strip() for name in found[1].split(",")} - {"Shader", "Matrix", ""}))
