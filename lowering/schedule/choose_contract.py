"""Tiles for a product on a CPU, by an estimate of cycles.

A step of k takes what `cpu_rates` says, or drawing the panel of W from the cache that holds it. A tile also
copies its box of A, and draws its part of W from where all of W fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from mlirfuse.device import Device
from mlirfuse.dialect.indexing import Var
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.groups.cpu_rates import (
    BLOCK_CYCLES,
    LEAST_LANES,
    STORE_CYCLES,
    TILE_CYCLES,
    cycles_per_second,
    register_tiles,
    step_cycles,
)
from mlirfuse.lowering.groups.forward import landings
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.groups.reads import address_of
from mlirfuse.lowering.schedule.host_contract import STAGED_LIMIT, ContractPlan, ContractTiles, product_problem
from mlirfuse.lowering.schedule.host_product import product_member, product_of, size_of

__all__ = ["choose_contract", "contract_alternatives", "price_contract"]

COPY_BYTES_PER_CYCLE = 8
PANEL_L2_BYTES_PER_CYCLE = 12  # of a panel of W that does not stay in the first cache
PANEL_L3_BYTES_PER_CYCLE = 8


def choose_contract(group: Group, device: Device) -> ContractTiles | None:
    """The tiles with the least estimated time, or None where no register tile is legal or worth it."""
    found = price_contract(group, device)
    return None if found is None else found[1]


def price_contract(group: Group, device: Device, hand_over: float = TILE_CYCLES) -> tuple[float, ContractTiles] | None:
    """The least estimated time in cycles and the tiles that take it; None as for `choose_contract`.

    `hand_over`: cycles from one tile to the next.
    """
    base = _base(group, device)
    best = (
        None
        if base is None
        else min(_priced(group, base, device, hand_over), key=lambda priced: priced[0], default=None)
    )
    if base is None or best is None:
        return None
    tiles = replace(base, **best[1])
    return (best[0], tiles) if tiles.why_illegal(group, device) is None else None


def contract_alternatives(group: Group, device: Device) -> list[ContractTiles]:
    """All legal tiles that are priced, the least estimate first."""
    base = _base(group, device)
    if base is None:
        return []
    priced = sorted(_priced(group, base, device, TILE_CYCLES), key=lambda entry: entry[0])
    tiles = dict.fromkeys(replace(base, **changes) for _, changes in priced)
    return [t for t in tiles if t.why_illegal(group, device) is None]


def _base(group: Group, device: Device) -> ContractTiles | None:
    """What all candidates have in common: the lanes, and where the operands come from."""
    member = product_member(group)
    if member is None or product_problem(group, member) is not None:
        return None
    axis = _lane_axis(group, member)
    if axis is None:
        return None
    product = product_of(member.node, axis, group.box)
    assert product is not None
    lanes = device.vector_bytes // 4
    while lanes > size_of(product.n):
        lanes //= 2
    base = ContractTiles(axis, lanes, 1, 1, -1, 1, 1)
    plan = ContractPlan(group, base)
    weights = "packed" if plan.weight_is_packable else "direct" if plan.weight_is_direct else "gathered"
    return replace(base, weights=weights, staged=plan.why_not_direct() is not None)


def _lane_axis(group: Group, member: Member) -> int | None:
    """The dimension of the result along which the outputs are stored side by side, if lanes may run along it."""
    index = out_variables(member.node.out.dims)
    where = landings(group, member, index)
    assert not isinstance(where, str)
    addresses = [address_of(where[v].index, group.strides(v)) for v in group.outputs]

    def possible(axis: int) -> bool:
        product = product_of(member.node, axis, group.box) if index[axis].terms else None
        return product is not None and size_of(product.n) >= LEAST_LANES

    def apart(axis: int) -> int:
        variable = index[axis].terms[0][0]
        assert isinstance(variable, Var)
        return sum(a.coefficient(variable) != 1 for a in addresses)

    return min(filter(possible, range(len(index))), key=lambda a: (apart(a), -a), default=None)


@dataclass(frozen=True)
class _Work:
    """The sizes that the estimate needs, for one way to cut m."""

    n: int
    k: int
    batches: int
    rows: int  # of a tile
    cuts: int  # tiles along m
    copied: int  # bytes of A's box
    lanes: int
    gathered: bool


def _priced(
    group: Group, base: ContractTiles, device: Device, hand_over: float
) -> Iterator[tuple[float, dict[str, Any]]]:
    """The estimate of every candidate, and what it changes in `base`."""
    for split, block in _cuts(group, base):
        cut = replace(base, split=split, block=block)
        plan = ContractPlan(group, cut)
        copied = 4 * math.prod(plan.box) * (2 if plan.may_pad else 1) if base.staged else 0
        cuts, gathered = math.prod(plan.tiles[1:-1]), base.weights == "gathered"
        work = _Work(plan.n, plan.k_size, plan.b_size, plan.tile_rows, cuts, copied, base.lanes, gathered)
        for rows, columns in register_tiles(plan.n // base.lanes, device.registers_per_thread):
            if rows > plan.tile_rows or not _fits(group, plan, replace(cut, columns=columns)):
                continue
            count = -(-plan.n // (columns * base.lanes))
            for panels in _counts(count):
                for batches in _counts(plan.b_size) if panels == count else (1,):
                    cost = _cycles(work, rows, columns, panels, batches, device, hand_over)
                    yield (
                        cost,
                        {
                            "split": split,
                            "block": block,
                            "rows": rows,
                            "columns": columns,
                            "panels": panels,
                            "batches": batches,
                        },
                    )


def _fits(group: Group, plan: ContractPlan, tiles: ContractTiles) -> bool:
    """Whether the columns of a box are whole panels of a packed W."""
    whole = tiles.weights != "packed" or plan.product.n == plan.whole.n
    return whole or ContractPlan(group, tiles).has_whole_panels


def _counts(size: int) -> list[int]:
    """How many of `size` a tile may take: fewer and fewer, each making at least one more tile."""
    tiles = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)
    return list(dict.fromkeys(-(-size // min(count, size)) for count in tiles))


def _cuts(group: Group, base: ContractTiles) -> Iterator[tuple[int, int]]:
    """Ways to cut m: the dimension, and how many of its positions a tile takes."""
    sizes = ContractPlan(group, base).m_sizes
    if not base.staged:
        yield from ((-1, chunk) for chunk in _counts(math.prod(sizes)))
        return
    for split, size in enumerate(sizes or (1,)):
        found = False
        for chunk in _counts(size):
            plan = ContractPlan(group, replace(base, split=split, block=chunk))
            if plan.scratch_bytes <= STAGED_LIMIT:
                found = True
                yield split, chunk
        if found and size > 1:
            return


def _cycles(work: _Work, rows: int, columns: int, panels: int, batches: int, device: Device, hand_over: float) -> float:
    width = columns * work.lanes
    per_k = 4 * width  # bytes of W for one step of k
    if per_k * work.k <= device.l1_bytes // 2:
        panel_rate = 64.0
    elif per_k * work.k <= device.l2_bytes // 2:
        panel_rate = PANEL_L2_BYTES_PER_CYCLE
    else:
        panel_rate = PANEL_L3_BYTES_PER_CYCLE
    blocks = -(-work.rows // rows)
    panel_step = per_k / panel_rate if blocks > 1 else 0.0
    step = max(step_cycles(rows, columns), panel_step)
    compute = panels * blocks * (work.k * step + BLOCK_CYCLES + STORE_CYCLES * rows * columns)
    compute += panels * width * work.k if work.gathered else 0.0
    streamed = panels * per_k * work.k / _weight_rate(4 * work.n * work.k * work.batches, device)
    tile = batches * (max(compute, streamed) + work.copied / COPY_BYTES_PER_CYCLE) + hand_over
    count = math.ceil(work.n / width)
    tiles = math.ceil(work.batches / batches) * work.cuts * math.ceil(count / panels)
    waves = tiles / device.multiprocessors
    return tile * (0.5 * math.ceil(waves) + 0.5 * waves + (0.25 if device.multiprocessors > 1 else 0.0))


def _weight_rate(weight_bytes: int, device: Device) -> float:
    """Bytes a cycle at which one core draws W into its own caches."""
    if weight_bytes <= device.l2_bytes // 2:
        return 32.0
    if weight_bytes <= device.l3_bytes // 4:
        return PANEL_L3_BYTES_PER_CYCLE
    return device.dram_bandwidth / device.multiprocessors / cycles_per_second(device)
