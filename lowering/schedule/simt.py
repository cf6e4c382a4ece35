"""Schedules of fp32 kernels on SIMT machines, and the choice among them by the group's shape.

Each schedule is data: the tile it cuts and how many threads share it; `why_illegal` names the constraint that it
breaks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlirfuse.device import Device
from mlirfuse.dialect import semantics
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.schedule.families import Family, register_family
from mlirfuse.lowering.schedule.forward import downstream_indices
from mlirfuse.lowering.schedule.group import Group, Member
from mlirfuse.lowering.schedule.problem import contract_problem
from mlirfuse.lowering.schedule.program import Box, Stage, TileProgram

__all__ = [
    "ContractTiles",
    "MapTiles",
    "RowTiles",
    "TeamTiles",
    "choose_schedule",
    "schedule_from_dict",
    "tile_program",
]

WARP = 32
VECTOR = 4  # elements of a thread's vectors
BUFFERS = 2  # slices of the reduction in shared memory: one is multiplied while the next arrives
SHARED_ROW_LIMIT = 40 * 1024  # bytes of a softmax row kept in shared memory, below the 48 KiB every device has


@dataclass(frozen=True)
class MapTiles:
    """One thread computes `vector` neighbouring elements of the output; `threads` in a block."""

    threads: int = 256
    vector: int = 1

    def why_illegal(self, group: Group, device: Device) -> str | None:
        if self.threads > device.max_threads_per_block:
            return f"{self.threads} threads in a block; the device allows {device.max_threads_per_block}"
        return None


@dataclass(frozen=True)
class TeamTiles:
    """`team` threads reduce one output element together; `threads` in a block, `vector` elements a thread at a time."""

    threads: int = 256
    team: int = WARP
    vector: int = 1

    def why_illegal(self, group: Group, device: Device) -> str | None:
        if group.anchor is None:
            return "a team reduces one anchor, and the group does not have exactly one"
        if self.team not in (WARP, self.threads):
            return f"a team of {self.team} is neither a warp nor the block of {self.threads}"
        return _epilogue_problem(group)


@dataclass(frozen=True)
class RowTiles:
    """`team` threads share one row of a softmax or normalisation, read once into shared memory if `resident`."""

    threads: int = 256
    team: int = 256
    resident: bool = True

    def why_illegal(self, group: Group, device: Device) -> str | None:
        if group.anchor is None or group.anchor.node.op not in ("softmax", "normalize"):
            return "a row schedule needs a softmax or a normalisation"
        if self.team not in (WARP, self.threads):
            return f"a team of {self.team} is neither a warp nor the block of {self.threads}"
        if self.shared_bytes(group) > device.shared_bytes_per_block:
            return f"{self.shared_bytes(group)} bytes of shared memory; the device has {device.shared_bytes_per_block}"
        return _epilogue_problem(group)

    def shared_bytes(self, group: Group) -> int:
        assert group.anchor is not None
        rows = self.threads // self.team
        return 4 * (row_length(group.anchor) * rows * self.resident + self.threads // WARP)


@dataclass(frozen=True)
class ContractTiles:
    """C[m, n] in tiles of block_m x block_n, the reduction in slices of block_k through two buffers of shared memory.

    Each thread accumulates thread_m x thread_n elements in registers: four neighbouring m (a vector), `thread_m / 4`
    times, for `thread_n` n in groups of four. A thread may use `registers`.
    """

    block_m: int = 64
    block_n: int = 64
    block_k: int = 8
    thread_m: int = 4
    thread_n: int = 4
    registers: int = 128

    @property
    def threads(self) -> int:
        return (self.block_m // self.thread_m) * (self.block_n // self.thread_n)

    def shared_bytes(self, group: Group) -> int:
        """Both buffers of both operands, and the result where it goes through shared memory."""
        result = self.block_m * self.block_n * self.result_in_shared(group)
        return 4 * (BUFFERS * self.block_k * (self.block_m + self.block_n) + result)

    @staticmethod
    def result_in_shared(group: Group) -> bool:
        """Whether rows of the result end inside a thread's vector: then the epilogue runs element by element."""
        assert group.anchor is not None
        return contract_problem(group.anchor.node).m % VECTOR != 0

    def why_illegal(self, group: Group, device: Device) -> str | None:
        if group.anchor is None or group.anchor.node.op not in ("conv", "contract"):
            return "a register tile needs one convolution or contraction"
        if group.anchor.node.out.dtype != "float32":
            return f"a register tile accumulates float32, not {group.anchor.node.out.dtype}"
        if self.thread_m % 4 or self.thread_n % 4 or self.block_m % self.thread_m or self.block_n % self.thread_n:
            tile = f"{self.block_m}x{self.block_n}"
            return f"thread tile {self.thread_m}x{self.thread_n} does not divide into vectors of four and {tile}"
        if self.threads > device.max_threads_per_block or self.threads % WARP:
            return f"{self.threads} threads are no whole number of warps up to {device.max_threads_per_block}"
        if self.shared_bytes(group) > device.shared_bytes_per_block:
            return f"{self.shared_bytes(group)} bytes of shared memory; the device has {device.shared_bytes_per_block}"
        if self.thread_m * self.thread_n + 2 * (self.thread_m + self.thread_n) + 40 > self.registers:
            return f"a tile of {self.thread_m}x{self.thread_n} needs more than {self.registers} registers"
        if self.registers > device.registers_per_thread or self.registers * self.threads > device.registers_per_sm:
            return f"{self.threads} threads of {self.registers} registers; the device has {device.registers_per_sm}"
        return _epilogue_problem(group)


Schedule = MapTiles | TeamTiles | RowTiles | ContractTiles
_KINDS: dict[str, type[Schedule]] = {"map": MapTiles, "team": TeamTiles, "row": RowTiles, "contract": ContractTiles}


def schedule_to_dict(schedule: Schedule) -> dict[str, Any]:
    """The schedule as plain data, with its kind."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(schedule, cls))
    return {"kind": kind, **asdict(schedule)}


def schedule_from_dict(data: dict[str, Any]) -> Schedule:
    fields = {k: v for k, v in data.items() if k != "kind"}
    return _KINDS[data["kind"]](**fields)


def row_length(anchor: Member) -> int:
    """Elements of one row of a softmax or normalisation."""
    return math.prod(anchor.node.inputs[0].dims[axis] for axis in anchor.node.attrs["axes"])


def _epilogue_problem(group: Group) -> str | None:
    """Why the outputs cannot be computed from the anchor's registers, or None."""
    assert group.anchor is not None
    found = downstream_indices(group, group.anchor, out_variables(group.anchor.node.out.dims))
    if isinstance(found, str):
        return found
    for output in group.outputs:
        if output not in found:
            return "an output does not depend on the anchor"
    return None


def _reduction(anchor: Member) -> int:
    return math.prod(semantics(anchor.node.op).indexing(anchor.node).reduction_sizes)


def _vector_of(group: Group) -> int:
    """Four where an element-wise group's outputs and work are wide enough, else one."""
    out = group.types[group.outputs[0]]
    order = out.layout or tuple(range(out.rank))
    innermost = out.dims[order[-1]] if out.rank else 1
    wide = out.size >= 1 << 16 and innermost % 4 == 0
    return 4 if wide and all(group.types[o].dtype == "float32" for o in group.outputs) else 1


def candidates(group: Group, device: Device) -> list[Schedule]:
    """Schedules worth considering, the preferred first."""
    anchor = group.anchor
    found: list[Schedule] = []
    if anchor is not None:
        op, out = anchor.node.op, anchor.node.out
        floating = out.dtype in ("float32", "float64")
        if op in ("softmax", "normalize") and out.dtype == "float32":
            length = row_length(anchor)
            team = WARP if length <= 256 else 256
            resident = 4 * length * (256 // team) <= SHARED_ROW_LIMIT
            found.append(RowTiles(256, team, resident))
        elif op in ("conv", "contract") and out.dtype == "float32":
            found += _contract_candidates(group, anchor, device)
        elif (
            op == "reduce" and floating and not anchor.node.attrs["kind"].startswith("arg") and _reduction(anchor) >= 64
        ):
            team = 256 if _reduction(anchor) >= 4096 and out.size < 4 * device.multiprocessors else WARP
            found.append(TeamTiles(256, team, 1))
    vector = _vector_of(group) if anchor is None else 1
    found.append(MapTiles(256 if group.types[group.outputs[0]].size >= 1 << 15 else 128, vector))
    return found


def _contract_candidates(group: Group, anchor: Member, device: Device) -> Sequence[Schedule]:
    problem = contract_problem(anchor.node)
    if problem.n * problem.k <= 64 or (problem.n < 4 and problem.k < 64):  # depthwise: no reuse to stage
        return []
    if problem.m <= 4 and problem.k >= 128:  # a product with few rows reads each weight once
        vector = 4 if _reads_in_fours(anchor) else 1
        return [TeamTiles(256, WARP, vector)]
    if problem.n < 4 or problem.m < 4:
        return []
    tiles = [
        ContractTiles(128, 64, 8, 8, 4),
        ContractTiles(64, 64, 8, 4, 4),
        ContractTiles(64, 32, 8, 4, 4),
        ContractTiles(32, 32, 8, 4, 4),
    ]

    def cost(tile: ContractTiles) -> tuple[float, int]:
        """Multiply-adds of the busiest multiprocessor, dearer the less a tile reuses; ties go to the larger tile."""
        blocks = problem.batch * math.ceil(problem.m / tile.block_m) * math.ceil(problem.n / tile.block_n)
        loads = (tile.block_m + tile.block_n) / (tile.block_m * tile.block_n)
        area = tile.block_m * tile.block_n
        return math.ceil(blocks / device.multiprocessors) * area * (1 + 16 * loads), -area

    return sorted(tiles, key=cost)


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


def choose_schedule(group: Group, device: Device) -> Schedule:
    """The first legal candidate; every group has one, since any value can be computed point by point."""
    return next(s for s in candidates(group, device) if s.why_illegal(group, device) is None)


def weight_layouts(group: Group, schedule: Schedule) -> dict[int, tuple[int, ...]]:
    """Layouts that constant operands should have: a register tile reads neighbouring output channels together."""
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


def tile_program(group: Group, schedule: Schedule) -> TileProgram:
    """The tile program of a group under a schedule."""
    out = group.types[group.outputs[0]]
    anchor = group.anchor
    match schedule:
        case MapTiles():
            tiles = (math.ceil(out.size / (schedule.threads * schedule.vector)), 1, 1)
            how = "vector" if schedule.vector > 1 else "scalar"
            return TileProgram(
                group,
                schedule,
                tiles,
                schedule.threads,
                _global_boxes(group),
                tuple(Stage("map", o, how) for o in group.outputs),
            )
        case TeamTiles():
            assert anchor is not None
            tiles = (math.ceil(anchor.node.out.size * schedule.team / schedule.threads), 1, 1)
            stages = (Stage("reduce", anchor.result, "team"), *_copy_out(group))
            shared = 4 * (schedule.threads // WARP) if schedule.team > WARP else 0
            return TileProgram(group, schedule, tiles, schedule.threads, _global_boxes(group), stages, shared)
        case RowTiles():
            assert anchor is not None
            rows = anchor.node.out.size // row_length(anchor)
            tiles = (math.ceil(rows * schedule.team / schedule.threads), 1, 1)
            row = Box(
                anchor.operands[0],
                (row_length(anchor),),
                "shared" if schedule.resident else "global",
                4 * row_length(anchor),
            )
            stages = (
                Stage("copy_in", anchor.operands[0], "shared row"),
                Stage("row", anchor.result, "team"),
                *_copy_out(group),
            )
            return TileProgram(
                group,
                schedule,
                tiles,
                schedule.threads,
                (row, *_global_boxes(group)),
                stages,
                schedule.shared_bytes(group),
            )
        case ContractTiles():
            assert anchor is not None
            p = contract_problem(anchor.node)
            tiles = (math.ceil(p.m / schedule.block_m), math.ceil(p.n / schedule.block_n), p.batch)
            a = Box(
                anchor.operands[0],
                (schedule.block_k, schedule.block_m),
                "shared",
                4 * schedule.block_k * schedule.block_m,
            )
            b = Box(
                anchor.operands[1],
                (schedule.block_k, schedule.block_n),
                "shared",
                4 * schedule.block_k * schedule.block_n,
            )
            held = (schedule.thread_n, schedule.thread_m)
            c = Box(anchor.result, held, "register", 4 * schedule.thread_m * schedule.thread_n)
            boxes = [a, b, c]
            if schedule.result_in_shared(group):
                whole = (schedule.block_n, schedule.block_m)
                boxes.append(Box(anchor.result, whole, "shared", 4 * schedule.block_m * schedule.block_n))
            stages = (
                Stage("copy_in", a.value, "streamed"),
                Stage("copy_in", b.value, "streamed"),
                Stage("contract", anchor.result, "register-tile"),
                *_copy_out(group, "shared tile" if schedule.result_in_shared(group) else "registers"),
            )
            return TileProgram(
                group,
                schedule,
                tiles,
                schedule.threads,
                (*boxes, *_global_boxes(group)),
                stages,
                schedule.shared_bytes(group),
            )


def _global_boxes(group: Group) -> tuple[Box, ...]:
    return tuple(Box(v, group.types[v].dims, "global", group.types[v].bytes) for v in (*group.inputs, *group.outputs))


def _copy_out(group: Group, source: str = "registers") -> tuple[Stage, ...]:
    return tuple(Stage("copy_out", o, source) for o in group.outputs)


SIMT = register_family(
    Family("cuda", choose_schedule, tile_program, schedule_to_dict, schedule_from_dict, weight_layouts=weight_layouts)
)
