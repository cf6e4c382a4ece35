"""Rows on a CPU: softmax, normalisation and reductions in one pass over the row for each statistic.

With lanes along the row:                        With lanes across rows (what is innermost is not reduced):
    for each row of the tile:                        for each vector of rows of the tile:
        statistic = reduce(vectors of the row)           statistic = reduce(elements), a vector
        out[row, vectors] = f(row, statistics)           out[rows, elements] = f(rows, statistics)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from mlirfuse.device import Device
from mlirfuse.dialect.indexing import Expr, delinearize
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.groups.cpu_rates import cycles_per_second
from mlirfuse.lowering.groups.forward import landings
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.schedule.host_contract import operand_order
from mlirfuse.lowering.schedule.host_map_choice import even_tiles, memory_seconds, tile_target

__all__ = ["RowLoops", "RowPlan", "choose_rows"]

KEPT_LIMIT = 1 << 18  # bytes of scratch for the elements of a row, or of a vector of rows
CYCLES_PER_ELEMENT = {"softmax": 3.0, "normalize": 1.0, "reduce": 0.25}


@dataclass(frozen=True)
class RowLoops:
    """Vectors of `lanes`; `tiles` share the rows. `kept`: elements stay in scratch between the passes."""

    lanes: int
    tiles: int
    kept: bool

    def why_illegal(self, group: Group, device: Device) -> str | None:
        anchor = row_anchor(group)
        if anchor is None:
            return "rows need exactly one softmax, normalisation or reduction"
        if complaint := _outputs_problem(group, anchor):
            return complaint
        plan = RowPlan(group, self)
        if plan.across and anchor.node.op == "reduce":
            return "a reduction whose innermost dimension stays is computed element by element"
        if plan.across and plan.lane_size < self.lanes:
            return f"{plan.lane_size} neighbouring rows do not fill {self.lanes} lanes"
        if self.kept and plan.scratch_bytes > KEPT_LIMIT:
            return f"{plan.scratch_bytes} bytes of scratch; the limit is {KEPT_LIMIT}"
        if not 1 <= self.tiles <= plan.units:
            return f"{self.tiles} tiles for {plan.units} rows"
        return None


def row_anchor(group: Group) -> Member | None:
    """The member whose rows are reduced, if the group has one and nothing else to reduce."""
    anchor = group.anchor
    if anchor is None or anchor.node.op not in CYCLES_PER_ELEMENT:
        return None
    if anchor.node.op == "reduce" and anchor.node.attrs["kind"].startswith("arg"):
        return None
    return anchor if anchor.node.inputs[0].dtype == "float32" else None


def _outputs_problem(group: Group, anchor: Member) -> str | None:
    found = landings(group, anchor, out_variables(anchor.node.out.dims))
    if isinstance(found, str):
        return found
    return None if all(v in found for v in group.outputs) else f"an output does not depend on the {anchor.node.op}"


class RowPlan:
    """What follows from a group and its row schedule."""

    def __init__(self, group: Group, schedule: RowLoops) -> None:
        self.group, self.schedule = group, schedule
        anchor = row_anchor(group)
        assert anchor is not None
        self.anchor: Member = anchor
        self.operand = anchor.operands[0]
        self.dims = anchor.node.inputs[0].dims
        axes = anchor.node.attrs["axes"]
        order = [a for a in operand_order(group, self.operand) if self.dims[a] != 1]
        self.reduced = tuple(a for a in order if a in axes)
        self.rows = tuple(a for a in order if a not in axes)
        self.across = bool(order) and order[-1] not in axes

    @cached_property
    def length(self) -> int:
        return math.prod(self.dims[a] for a in self.reduced)

    @cached_property
    def lane_size(self) -> int:
        """Neighbouring rows, where lanes run across rows."""
        return self.dims[self.rows[-1]] if self.across else 1

    @cached_property
    def vectors(self) -> int:
        """Vectors that cover the neighbouring rows; the last may overlap the one before it."""
        return -(-self.lane_size // self.schedule.lanes) if self.across else 1

    @cached_property
    def units(self) -> int:
        """What tiles share: rows, or vectors of rows."""
        outer = self.rows[:-1] if self.across else self.rows
        return math.prod(self.dims[a] for a in outer) * self.vectors

    @cached_property
    def scratch_elements(self) -> int:
        return self.length * (self.schedule.lanes if self.across else 1)

    @cached_property
    def scratch_bytes(self) -> int:
        return 4 * self.scratch_elements

    def index(self, rows: tuple[Expr, ...], position: Expr) -> tuple[Expr, ...]:
        """The operand's index at a position of a row."""
        index = [Expr(0)] * len(self.dims)
        for axis, e in zip(self.rows, rows, strict=True):
            index[axis] = e
        for axis, e in zip(self.reduced, delinearize(position, tuple(self.dims[a] for a in self.reduced)), strict=True):
            index[axis] = e
        return tuple(index)

    def out_index(self, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """The result's index for an operand's: a reduction drops or flattens what it reduces."""
        node = self.anchor.node
        if node.op != "reduce":
            return index
        axes, keep = node.attrs["axes"], node.attrs["keepdims"]
        return tuple(Expr(0) if a in axes else e for a, e in enumerate(index) if keep or a not in axes)


def choose_rows(group: Group, device: Device) -> RowLoops | None:
    """Row loops where they are legal."""
    anchor = row_anchor(group)
    if anchor is None or not anchor.node.inputs[0].size:
        return None
    base = RowLoops(device.vector_bytes // 4, 1, False)
    plan = RowPlan(group, base)
    cycles = plan.length * plan.units * (base.lanes if plan.across else 1) * CYCLES_PER_ELEMENT[anchor.node.op]
    seconds = max(cycles / cycles_per_second(device), memory_seconds(group, group.outputs, device))
    tiles = even_tiles(plan.units, tile_target(seconds, device))
    keeps = anchor.node.op != "reduce" and plan.scratch_bytes <= KEPT_LIMIT
    chosen = RowLoops(base.lanes, tiles, keeps)
    return chosen if chosen.why_illegal(group, device) is None else None
