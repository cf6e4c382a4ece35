"""`fusion-emit-kernels`: from the scheduled stage to kernels and the host program that launches them."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mlirfuse.device import Device, planning_device
from mlirfuse.dialect import to_attribute
from mlirfuse.dialect.mixed import segment_sizes
from mlirfuse.lowering.gpu.frame import Storage
from mlirfuse.lowering.groups.group import Group, group_of
from mlirfuse.lowering.kernel.builder import memory_type
from mlirfuse.lowering.passes import PassFailure, register_pass
from mlirfuse.lowering.pipeline.backends import BACKENDS, Backend
from mlirfuse.lowering.pipeline.launch_bytes import launch_bytes
from mlirfuse.lowering.pipeline.locations import Location, locate_values
from mlirfuse.lowering.pipeline.recomputed import scheduled_recomputed_flops
from mlirfuse.lowering.pipeline.scheduled_seconds import scheduled_seconds
from mlirfuse.lowering.schedule.assign import read_schedule
from mlirfuse.lowering.schedule.families import family_of
from mlirfuse.lowering.schedule.packing import Packing
from mlirfuse.mlir import ir

__all__ = ["EmitKernels"]

# What a launch keeps of its group, for reports: none of it changes what runs.
KEPT = ("mode", "mapping", "onnx_nodes", "schedule")


@register_pass
@dataclass(frozen=True)
class EmitKernels:
    """Replace every group by a launch of its kernel; equal groups share one kernel.

    The function becomes the host program: views of one arena, and launches and host calls in order. `device` is
    the chip the schedules were made for, or host.
    """

    name: ClassVar[str] = "fusion-emit-kernels"
    device: str = "host"

    def __call__(self, op: ir.Operation, /) -> None:
        device = planning_device(self.device)
        function = next((f for f in op.regions[0].blocks[0].operations if f.operation.name == "func.func"), None)
        if function is None:
            raise PassFailure("fusion-emit-kernels found no function to compile")
        backend = BACKENDS[device.kind]
        text = _Writer(function, device, backend).module()
        _replace_body(op, ir.Module.parse(text), {name: ir.UnitAttr.get() for name in backend.attributes})


def _replace_body(module: ir.Operation, made: ir.Module, attributes: dict[str, ir.Attribute]) -> None:
    block = module.regions[0].blocks[0]
    for old in list(block.operations):
        old.operation.erase()
    for new in made.body.operations:
        block.append(new.operation.clone())
    for name, attribute in {**attributes, "fusion.stage": ir.StringAttr.get("kernels")}.items():
        module.attributes[name] = attribute


class _Writer:
    """Writes the host program as text beside the kernels, one line of thought per op of the function."""

    def __init__(self, function: Any, device: Device, backend: Backend) -> None:
        self.function, self.device, self.backend = function.operation, device, backend
        self.family = family_of(device)
        self.where = locate_values(function)
        slices = (w for w in self.where.values() if w.space == "arena")
        self.arena_bytes = max((w.offset + w.span * w.element_bytes for w in slices), default=0)
        self.kernels: dict[str, str] = {}
        self.known: dict[Hashable, str] = {}
        self.lines: list[str] = []
        self.sizes: set[int] = set()
        self.views: dict[Any, tuple[str, str]] = {}
        self.counter = 0

    def module(self) -> str:
        block = self.function.regions[0].blocks[0]
        for op in block.operations:
            match op.operation.name:
                case "fusion.group":
                    self._group(op.operation)
                case "fusion.fallback":
                    self._fallback(op.operation)
                case "func.return":
                    outputs = list(op.operation.operands)
        signature = [self._signature("input", i, v) for i, v in enumerate(block.arguments)]
        signature += [self._signature("output", i, v) for i, v in enumerate(outputs)]
        arena = self._memref(self.arena_bytes, "i8")
        head = [f"%arena = memref.alloc() {{alignment = 256 : i64}} : {arena}"] if self.arena_bytes else []
        head += [f"%n{size} = arith.constant {size} : index" for size in sorted(self.sizes)]
        names = {
            k: str(self.function.attributes[k])
            for k in ("fusion.inputs", "fusion.outputs")
            if k in self.function.attributes
        }
        specs = {
            "fusion.input_types": [str(self.where[v].tensor) for v in block.arguments],
            "fusion.output_types": [str(self.where[v].tensor) for v in outputs],
        }
        attributes = ", ".join(
            [*(f"{k} = {v}" for k, v in names.items()), *(f"{k} = {json.dumps(v)}" for k, v in specs.items())]
        )
        body = "\n".join(["  " + line for line in [*head, *self.lines, "return"]])
        kernels = self.backend.wrap("\n".join(self.kernels.values()))
        container = "attributes {gpu.container_module} " if "gpu.module" in kernels else ""
        main = f"func.func @main({', '.join(signature)}) attributes {{{attributes}}} {{\n{body}\n}}"
        return f"module {container}{{\n{kernels}\n{main}\n}}"

    # -- kernels

    def _group(self, op: Any) -> None:
        group = group_of(op)
        if not any(group.types[v].size for v in group.outputs):
            return  # nothing to compute
        schedule = read_schedule(op, self.family)
        if schedule is None:
            raise PassFailure(f"the group at {op.location} has no schedule; run fusion-schedule first")
        program = self.family.program(group, schedule)
        values = [*op.operands, *op.results]
        storages = {}
        for value, number in zip(values, (*group.inputs, *group.outputs), strict=True):
            location = self._location(value)
            storages[number] = Storage(location.strides, location.span, location.aligned)
        name = self._kernel(group, schedule, program, storages)
        packings = self.family.weight_packings(group, schedule)
        arguments = [
            self._view(v, packings.get(n)) for v, n in zip(values, (*group.inputs, *group.outputs), strict=True)
        ]
        kept = {k: op.attributes[k] for k in KEPT if k in op.attributes}
        kept["ops"] = to_attribute([m.node.op for m in group.members])
        kept["flops"] = to_attribute(group.flops)
        kept["results"] = to_attribute(len(group.outputs))
        kept["shared_bytes"] = to_attribute(program.shared_bytes)
        traffic = self._traffic(group, schedule, values)
        kept["traffic"] = to_attribute(traffic)
        kept["recomputed_flops"] = to_attribute(scheduled_recomputed_flops(group, schedule, self.family))
        seconds = scheduled_seconds(group, schedule, self.family, sum(traffic), self.device)
        kept["seconds"] = to_attribute(seconds)
        sizes, line = self.backend.launch(name, program, arguments, str(ir.DictAttr.get(kept)))
        self.sizes |= set(sizes)
        self.lines.append(line)

    def _traffic(self, group: Group, schedule: Any, values: Sequence[Any]) -> tuple[int, ...]:
        """Bytes from and to DRAM for each argument."""
        located = dict(zip((*group.inputs, *group.outputs), map(self._location, values), strict=True))
        return tuple(launch_bytes(group, schedule, self.family, located).values())

    def _kernel(self, group: Group, schedule: Any, program: Any, storages: dict[int, Storage]) -> str:
        key = (group.structure, schedule, tuple(sorted(storages.items())))
        if key not in self.known:
            anchor = (group.anchors or group.members)[-1]
            name = f"k{len(self.known)}_{anchor.node.op}"
            self.known[key] = name
            module = self.backend.emit(program, name, storages)
            self.kernels[name] = _function_text(module)
        return self.known[key]

    # -- host program

    def _location(self, value: Any) -> Location:
        location = self.where.get(value)
        if location is None:
            raise PassFailure(f"{value} has no buffer; run fusion-assign-buffers first")
        return location

    def _memref(self, span: int, element: str) -> str:
        space = f", {self.backend.memory_space}" if self.backend.memory_space else ""
        return f"memref<{span}x{element}{space}>"

    def _type(self, location: Location) -> str:
        return self._memref(location.span, str(memory_type(location.tensor.dtype)))

    def _signature(self, space: str, index: int, value: Any) -> str:
        tensor = self.where[value].tensor
        if not tensor.static:
            return f"%{space}{index}: index"  # a host value: its size is known at run time
        return f"%{space}{index}: {self._memref(max(1, tensor.size), str(memory_type(tensor.dtype)))}"

    def _view(self, value: Any, packing: Packing | None = None) -> tuple[str, str]:
        """The buffer of a value as the host program names it, and its type."""
        if (value, packing) not in self.views:
            self.views[value, packing] = self._make_view(self._location(value), packing)
        return self.views[value, packing]

    def _make_view(self, location: Location, packing: Packing | None) -> tuple[str, str]:
        if (
            location.space in ("input", "output")
            and location.offset == 0
            and location.span == max(1, location.tensor.size)
        ):
            return f"%{location.space}{location.index}", self._type(location)
        self.counter += 1
        name, mlir_type = f"%b{self.counter}", self._type(location)
        if location.space == "weight":
            mlir_type = (
                self._memref(packing.elements, str(memory_type(location.tensor.dtype)))
                if packing is not None
                else mlir_type
            )
            self.lines.append(f"{name} = {_weight_text(location, packing)} : () -> {mlir_type}")
        elif location.space == "arena":
            arena = self._memref(self.arena_bytes, "i8")
            self.lines.append(f"%o{self.counter} = arith.constant {location.offset} : index")
            self.lines.append(f"{name} = memref.view %arena[%o{self.counter}][] : {arena} to {mlir_type}")
        else:
            raise PassFailure(f"a kernel cannot use a {location.space} value at byte {location.offset}")
        return name, mlir_type

    def _fallback(self, op: Any) -> None:
        """A host call on buffers; values whose size is known at run time are named by their number."""
        operands, results = list(op.operands), list(op.results)
        described = []
        values, types = [], []
        for value in (*operands, *results):
            location = self._location(value)
            described.append(
                {
                    "space": location.space,
                    "index": location.index,
                    "shape": list(location.tensor.shape),
                    "dtype": location.tensor.dtype,
                }
            )
            if location.space != "host" and location.tensor.static:
                name, mlir_type = self._view(value)
                values.append(name)
                types.append(mlir_type)
        attributes = {
            "node": op.attributes["node"],
            "opset": op.attributes["opset"],
            "outputs": to_attribute(len(results)),
            "values": to_attribute(json.dumps(described)),
            **segment_sizes([ir.Type.parse(t) for t in types]),
        }
        further = ("operand_slots", "result_slots", "onnx_nodes", "domains")
        attributes |= {k: op.attributes[k] for k in further if k in op.attributes}
        self.lines.append(
            f'"fusion.host_call"({", ".join(values)}) {ir.DictAttr.get(attributes)} : ({", ".join(types)}) -> ()'
        )


def _weight_text(location: Location, packing: Packing | None) -> str:
    """A weight as kernels read it: its key, its shape, and the steps that bring it into their memory order."""
    tensor = location.tensor
    steps = (
        packing.recipe()
        if packing is not None
        else [{"op": "transpose", "perm": list(tensor.layout)}]
        if tensor.layout
        else []
    )
    shape = (
        packing.shape
        if packing is not None
        else tuple(tensor.dims[axis] for axis in tensor.layout or range(tensor.rank))
    )
    attributes = {"key": location.key, "shape": shape, **({"steps": json.dumps(steps)} if steps else {})}
    return f'"fusion.weight"() {ir.DictAttr.get({k: to_attribute(v) for k, v in attributes.items()})}'


def _function_text(module: ir.Module) -> str:
    """The kernel function of a one-kernel module, as text that stands alone."""
    top = module.body.operations[0].operation
    function = top.regions[0].blocks[0].operations[0].operation if top.name == "gpu.module" else top
    return function.get_asm(use_local_scope=True)
