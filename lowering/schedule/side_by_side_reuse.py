"""What the parts of a kernel take and move that stand side by side in its grid, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlirfuse.device import Device
from mlirfuse.lowering.groups.components import components
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.reuse import PartReuse, SideBySideReuse
from mlirfuse.lowering.schedule.reuse import reuse_of
from mlirfuse.lowering.schedule.side_by_side import PartTiles, SideBySide
from mlirfuse.lowering.schedule.simt_forms import schedule_to_dict
from mlirfuse.lowering.schedule.simt_program import tile_program

__all__ = ["side_by_side_reuse_of"]


def side_by_side_reuse_of(
    group: Group,
    schedule: SideBySide,
    device: Device,
    names: Mapping[int, str],
    moved: Sequence[Mapping[int, int]],
    dram_bytes: int,
) -> SideBySideReuse:
    """Part by part; `names` are those of the group's operands ("" for constants).

    `moved` has for each part what its blocks move of each operand and output, `dram_bytes` is what the launch moves.
    """
    program = tile_program(group, schedule)
    pairs = zip(components(group), schedule.stages, moved, strict=True)
    return SideBySideReuse(
        device=device.name,
        tiles=program.tile_count,
        threads=schedule.threads,
        shared_bytes=program.shared_bytes,
        memory_limit=device.shared_bytes_per_block,
        dram_bytes=dram_bytes,
        parts=tuple(_part(part, tiles, device, names, of_part) for part, tiles, of_part in pairs),
    )


def _part(
    part: Group, schedule: PartTiles, device: Device, names: Mapping[int, str], moved: Mapping[int, int]
) -> PartReuse:
    program = tile_program(part, schedule)
    reuse = reuse_of(part, schedule, device, [names[v] for v in part.inputs], moved)
    told = {k: v for k, v in schedule_to_dict(schedule).items() if isinstance(v, int) and not isinstance(v, bool)}
    return PartReuse(
        nodes=tuple(dict.fromkeys(name for member in part.members for name in member.onnx_nodes)),
        kind=schedule_to_dict(schedule)["kind"],
        schedule=told,
        tiles=program.tile_count,
        shared_bytes=program.shared_bytes,
        flops=part.flops,
        flops_added=0 if reuse is None else round(reuse.flops_added),
        dram_bytes=sum(moved.values()),
        reuse=reuse,
    )
