"""Loops over the elements of outputs: which dimensions the vector lanes run along, and how tiles cut the rest.

for each position of the outer dimensions:        (cut into `outer` tiles)
    for each vector of the inner dimensions:      (cut into `inner` tiles)
        out[position, vector] = value(out, position, vector)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mlirfuse.device import Device
from mlirfuse.dialect import TensorType
from mlirfuse.dialect.indexing import Condition, Expr, Var, delinearize, var
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.cpu_rates import cycles_per_second
from mlirfuse.lowering.groups.forward import landings
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.reads import Read, address_of, element_reads

__all__ = [
    "MapLoops",
    "MapSection",
    "choose_map",
    "even_tiles",
    "interior",
    "map_alternatives",
    "map_sections",
    "map_weight_layouts",
    "may_overlap",
    "memory_seconds",
    "price_map",
    "tile_target",
]

TILE_SECONDS = 20e-6  # a tile is worth handing to a thread from here on
TILES_PER_CORE = 8
_SLOW = frozenset((
    "exp", "log", "tanh", "erf", "sigmoid", "gelu", "gelu_tanh", "softplus", "mish", "elu", "selu", "celu", "pow",
    "sin", "cos", "tan", "sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh",
))  # fmt: skip


@dataclass(frozen=True)
class MapLoops:
    """Each field has one entry for each section (outputs of one shape and layout).

    `collapse` says how many inner dimensions are walked as one, `widths` the lanes of a vector, `outer` and `inner` the
    tiles along the outer positions and along the vectors. `rows` neighbours along the last outer dimension are computed
    together, so that sliding windows share what they read (then tiles cut only the dimensions outside it).
    """

    collapse: tuple[int, ...]
    widths: tuple[int, ...]
    outer: tuple[int, ...]
    inner: tuple[int, ...]
    rows: tuple[int, ...]

    def why_illegal(self, group: Group, device: Device) -> str | None:
        shapes = _shapes(group)
        fields = (self.collapse, self.widths, self.outer, self.inner, self.rows)
        if any(len(field) != len(shapes) for field in fields):
            return f"describes {len(self.collapse)} sections; the group's outputs have {len(shapes)} shapes"
        for shape, collapse, width, rows in zip(shapes, self.collapse, self.widths, self.rows, strict=True):
            order = shape.order
            if not 0 <= collapse <= len(order):
                return f"collapses {collapse} dimensions of {len(order)}"
            if width < 1 or width * 4 > 8 * max(device.vector_bytes, 16):
                return f"vectors of {width} lanes would not stay in the registers of {device.name}"
            neighbours = 1 if collapse == len(order) else shape.dims[order[-collapse - 1]]
            if not 1 <= rows <= neighbours:
                return f"takes {rows} of {neighbours} neighbours together"
        if min(*self.outer, *self.inner, 1) < 1:
            return "has no tiles"
        return None


@dataclass(frozen=True)
class MapSection:
    """Outputs of one shape; `order` lists its dimensions larger than 1, outermost first, the last `collapse` inner.

    With a box, the values are the root alone, `dims` are the box's sizes, `start` is where it starts, and `whole` has
    the dimensions of the value that it is a part of.
    """

    outputs: tuple[int, ...]
    dims: tuple[int, ...]
    order: tuple[int, ...]
    collapse: int = 0
    width: int = 1
    outer_tiles: int = 1
    inner_tiles: int = 1
    rows: int = 1
    start: tuple[Expr, ...] = ()
    whole: tuple[int, ...] = ()

    @property
    def outer_sizes(self) -> tuple[int, ...]:
        return tuple(self.dims[a] for a in self.order[: len(self.order) - self.collapse])

    @property
    def inner_sizes(self) -> tuple[int, ...]:
        return tuple(self.dims[a] for a in self.order[len(self.order) - self.collapse :])

    @property
    def outer_size(self) -> int:
        """Outer positions that tiles share: with several rows at a time, those of the dimensions outside the last."""
        return math.prod(self.outer_sizes[:-1] if self.rows > 1 else self.outer_sizes)

    @property
    def inner_size(self) -> int:
        return math.prod(self.inner_sizes)

    @property
    def tiles(self) -> int:
        return self.outer_tiles * self.inner_tiles

    def outer_variables(self) -> tuple[Expr, ...]:
        """A variable for each outer dimension of the whole value."""
        dims = self.whole or self.dims
        return tuple(var(f"o{i}", dims[a]) for i, a in enumerate(self.order[: len(self.order) - self.collapse]))

    def placed(self, outer: Sequence[Expr]) -> tuple[Expr, ...]:
        """Where outer positions of the box lie in the whole value."""
        return tuple(e + self.start[a] for a, e in zip(self.order, outer, strict=False)) if self.start else tuple(outer)

    def index(self, outer: Sequence[Expr], inner: Expr) -> tuple[Expr, ...]:
        """The logical index at outer positions of the whole value and an inner one of the box."""
        index = list(self.start or (Expr(0),) * len(self.dims))
        split = len(self.order) - self.collapse
        for axis, e in zip(self.order, outer, strict=False):
            index[axis] = e
        for axis, e in zip(self.order[split:], delinearize(inner, self.inner_sizes), strict=True):
            index[axis] = index[axis] + e
        return tuple(index)


def map_sections(group: Group, schedule: MapLoops) -> list[MapSection]:
    """The sections that a schedule describes."""
    fields = (schedule.collapse, schedule.widths, schedule.outer, schedule.inner, schedule.rows)
    return [
        replace(shape, collapse=collapse, width=width, outer_tiles=outer, inner_tiles=inner, rows=rows)
        for shape, collapse, width, outer, inner, rows in zip(_shapes(group), *fields, strict=True)
    ]


def may_overlap(group: Group, section: MapSection) -> bool:
    """Whether the vector that ends with the inner dimensions reads and writes neighbours, wherever it starts."""
    lane = var("lane", section.width)
    index = section.index(section.outer_variables(), lane + (section.inner_size - section.width))
    reads = element_reads(group, dict.fromkeys(section.outputs, index))
    if any(_varies(c.value, lane) for read in reads for c in read.conditions):
        return False
    addresses = [address_of(r.index, group.strides(r.value)) for r in reads]
    addresses += _stores(group, section, index, {})
    return all(not _varies(a, lane) or a.coefficient(_variable(lane)) == 1 for a in addresses)


def _physical(tensor: TensorType) -> tuple[int, ...]:
    """The dimensions larger than 1, outermost first."""
    order = tensor.layout if tensor.layout is not None else tuple(range(tensor.rank))
    return tuple(a for a in order if tensor.dims[a] != 1)


def _stores(
    group: Group, section: MapSection, index: tuple[Expr, ...], strides: Mapping[int, Sequence[int]]
) -> list[Expr]:
    """The addresses at which the values of a section at `index` are stored."""
    if group.box is None:
        return [address_of(index, strides.get(v, group.strides(v))) for v in section.outputs]
    found = landings(group, group.producers[group.root], index)
    assert not isinstance(found, str), found
    return [address_of(found[v].index, strides.get(v, group.strides(v))) for v in group.outputs]


def _shapes(group: Group) -> list[MapSection]:
    """The outputs by shape and memory order, not yet cut; empty ones are left out. With a box, that of the root."""
    if group.box is not None:
        return [_box_shape(group, group.box)]
    classes: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for v in dict.fromkeys(group.outputs):
        tensor = group.types[v]
        if tensor.size:
            classes.setdefault((tensor.dims, _physical(tensor)), []).append(v)
    return [MapSection(tuple(values), dims, order) for (dims, order), values in classes.items()]


def _box_shape(group: Group, box: Box) -> MapSection:
    """The root's box, its dimensions in the order in which the first output has them in memory."""
    dims = group.producers[group.root].node.out.dims
    shape = MapSection((group.root,), box.sizes, (), start=box.start, whole=dims)
    index = out_variables(dims)
    address = _stores(group, shape, index, {})[0]
    steps = [(address.coefficient(_variable(e)) or 0) if e.terms else 0 for e in index]
    order = sorted((a for a, size in enumerate(box.sizes) if size > 1), key=lambda a: (-steps[a], a))
    return replace(shape, order=tuple(order))


def choose_map(group: Group, device: Device, strides: Mapping[int, Sequence[int]] | None = None) -> MapLoops:
    """For each section, the lanes that gather least."""
    lanes = max(1, device.vector_bytes // 4)
    chosen = [_choose_section(group, shape, device, lanes, strides or {}) for shape in _shapes(group)]
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
    shapes = _shapes(group)
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
        if read.value in constants and (axis := _lane_axis(read, lane)) is not None:
            along = tuple(int(a == axis) for a in range(len(read.index)))  # it will be laid out so
        once = _access_cost(address_of(read.index, along), lane, width, registers)
        if rows > 1:  # neighbours read the same, or windows that overlap
            slides = any(_varies(e, outer[-1]) for e in read.index)
            once *= 0.5 if slides and read.trips > 1 else 1.0 if slides else 1 / rows
        cost += read.trips * (once + sum(_condition_cost(c, lane, width, outer, bool(clear)) for c in read.conditions))
    for address in _stores(group, section, index, strides):
        cost += _access_cost(address, lane, width, registers)
    for member in group.members:
        slow = member.node.attrs.get("kind") in _SLOW or member.node.op == "softmax"
        cost += registers * (12.0 if slow else 0.5)
    rest = section.inner_size - whole * width
    return (cost * whole + cost * min(rest, 2.0 if width > 1 else 1.0)) / section.inner_size


def _condition_cost(condition: Condition, lane: Expr, width: int, outer: tuple[Expr, ...], clear: bool) -> float:
    if _varies(condition.value, lane):
        lanes = (condition.substitute({_variable(lane): Expr(number)}) for number in range(width))
        apart = width + 4.0 * sum(not one.always for one in lanes)  # loads, and a branch where a border can be
        if condition.value.coefficient(_variable(lane)) is None:
            return apart
        low, high = condition.value.range
        return 1.0 + apart * min(1.0, width / (high - low + 1))  # of the vectors that a border cuts
    return 0.0 if clear and any(_varies(condition.value, o) for o in outer) else 1.0


def interior(group: Group, section: MapSection) -> list[Condition]:
    """Bounds of the outer variables within which no window leaves its operand; none if nothing is gained by them."""
    outer = section.outer_variables()
    inner = var("v", max(1, section.inner_size // section.width)) * section.width + var("lane", section.width)
    bounds: dict[Expr, tuple[int, int]] = {}
    for read in element_reads(group, dict.fromkeys(section.outputs, section.index(outer, inner))):
        for condition in read.conditions if read.trips > 1 else ():
            axes = [o for o in outer if _varies(condition.value, o)]
            factor = condition.value.coefficient(_variable(axes[0])) if len(axes) == 1 else None
            if factor is None or factor <= 0:
                continue
            lo, hi = (condition.value - axes[0] * factor).range
            low, high = bounds.get(axes[0], axes[0].range)
            bounds[axes[0]] = max(low, -((lo - condition.lo) // factor)), min(high, (condition.hi - hi) // factor)
    if any(high - low + 1 < (section.rows if o == outer[-1] else 1) for o, (low, high) in bounds.items()):
        return []
    return [Condition(o, low, high) for o, (low, high) in bounds.items()]


def constant_operands(group: Group) -> frozenset[int]:
    """Operands that are known when compiling, wherever they are used."""
    pairs = [
        (v, c)
        for m in group.members
        for v, c in zip(m.operands, m.node.constant or (False,) * len(m.operands), strict=True)
    ]
    return frozenset(v for v, c in pairs if c and v in group.inputs) - frozenset(v for v, c in pairs if not c)


def map_weight_layouts(group: Group, schedule: MapLoops) -> dict[int, tuple[int, ...]]:
    """Layouts of constant operands in which lanes find neighbours."""
    constants = constant_operands(group)
    found: dict[int, tuple[int, ...]] = {}
    for section in map_sections(group, schedule):
        lane = var("lane", section.width)
        vectors = var("v", section.inner_size // section.width) * section.width
        index = section.index(section.outer_variables(), vectors + lane)
        for read in element_reads(group, dict.fromkeys(section.outputs, index)):
            axis = _lane_axis(read, lane)
            tensor = group.types[read.value]
            order = tensor.layout or tuple(range(tensor.rank))
            if read.value in constants and axis is not None and order[-1] != axis:
                found.setdefault(read.value, (*(a for a in order if a != axis), axis))
    return found


def _lane_axis(read: Read, lane: Expr) -> int | None:
    """The dimension along which the lanes of a read advance by one, if it is the only one that they move along."""
    axes = [a for a, e in enumerate(read.index) if _varies(e, lane)]
    return axes[0] if len(axes) == 1 and read.index[axes[0]].coefficient(_variable(lane)) == 1 else None


def _access_cost(address: Expr, lane: Expr, width: int, registers: float) -> float:
    if width == 1 or not _varies(address, lane):
        return 1.0
    if address.coefficient(_variable(lane)) == 1:
        return registers
    return (2.0 if address.coefficient(_variable(lane)) is not None else 8.0) * width


def _varies(e: Expr, lane: Expr) -> bool:
    return bool(lane.terms) and _variable(lane) in e.variables()


def _variable(lane: Expr) -> Var:
    variable = lane.terms[0][0]
    assert isinstance(variable, Var)
    return variable


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
