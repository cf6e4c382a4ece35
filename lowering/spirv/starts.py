"""Buffers that start inside a binding: Vulkan binds at multiples of 256 bytes, and parts of tensors lie anywhere.

A launch's arguments are bound from the multiple of `BINDING` bytes before them; how many elements later each one
starts is an attribute of the kernel, which `make_shader` adds to every index.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlirfuse.element_types import element_bytes
from mlirfuse.lowering.spirv.constants import whole
from mlirfuse.mlir import arith, ir

__all__ = ["BINDING", "STARTS", "move_starts", "place_kernels", "tell_starts"]

BINDING = 256  # the largest alignment of a storage buffer's offset that WebGPU lets a device ask for
STARTS = "shader.starts"


def starts_of(args: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """The element of its binding at which each argument of a launch starts."""
    return tuple(a["offset"] % BINDING // max(1, element_bytes(a["dtype"])) for a in args)


def place_kernels(texts: Mapping[str, str], steps: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The kernels that the launches among `steps` need, each with its starts; launches get the name of theirs.

    A kernel that is launched with several starts becomes several.
    """
    placed: dict[str, str] = {}
    names: dict[tuple[str, tuple[int, ...]], str] = {}
    for step in steps:
        if step["op"] != "launch":
            continue
        name, starts = step["kernel"], starts_of(step["args"])
        if (name, starts) not in names:
            taken = any(known == name for known, _ in names)
            names[name, starts] = f"{name}_from_{'_'.join(map(str, starts))}" if taken else name
            placed[names[name, starts]] = tell_starts(_renamed(texts[name], name, names[name, starts]), starts)
        step["kernel"] = names[name, starts]
    return placed


def _renamed(text: str, old: str, new: str) -> str:
    return re.sub(rf'(gpu\.func @"?){re.escape(old)}(?="?\()', rf"\g<1>{new}", text)


def tell_starts(text: str, starts: Sequence[int]) -> str:
    """The text of a module with one kernel, whose arguments start there."""
    if not any(starts):
        return text
    told = f"{STARTS} = array<i32: {', '.join(map(str, starts))}>"
    assert text.count("kernel attributes {") == 1
    return text.replace("kernel attributes {", f"kernel attributes {{{told}, ")


def move_starts(kernel: Any) -> None:
    """x[i] => x[start + i] for every argument of a kernel that is loaded and stored by elements."""
    if STARTS not in kernel.attributes:
        return
    starts = list(ir.DenseI32ArrayAttr(kernel.attributes[STARTS]))
    del kernel.attributes[STARTS]
    block = kernel.regions[0].blocks[0]
    for argument, start in zip(list(block.arguments), starts, strict=False):
        if not start:
            continue
        kind = argument.type
        for use in list(argument.uses):
            op = use.owner.operation
            place = {"memref.load": 1, "memref.store": 2}[op.name]
            with ir.InsertionPoint(op), op.location:
                index = op.operands[place]
                op.operands[place] = arith.AddIOp(index, whole(index.type, start)).result
        argument.set_type(ir.MemRefType.get([kind.shape[0] + start], kind.element_type, None, kind.memory_space))
    inputs = [a.type for a in list(block.arguments)[: len(starts)]]
    kernel.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, []))
