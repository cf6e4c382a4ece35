"""What differs between kinds of machines in the kernels stage: how a kernel is emitted and how it is launched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlirfuse.lowering.gpu.emit import emit_kernel as emit_gpu_kernel
from mlirfuse.lowering.gpu.frame import GLOBAL, Storage
from mlirfuse.lowering.schedule.program import TileProgram

__all__ = ["BACKENDS", "Backend"]


@dataclass(frozen=True)
class Backend:
    """`emit` makes a module with one kernel; `launch` is the text of its call in the host program.

    `memory_space` is that of the buffers, as it stands in a memref type after a comma, or empty.
    """

    emit: Callable[[TileProgram, str, Mapping[int, Storage]], Any]
    launch: Callable[[str, TileProgram, list[tuple[str, str]], str], list[str]]
    memory_space: str
    wrap: Callable[[str], str]


def _gpu_launch(name: str, program: TileProgram, arguments: list[tuple[str, str]], attributes: str) -> list[str]:
    sizes = dict.fromkeys((*program.tiles, *(1 for _ in range(3 - len(program.tiles))), program.workers, 1))
    lines = [f"%n{size}_{name} = arith.constant {size} : index" for size in sizes]
    grid = ", ".join(f"%n{size}_{name}" for size in (*program.tiles, *(1 for _ in range(3 - len(program.tiles)))))
    block = f"%n{program.workers}_{name}, %n1_{name}, %n1_{name}"
    given = ", ".join(f"{value} : {mlir_type}" for value, mlir_type in arguments)
    return [*lines, f"gpu.launch_func @kernels::@{name} blocks in ({grid}) threads in ({block}) args({given}) {attributes}"]


def _cpu_launch(name: str, program: TileProgram, arguments: list[tuple[str, str]], attributes: str) -> list[str]:
    values = ", ".join([*(value for value, _ in arguments), "%t"])
    types = ", ".join([*(mlir_type for _, mlir_type in arguments), "index"])
    return [f"scf.forall (%t) in ({program.tile_count}) {{ func.call @{name}({values}) {attributes} : ({types}) -> () }}"]


def _emit_cpu(program: TileProgram, name: str, storages: Mapping[int, Storage]) -> Any:
    from mlirfuse.lowering.cpu.emit import emit_kernel

    return emit_kernel(program, name, storages)


BACKENDS: dict[str, Backend] = {
    "cuda": Backend(emit_gpu_kernel, _gpu_launch, GLOBAL, lambda kernels: f"gpu.module @kernels {{\n{kernels}\n}}"),
    "cpu": Backend(_emit_cpu, _cpu_launch, "", lambda kernels: kernels),
}
