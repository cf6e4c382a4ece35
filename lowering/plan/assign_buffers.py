"""Give every value between kernels its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlirfuse.dialect import to_attribute
from mlirfuse.element_types import element_bytes
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.buffers import Place, Program, read_program, write_places
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.lowering.plan.memory import Buffer, plan_arena
from mlirfuse.mlir import ir

__all__ = ["AssignBuffers", "root_buffers"]


@register_pass
@dataclass(frozen=True)
class AssignBuffers:
    """Write `buffers` on every op that makes values, and `fusion.arena_bytes` on the function.

    Values share one arena by liveness; those that are returned lie in the output buffers, parts of an elided concat in
    its buffer, values whose shape is known only at run time with the host.
    """

    name: ClassVar[str] = "fusion-assign-buffers"

    def __call__(self, module_op: ir.Operation) -> None:
        function = main_function(module_op)
        program = read_program(function)
        places, arena_bytes = assign(program)
        write_places(function, program, places)
        function.attributes["fusion.arena_bytes"] = to_attribute(arena_bytes)


def assign(program: Program) -> tuple[list[Place], int]:
    """The place of every value, and the bytes of the arena."""
    buffers = root_buffers(program)
    arena = plan_arena(list(buffers.values()))
    offsets = dict(zip(buffers, arena.offsets, strict=True))
    unknown = [n for n, v in enumerate(program.values) if not v.tensor.static]
    places: dict[int, Place] = {}

    def place(number: int) -> Place:
        if number in places:
            return places[number]
        value = program.values[number]
        if not value.tensor.static:
            found = Place(0, (0,) * value.tensor.rank, 0, value.output, host=unknown.index(number))
        elif value.whole is not None:
            whole = place(value.whole)
            start = value.start * whole.strides[value.axis] * element_bytes(value.tensor.dtype)
            found = Place(whole.offset + start, whole.strides, value.tensor.bytes, whole.output)
        else:
            found = Place(offsets.get(number, 0), value.tensor.strides(), value.tensor.bytes, value.output)
        places[number] = found
        return found

    return [place(number) for number in range(len(program.values))], arena.bytes


def root_buffers(program: Program) -> dict[int, Buffer]:
    """The buffers that the arena must hold, by the value that each is for."""
    writers: dict[int, set[int]] = {}
    readers: dict[int, set[int]] = {}
    for number, value in enumerate(program.values):
        root = program.root(number)
        writers.setdefault(root, set())
        readers.setdefault(root, set()).update(value.readers)
        if value.writer is not None:
            writers[root].add(value.writer)
    return {
        root: Buffer(program.values[root].tensor.bytes, tuple(sorted(writers[root])), tuple(sorted(readers[root])))
        for root in sorted(writers)
        if program.values[root].output is None and program.values[root].tensor.static
    }
