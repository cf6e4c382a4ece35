"""What differs between kinds of machines in the kernels stage: how a kernel is emitted and how it is launched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlirfuse.lowering.cpu.emit import emit_kernel as emit_cpu_kernel
from mlirfuse.lowering.gpu.emit import emit_kernel as emit_gpu_kernel
from mlirfuse.lowering.gpu.frame import GLOBAL, Storage
from mlirfuse.lowering.schedule.program import TileProgram
from mlirfuse.mlir import ir

__all__ = ["BACKENDS", "Backend"]


@dataclass(frozen=True)
class Backend:
    """`emit` makes a module with one kernel; `launch` is the text of its call, and the sizes n that it names %n.

    `memory_space` is that of the buffers, as it stands in a memref type after a comma, or empty; `attributes` are
    names of unit attributes that the module of the program carries.
    """

    emit: Callable[[TileProgram, str, Mapping[int, Storage]], Any]
    launch: Callable[[str, TileProgram, list[tuple[str, str]], str], tuple[list[int], str]]
    memory_space: str
    wrap: Callable[[str], str]
    attributes: tuple[str, ...] = ()


def _gpu_launch(
    name: str, program: TileProgram, arguments: list[tuple[str, str]], attributes: str
) -> tuple[list[int], str]:
    grid = (*program.tiles, *(1 for _ in range(3 - len(program.tiles))))
    block = (program.workers, 1, 1)
    blocks, threads = (", ".join(f"%n{size}" for size in sizes) for sizes in (grid, block))
    given = ", ".join(f"{value} : {mlir_type}" for value, mlir_type in arguments)
    return [
        *grid,
        *block,
    ], f"gpu.launch_func @kernels::@{name} blocks in ({blocks}) threads in ({threads}) args({given}) {attributes}"


def _cpu_launch(
    name: str, program: TileProgram, arguments: list[tuple[str, str]], attributes: str
) -> tuple[list[int], str]:
    values = ", ".join([*(value for value, _ in arguments), "%t"])
    types = ", ".join([*(mlir_type for _, mlir_type in arguments), "index"])
    return (
        [],
        f"scf.forall (%t) in ({program.tile_count}) {{ func.call @{name}({values}) {attributes} : ({types}) -> () }}",
    )


def _emit_cpu(program: TileProgram, name: str, storages: Mapping[int, Storage]) -> ir.Module:
    module = ir.Module.create()
    strides = {value: storage.strides for value, storage in storages.items()}
    group = program.group
    with ir.InsertionPoint(module.body):
        emit_cpu_kernel(
            program,
            name,
            input_strides={v: s for v, s in strides.items() if v in group.inputs},
            output_strides={v: s for v, s in strides.items() if v in group.outputs},
        )
    return module


BACKENDS: dict[str, Backend] = {
    "gpu": Backend(
        emit_gpu_kernel,
        _gpu_launch,
        GLOBAL,
        lambda kernels: f"gpu.module @kernels {{\n{kernels}\n}}",
        ("gpu.container_module",),
    ),
    "cpu": Backend(_emit_cpu, _cpu_launch, "", lambda kernels: kernels),
}
