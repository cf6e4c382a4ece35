"""Read the host program out of a module at the kernels stage, as the plain data that artifacts hold."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from mlirfuse.dialect import attribute_value, from_attribute
from mlirfuse.element_types import element_bytes
from mlirfuse.mlir import ir

__all__ = ["PackedWeight", "host_program", "launches", "packed_weights", "parse_tensor_type"]

_NUMPY = {
    "f32": "float32",
    "f64": "float64",
    "f16": "float16",
    "bf16": "bfloat16",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
}


class PackedWeight(dict[str, Any]):
    """A weight as kernels read it: `name`, the store's `key`, the `steps` that NumPy replays, the `shape` they give."""


def main_of(module: ir.Module) -> Any:
    return next(
        f
        for f in module.body.operations
        if f.operation.name == "func.func" and attribute_value(f, "sym_name") == "main"
    )


def parse_tensor_type(text: str) -> dict[str, Any]:
    """'1x3x?xfloat32' as shape and dtype."""
    *dims, dtype = text.split("x")
    return {"shape": [None if d == "?" else int(d) for d in dims], "dtype": dtype}


def host_program(module: ir.Module) -> dict[str, Any]:
    """The program of `@main`: arena size, signature and steps."""
    main = main_of(module)
    reader = _Reader(main)
    steps = [step for op in main.operation.regions[0].blocks[0].operations if (step := reader.step(op)) is not None]
    return {
        "arena_bytes": reader.arena_bytes,
        "inputs": reader.specs("input"),
        "outputs": reader.specs("output"),
        "steps": steps,
    }


def launches(module: ir.Module) -> list[tuple[str, Any]]:
    """Every launch in order: its kernel and the op that carries its attributes."""
    found = []
    for op in main_of(module).operation.regions[0].blocks[0].operations:
        operation = op.operation
        if operation.name == "gpu.launch_func":
            found.append((_kernel_symbol(operation), operation))
        elif operation.name == "scf.forall":
            call = operation.regions[0].blocks[0].operations[0].operation
            found.append((_callee(call), call))
    return found


def packed_weights(module: ir.Module) -> dict[str, PackedWeight]:
    """Every weight the program reads, by the name that its references use."""
    found: dict[str, PackedWeight] = {}
    for op in main_of(module).operation.regions[0].blocks[0].operations:
        if op.operation.name == "fusion.weight":
            weight = _weight(op)
            found[weight["name"]] = weight
    return found


def _weight(op: Any) -> PackedWeight:
    key, steps = attribute_value(op, "key"), attribute_value(op, "steps")
    name = key if steps is None else f"{key}.{hashlib.sha256(steps.encode()).hexdigest()[:12]}"
    return PackedWeight(
        name=name, key=key, shape=tuple(attribute_value(op, "shape", ())), steps=json.loads(steps) if steps else []
    )


def _callee(call: Any) -> str:
    return str(call.attributes["callee"])[1:].strip('"')


def _kernel_symbol(launch: Any) -> str:
    return re.split("::@", str(launch.attributes["kernel"]))[-1].strip('"')


class _Reader:
    """Follows buffers from their definitions to the steps that use them."""

    def __init__(self, main: Any) -> None:
        self.main = main.operation
        self.refs: dict[Any, dict[str, Any]] = {}
        self.constants: dict[Any, int] = {}
        self.arena_bytes = 0
        self.inputs = [parse_tensor_type(t) for t in attribute_value(main, "fusion.input_types", ())]
        self.outputs = [parse_tensor_type(t) for t in attribute_value(main, "fusion.output_types", ())]
        arguments = list(self.main.regions[0].blocks[0].arguments)
        for i, argument in enumerate(arguments):
            space, index = ("input", i) if i < len(self.inputs) else ("output", i - len(self.inputs))
            self.refs[argument] = {"space": space, "index": index, "offset": 0}

    def specs(self, space: str) -> list[dict[str, Any]]:
        types = self.inputs if space == "input" else self.outputs
        names = attribute_value(self.main, f"fusion.{space}s", ()) or [f"{space}{i}" for i in range(len(types))]
        return [{"name": name, **t} for name, t in zip(names, types, strict=True)]

    def step(self, op: Any) -> dict[str, Any] | None:
        operation = op.operation
        match operation.name:
            case "arith.constant":
                self.constants[operation.results[0]] = from_attribute(operation.attributes["value"])
            case "memref.alloc":
                self.arena_bytes = ir.MemRefType(operation.results[0].type).shape[0]
            case "memref.view":
                self.refs[operation.results[0]] = {"space": "arena", "offset": self.constants[operation.operands[1]]}
            case "fusion.weight":
                self.refs[operation.results[0]] = {"space": "weight", "key": _weight(op)["name"], "offset": 0}
            case "gpu.launch_func":
                return self._launch(operation)
            case "scf.forall":
                return self._parallel(operation)
            case "fusion.host_call":
                return self._host_call(operation)
        return None

    def _ref(self, value: Any) -> dict[str, Any]:
        memref, ref = ir.MemRefType(value.type), self.refs[value]
        dtype, elements = _NUMPY[str(memref.element_type)], memref.shape[0]
        if ref["space"] in ("input", "output"):  # a kernel's buffer has an element even where the tensor has none
            tensor = (self.inputs if ref["space"] == "input" else self.outputs)[ref["index"]]
            elements = min(elements, math.prod(tensor["shape"]))
        return {**ref, "dtype": dtype, "bytes": elements * element_bytes(dtype)}

    def _launch(self, op: Any) -> dict[str, Any]:
        sizes = [self.constants[v] for v in list(op.operands)[:6]]
        arguments = list(op.operands)[6:]
        return {
            "op": "launch",
            "kernel": _kernel_symbol(op),
            "grid": sizes[:3],
            "block": sizes[3:6],
            "shared_bytes": 0,
            "args": [self._ref(v) for v in arguments],
            "results": attribute_value(op, "results", 1),
        }

    def _parallel(self, op: Any) -> dict[str, Any]:
        call = op.regions[0].blocks[0].operations[0].operation
        tiles = next(iter(ir.DenseI64ArrayAttr(op.attributes["staticUpperBound"])))
        return {
            "op": "parallel",
            "kernel": _callee(call),
            "tiles": tiles,
            "args": [self._ref(v) for v in list(call.operands)[:-1]],
            "results": attribute_value(call, "results", 1),
        }

    def _host_call(self, op: Any) -> dict[str, Any]:
        described = json.loads(attribute_value(op, "values"))
        outputs = attribute_value(op, "outputs")
        buffers = iter(op.operands)
        refs = []
        for entry in described:
            shape, dtype = entry["shape"], entry["dtype"]
            if entry["space"] == "host" or None in shape:
                place = {"space": entry["space"], "index": entry["index"]}
            else:
                place = {**self._ref(next(buffers)), "bytes": math.prod(shape) * element_bytes(dtype)}
            refs.append({**place, "shape": shape, "dtype": dtype})
        return {
            "op": "host",
            "node": attribute_value(op, "node"),
            "opset": {"": attribute_value(op, "opset"), **dict(_domains(op))},
            "inputs": refs[: len(refs) - outputs],
            "outputs": refs[len(refs) - outputs :],
        }


def _domains(op: Any) -> Iterator[tuple[str, int]]:
    """The versions of the domains besides ONNX's own that a host node's operators are of."""
    for entry in attribute_value(op, "domains", ()):
        domain, _, version = entry.rpartition("=")
        yield domain, int(version)
