"""A stage of a kernel with several: its box in parts, a loop around the kernel of one part."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlirfuse.dialect.indexing import Expr, delinearize
from mlirfuse.lowering.gpu.contract_stage import emit_contract
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.schedule.problem import contract_problem
from mlirfuse.lowering.schedule.simt import ContractTiles

__all__ = ["contract_parts", "each_part"]


def contract_parts(frame: Frame, tiles: ContractTiles) -> None:
    """All register tiles of a product, one after the other."""
    anchor = frame.group.anchor
    assert anchor is not None
    problem = contract_problem(anchor.node, box=frame.group.box)
    parts = (math.ceil(problem.m / tiles.block_m), math.ceil(problem.n / tiles.block_n), problem.batch)
    alone = math.prod(parts) == 1
    # with one slice of the reduction nothing stands between its last reader and the next part's first slice
    guarded = not alone and problem.k <= tiles.block_k and not tiles.result_in_shared(frame.group)

    def part(at: Frame) -> None:
        emit_contract(at, tiles)
        if guarded:
            at.barrier()

    each_part(frame, parts, part)


def each_part(frame: Frame, parts: tuple[int, int, int], body: Callable[[Frame], None]) -> None:
    """body(frame with the part's number as its block) for all parts."""
    count = math.prod(parts)

    def one(i: Expr, _: list[Any]) -> list[Any]:
        z, y, x = delinearize(i, (parts[2], parts[1], parts[0]))
        body(replace(frame, block=(x, y, z)))
        return []

    if count == 1:
        one(Expr(0), [])
    else:
        frame.builder.loop(count, "part", [], one)
