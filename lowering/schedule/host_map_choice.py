"""Which lanes, rows and tiles suit loops over the elements of outputs: by the cycles of an element, roughly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mlirfuse.device import Device
from mlirfuse.dialect.indexing import Condition, Expr, var
from mlirfuse.lowering.groups.cpu_rates import cycles_per_second
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.reads import address_of, element_reads
from mlirfuse.lowering.schedule.host_map import (
    MapLoops,
    MapSection,
    constant_operands,
    interior,
    lane_axis,
    map_sections,
    shapes_of,
    stores,
    variable_of,
    varies,
)

__all__ = ["choose_map", "even_tiles", "map_alternatives", "memory_seconds", "price_map", "tile_target"]

TILE_SECONDS = 20e-6  # a tile is worth handing to a thread from here on
TILES_PER_CORE = 8
_SLOW = frozenset((
    "exp", "log", "tanh", "erf", "sigmoid", "gelu", "gelu_tanh", "softplus", "mish", "elu", "selu", "celu", "pow",
    "sin", "cos", "tan", "sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh",
))  # fmt: skip


def choose_map(group: Group, device: Device, strides: Mapping[int, Sequence[int]] | None = None) -> MapLoops:
    """For each section, the lanes that gather least."""
    lanes = max(1, device.vector_bytes // 4)
    chosen = [_choose_section(group, shape, device, lanes, strides or {}) for shape in shapes_of(group)]
    return MapLoops(*(tuple(part) for part in zip(*chosen, strict=True))) if chosen else MapLoops((), (), (), (), ())


def price_map(group: Group, device: Device) -> tuple[float, MapLoops]:
    """The lanes that gather least, all in one tile, and the cycles that they take."""
    loops = choose_map(group, device)
    loops = replace(loops, outer=(1,) * len(loops.outer), inner=(1,) * len(loops.inner))
    lanes = max(1, device.vector_bytes // 4)
    sections = map_sections(group, loops)
    return sum(_cost(group, section, lanes, {}) * math.prod(section.dims) for section in sections), loops


def map_alternatives(group: Group, device: Device) -> list[MapLoops]:
    """Other lanes, rows and tiles for a group whose outputs have one shape, the cheapest by estimate first."""
    shapes = shapes_of(group)
    if len(shapes) != 1:
        return []
    lanes = max(1, device.vector_bytes // 4)
    found: dict[MapLoops, float] = {}
    for section in _sections(group, shapes[0], lanes):
        cost = _cost(group, section, lanes, {})
        seconds = _seconds(group, section, cost, device)
        for factor in (1.0, 0.25, 4.0):  # fewer and larger tiles, or more and smaller ones
            outer, inner = _tiles(section, seconds * factor, device)
            loops = MapLoops((section.collapse,), (section.width,), (outer,), (inner,), (section.rows,))
            found.setdefault(loops, cost)
    return [loops for loops in sorted(found, key=lambda loops: found[loops]) if not loops.why_illegal(group, device)]


def _sections(group: Group, shape: MapSection, lanes: int) -> Iterator[MapSection]:
    """Every choice of inner dimensions, lanes and rows, in one tile."""
    for collapse in range(len(shape.order), 0, -1):
        shape = replace(shape, collapse=collapse)
        for width in _widths(group, shape.inner_size, lanes):
            for rows in _rows(group, shape, width, lanes):
                yield replace(shape, width=width, rows=rows)


def _choose_section(
    group: Group, shape: MapSection, device: Device, lanes: int, strides: Mapping[int, Sequence[int]]
) -> tuple[int, int, int, int, int]:
    best: tuple[float, MapSection] | None = None
    for section in _sections(group, shape, lanes):
        cost = _cost(group, section, lanes, strides)
        if best is None or cost < best[0] * 0.99:
            best = cost, section
    if best is None:
        best = float(len(group.members) + 1), shape
    cost, section = best
    tiles = _tiles(section, _seconds(group, section, cost, device), device)
    return section.collapse, section.width, *tiles, section.rows


def _seconds(group: Group, section: MapSection, cost: float, device: Device) -> float:
    """How long one core takes, at `cost` cycles for an element; what a stage reads and writes is in its caches."""
    seconds = cost * math.prod(section.dims) / cycles_per_second(device)
    return seconds if group.box is not None else max(seconds, memory_seconds(group, section.outputs, device))


def _rows(group: Group, section: MapSection, width: int, lanes: int) -> list[int]:
    """How many neighbours to compute together: several only where windows slide, and while registers last."""
    slides = any(m.node.op in ("window", "conv") for m in group.members)
    if not slides or not section.outer_sizes or width > 2 * lanes or width < lanes:
        return [1]
    return [n for n in (4, 2, 1) if n <= section.outer_sizes[-1]]


def _widths(group: Group, inner: int, lanes: int) -> list[int]:
    """Widths worth trying: several registers at a time where the loop is short of independent work."""
    most = 4 if group.anchors else 2
    wide = [lanes * n for n in (4, 2, 1) if n <= most and inner >= lanes * n]
    even = [w for w in wide if inner % w == 0]
    return [*(even or wide[-1:]), 1]


def _cost(group: Group, section: MapSection, lanes: int, strides: Mapping[int, Sequence[int]]) -> float:
    """Cycles for one element, roughly."""
    width, rows = section.width, section.rows
    lane = var("lane", width)
    whole = section.inner_size // width
    outer = section.outer_variables()
    index = section.index(outer, var("v", whole) * width + lane)
    registers = max(1.0, width / lanes)
    constants = constant_operands(group)
    clear = {c.value for c in interior(group, section)}
    cost = 0.0
    for read in element_reads(group, dict.fromkeys(section.outputs, index)):
        along = strides.get(read.value, group.strides(read.value))
        if read.value in constants and (axis := lane_axis(read, lane)) is not None:
            along = tuple(int(a == axis) for a in range(len(read.index)))  # it will be laid out so
        once = _access_cost(address_of(read.index, along), lane, width, registers)
        if rows > 1:  # neighbours read the same, or windows that overlap
            slides = any(varies(e, outer[-1]) for e in read.index)
            once *= 0.5 if slides and read.trips > 1 else 1.0 if slides else 1 / rows
        cost += read.trips * (once + sum(_condition_cost(c, lane, width, outer, bool(clear)) for c in read.conditions))
    for address in stores(group, section, index, strides):
        cost += _access_cost(address, lane, width, registers)
    for member in group.members:
        slow = member.node.attrs.get("kind") in _SLOW or member.node.op == "softmax"
        cost += registers * (12.0 if slow else 0.5)
    rest = section.inner_size - whole * width
    return (cost * whole + cost * min(rest, 2.0 if width > 1 else 1.0)) / section.inner_size


def _condition_cost(condition: Condition, lane: Expr, width: int, outer: tuple[Expr, ...], clear: bool) -> float:
    if varies(condition.value, lane):
        lanes = (condition.substitute({variable_of(lane): Expr(number)}) for number in range(width))
        apart = width + 4.0 * sum(not one.always for one in lanes)  # loads, and a branch where a border can be
        if condition.value.coefficient(variable_of(lane)) is None:
            return apart
        low, high = condition.value.range
        return 1.0 + apart * min(1.0, width / (high - low + 1))  # of the vectors that a border cuts
    return 0.0 if clear and any(varies(condition.value, o) for o in outer) else 1.0


def _access_cost(address: Expr, lane: Expr, width: int, registers: float) -> float:
    if width == 1 or not varies(address, lane):
        return 1.0
    if address.coefficient(variable_of(lane)) == 1:
        return registers
    return (2.0 if address.coefficient(variable_of(lane)) is not None else 8.0) * width


def memory_seconds(group: Group, outputs: Sequence[int], device: Device) -> float:
    """How long one core takes to draw what the outputs are computed from, and to write them, each byte once."""
    touched = {v for output in outputs for v in group.upstream(output) if v in group.inputs} | set(outputs)
    return sum(group.types[v].bytes for v in touched) * device.multiprocessors / device.dram_bandwidth


def tile_target(seconds: float, device: Device) -> int:
    """How many tiles to cut `seconds` of one core's work into."""
    return max(1, min(int(seconds / TILE_SECONDS), TILES_PER_CORE * device.multiprocessors))


def _tiles(section: MapSection, seconds: float, device: Device) -> tuple[int, int]:
    target = tile_target(seconds, device)
    outer = even_tiles(section.outer_size, target)
    vectors = max(1, section.inner_size // section.width)
    inner = even_tiles(vectors, -(-target // outer)) if outer < min(target, 4 * device.multiprocessors) else 1
    return outer, inner


def even_tiles(size: int, target: int) -> int:
    """At most `target` tiles of a whole number of positions, as even as can be."""
    chunk = -(-size // max(1, min(target, size)))
    return -(-size // chunk)
