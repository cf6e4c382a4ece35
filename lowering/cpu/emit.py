"""From a tile program to a CPU kernel: the frame, then the stage emitter of its schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlirfuse.lowering.cpu.border_stage import emit_borders
from mlirfuse.lowering.cpu.contract_stage import emit_contract
from mlirfuse.lowering.cpu.cross_layer_stage import emit_cross_layer
from mlirfuse.lowering.cpu.deep_stage import emit_deep
from mlirfuse.lowering.cpu.frame import Strides, kernel_frame
from mlirfuse.lowering.cpu.map_stage import emit_map
from mlirfuse.lowering.cpu.row_stage import emit_rows
from mlirfuse.lowering.cpu.sort_stage import emit_sort
from mlirfuse.lowering.schedule.host import weight_packings
from mlirfuse.lowering.schedule.host_contract import ContractTiles
from mlirfuse.lowering.schedule.host_rows import RowLoops
from mlirfuse.lowering.schedule.program import TileProgram
from mlirfuse.mlir import func

__all__ = ["emit_kernel"]


def emit_kernel(
    program: TileProgram,
    name: str,
    *,
    input_strides: Mapping[int, Strides] | None = None,
    output_strides: Mapping[int, Strides] | None = None,
) -> func.FuncOp:
    """Emit, at the insertion point, `func.func private @name(operands..., outputs..., %tile: index)`.

    Arguments are flat buffers; a tensor lies in its own as its type's strides say, or as the strides given here for its
    value number (a slice of a larger buffer, from its first element on). Constant operands are packed where
    `weight_packings` says so. No output may share memory with an operand.
    """
    packed = {v: p.elements for v, p in weight_packings(program.group, program.schedule).items()}
    with kernel_frame(name, program.group, input_strides or {}, packed, program.tile_count, output_strides or {}) as (
        function,
        frame,
    ):
        _STAGES[type(program.schedule).__name__](frame, program.schedule)
        if isinstance(program.schedule, ContractTiles | RowLoops):
            emit_borders(frame, program.tile_count)
    return function


_STAGES: dict[str, Any] = {"MapLoops": emit_map, "ContractTiles": emit_contract, "RowLoops": emit_rows,
                           "SortLoops": emit_sort, "DeepLoops": emit_deep,
                           "CrossLayerLoops": emit_cross_layer}  # fmt: skip
