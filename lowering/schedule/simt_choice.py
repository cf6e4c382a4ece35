"""Which SIMT schedules suit a group, the preferred first, and in which memory order they want its weights."""

from __future__ import annotations

from collections.abc import Sequence

from mlirfuse.device import Device
from mlirfuse.dialect import TensorType, semantics
from mlirfuse.element_types import SINGLE
from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.groups.cost import ranked_register_tiles
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.schedule.cross_layer import cross_layer_stages
from mlirfuse.lowering.schedule.problem import contract_problem
from mlirfuse.lowering.schedule.side_by_side import SideBySide, choose_side_by_side
from mlirfuse.lowering.schedule.simt import (
    SHARED_ROW_LIMIT,
    WARP,
    ContractTiles,
    MapTiles,
    RowTiles,
    Schedule,
    TeamTiles,
    reduction_length,
    row_length,
)
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles, choose_cross_layer
from mlirfuse.lowering.schedule.simt_deep import choose_deep
from mlirfuse.lowering.schedule.simt_forms import SimtSchedule
from mlirfuse.lowering.schedule.sorting import SortTiles, sort_threads

__all__ = ["candidates", "choose_schedule", "weight_layouts"]


def _vector_of(group: Group) -> int:
    """Four where every output of an element-wise group is wide enough, else one."""
    return 4 if all(_is_wide(group.types[output]) for output in group.outputs) else 1


def _is_wide(out: TensorType) -> bool:
    order = out.layout or tuple(range(out.rank))
    innermost = out.dims[order[-1]] if out.rank else 1
    return out.dtype in SINGLE and out.size >= 1 << 16 and innermost % 4 == 0


def candidates(group: Group, device: Device) -> list[SimtSchedule]:
    """Schedules worth considering, the preferred first."""
    anchor = group.anchor
    found: list[SimtSchedule] = []
    if len(group.anchors) > 1 and (parts := choose_side_by_side(group, device)) is not None:
        found.append(parts)
    elif len(group.anchors) > 1 and (deep := choose_deep(group, device)) is not None:
        found.append(deep)
    elif len(group.anchors) > 1 and (tiles := choose_cross_layer(group, device)) is not None:
        found.append(tiles)
    if anchor is not None:
        op, out = anchor.node.op, anchor.node.out
        if op == "sort":
            return [SortTiles(sort_threads(anchor.node, device))]
        floating = out.dtype in SINGLE | {"float64"}
        if op in ("softmax", "normalize") and out.dtype in SINGLE:
            length = row_length(anchor)
            team = WARP if length <= 256 else 256
            resident = 4 * length * (256 // team) <= min(SHARED_ROW_LIMIT, device.shared_bytes_per_block)
            found.append(RowTiles(256, team, resident))
        elif op in ("conv", "contract") and out.dtype in SINGLE:
            found += _contract_candidates(anchor, device)
        elif (
            op == "reduce"
            and floating
            and not anchor.node.attrs["kind"].startswith("arg")
            and reduction_length(anchor) >= 64
        ):
            team = 256 if reduction_length(anchor) >= 4096 and out.size < 4 * device.multiprocessors else WARP
            found.append(TeamTiles(256, team, 1))
    vector = _vector_of(group) if anchor is None else 1
    found.append(MapTiles(256 if group.types[group.outputs[0]].size >= 1 << 15 else 128, vector))
    return found


def _contract_candidates(anchor: Member, device: Device) -> Sequence[Schedule]:
    problem = contract_problem(anchor.node)
    if problem.n * problem.k <= 64 or (problem.n < 4 and problem.k < 64):  # depthwise: no reuse to stage
        return []
    if problem.m <= 4 and problem.k >= 128:  # a product with few rows reads each weight once
        vector = 4 if _reads_in_fours(anchor) else 1
        return [TeamTiles(256, WARP, vector)]
    if problem.n < 4 or problem.m < 4:
        return []
    product = problem.batch, problem.m, problem.n, problem.k
    ranked = ranked_register_tiles(anchor.node, product, device)
    return [ContractTiles.of(tile) for tile in ranked]


def _reads_in_fours(anchor: Member) -> bool:
    """Whether the last reduced dimension is a multiple of four and adjacent in both row-major operands."""
    indexing = semantics(anchor.node.op).indexing(anchor.node)
    inner = indexing.reduction[-1] if indexing.reduction else None
    if anchor.node.op == "conv":
        sizes = indexing.reduction_sizes
        if any(s != 1 for s in sizes[1:]):
            return False
        inner = indexing.reduction[0]
    if inner is None or inner.is_constant or (inner.range[1] + 1) % 4:
        return False
    variable = inner.terms[0][0]
    for access, tensor in zip(indexing.operands, anchor.node.inputs, strict=True):
        address = sum((e * s for e, s in zip(access.index, tensor.strides(), strict=True)), start=inner * 0)
        if address.coefficient(variable) != 1:  # type: ignore[arg-type]
            return False
    return True


def choose_schedule(group: Group, device: Device) -> SimtSchedule:
    """The first legal candidate; every group has one, since any value can be computed point by point."""
    return next(s for s in candidates(group, device) if s.why_illegal(group, device) is None)


def weight_layouts(group: Group, schedule: SimtSchedule) -> dict[int, tuple[int, ...]]:
    """Layouts that constant operands should have: a register tile reads neighbouring output channels together."""
    if isinstance(schedule, SideBySide):
        pairs = zip(components(group), schedule.stages, strict=True)
        return {v: order for part, tiles in pairs for v, order in weight_layouts(part, tiles).items()}
    if isinstance(schedule, CrossLayerTiles):
        stages = cross_layer_stages(group)
        assert not isinstance(stages, str), stages
        found: dict[int, tuple[int, ...]] = {}
        for stage, tiles in zip(stages, schedule.stages, strict=True):
            found |= {v: order for v, order in weight_layouts(stage.group, tiles).items() if v in group.inputs}
        return found
    anchor = group.anchor
    if not isinstance(schedule, ContractTiles) or anchor is None or anchor.node.constant[1:2] != (True,):
        return {}
    operand = anchor.operands[1]
    if operand not in group.inputs:
        return {}
    if anchor.node.op == "conv":
        return {operand: (*range(2, anchor.node.inputs[1].rank), 1, 0)}  # taps, input channel, output channel
    letters = anchor.node.attrs["equation"].split("->")[0].split(",")[1]
    result = anchor.node.attrs["equation"].split("->")[1]
    first = anchor.node.attrs["equation"].split(",")[0]
    free = [i for i, s in enumerate(letters) if s in result and s not in first]
    rest = [i for i in range(len(letters)) if i not in free]
    return {operand: (*rest, *free)} if free else {}
