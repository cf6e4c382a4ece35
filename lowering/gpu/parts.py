"""A stage of a kernel with several: its box in parts, a loop around the kernel of one part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mlirfuse.dialect.indexing import Expr
from mlirfuse.lowering.gpu.contract_stage import add_products, emit_contract, keep_sums, kept_sums, store_sums
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.schedule.problem import contract_problem
from mlirfuse.lowering.schedule.simt import ContractTiles, register_tiles

__all__ = ["add_parts", "contract_parts", "each_part", "store_parts"]


def contract_parts(frame: Frame, tiles: ContractTiles) -> None:
    """All register tiles of a product, one after the other."""

    def part(at: Frame) -> None:
        emit_contract(at, tiles)
        if not tiles.result_in_shared(at.group):
            _end_of_slices(at, tiles)

    each_part(frame, register_tiles(frame.group, tiles), part)


def add_parts(frame: Frame, tiles: ContractTiles, total: int) -> None:
    """Add a part of the reduction to the sums in the shared array `total`."""

    def part(at: Frame) -> None:
        keep_sums(at, tiles, total, add_products(at, tiles, kept_sums(at, tiles, total)))
        _end_of_slices(at, tiles)

    each_part(frame, register_tiles(frame.group, tiles), part)


def store_parts(frame: Frame, tiles: ContractTiles, total: int) -> None:
    """The epilogue of the sums in the shared array `total`."""
    staged = tiles.result_in_shared(frame.group)

    def part(at: Frame) -> None:
        store_sums(at, tiles, kept_sums(at, tiles, total))
        if staged:  # the next tile goes the same way
            at.barrier()

    each_part(frame, register_tiles(frame.group, tiles), part)


def _end_of_slices(frame: Frame, tiles: ContractTiles) -> None:
    """Where the last slice is in the first buffer, nothing else stands between its reader and the next tile's first."""
    anchor, group = frame.group.anchor, frame.group
    assert anchor is not None
    length = contract_problem(anchor.node, box=group.box, part=group.part).k
    if -(-length // tiles.block_k) % 2 and math.prod(register_tiles(group, tiles)) > 1:
        frame.barrier()


def each_part(frame: Frame, parts: tuple[int, int, int], body: Callable[[Frame], None]) -> None:
    """body(frame with the part's number as its block) for all parts, the first dimension fastest."""

    def nest(outer: Sequence[int], number: tuple[Expr, ...]) -> None:
        if not outer:
            x, y, z = number
            body(replace(frame, block=(x, y, z)))
            return

        def one(i: Expr, _: list[Any]) -> list[Any]:
            nest(outer[:-1], (i, *number))
            return []

        if outer[-1] == 1:
            one(Expr(0), [])
        else:
            frame.builder.loop(outer[-1], "part", [], one)

    nest(parts, ())
