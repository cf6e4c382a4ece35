"""Loops over the elements of outputs: which dimensions the vector lanes run along, and how tiles cut the rest.

for each position of the outer dimensions:        (cut into `outer` tiles)
    for each vector of the inner dimensions:      (cut into `inner` tiles)
        out[position, vector] = value(out, position, vector)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mlirfuse.device import Device
from mlirfuse.dialect import TensorType
from mlirfuse.dialect.indexing import Condition, Expr, Var, delinearize, var
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.forward import landings
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.reads import Read, address_of, element_reads

__all__ = [
    "MapLoops",
    "MapSection",
    "constant_operands",
    "interior",
    "lane_axis",
    "map_sections",
    "map_weight_layouts",
    "may_overlap",
    "shapes_of",
    "stores",
    "variable_of",
    "varies",
]


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
        shapes = shapes_of(group)
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
        for shape, collapse, width, outer, inner, rows in zip(shapes_of(group), *fields, strict=True)
    ]


def may_overlap(group: Group, section: MapSection) -> bool:
    """Whether the vector that ends with the inner dimensions reads and writes neighbours, wherever it starts."""
    lane = var("lane", section.width)
    index = section.index(section.outer_variables(), lane + (section.inner_size - section.width))
    reads = element_reads(group, dict.fromkeys(section.outputs, index))
    if any(varies(c.value, lane) for read in reads for c in read.conditions):
        return False
    addresses = [address_of(r.index, group.strides(r.value)) for r in reads]
    addresses += stores(group, section, index, {})
    return all(not varies(a, lane) or a.coefficient(variable_of(lane)) == 1 for a in addresses)


def _physical(tensor: TensorType) -> tuple[int, ...]:
    """The dimensions larger than 1, outermost first."""
    order = tensor.layout if tensor.layout is not None else tuple(range(tensor.rank))
    return tuple(a for a in order if tensor.dims[a] != 1)


def stores(
    group: Group, section: MapSection, index: tuple[Expr, ...], strides: Mapping[int, Sequence[int]]
) -> list[Expr]:
    """The addresses at which the values of a section at `index` are stored."""
    if group.box is None:
        return [address_of(index, strides.get(v, group.strides(v))) for v in section.outputs]
    found = landings(group, group.producers[group.root], index)
    assert not isinstance(found, str), found
    return [address_of(found[v].index, strides.get(v, group.strides(v))) for v in group.outputs]


def shapes_of(group: Group) -> list[MapSection]:
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
    address = stores(group, shape, index, {})[0]
    steps = [(address.coefficient(variable_of(e)) or 0) if e.terms else 0 for e in index]
    order = sorted((a for a, size in enumerate(box.sizes) if size > 1), key=lambda a: (-steps[a], a))
    return replace(shape, order=tuple(order))


def interior(group: Group, section: MapSection) -> list[Condition]:
    """Bounds of the outer variables within which no window leaves its operand; none if nothing is gained by them."""
    outer = section.outer_variables()
    inner = var("v", max(1, section.inner_size // section.width)) * section.width + var("lane", section.width)
    bounds: dict[Expr, tuple[int, int]] = {}
    for read in element_reads(group, dict.fromkeys(section.outputs, section.index(outer, inner))):
        for condition in read.conditions if read.trips > 1 else ():
            axes = [o for o in outer if varies(condition.value, o)]
            factor = condition.value.coefficient(variable_of(axes[0])) if len(axes) == 1 else None
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
            axis = lane_axis(read, lane)
            tensor = group.types[read.value]
            order = tensor.layout or tuple(range(tensor.rank))
            if read.value in constants and axis is not None and order[-1] != axis:
                found.setdefault(read.value, (*(a for a in order if a != axis), axis))
    return found


def lane_axis(read: Read, lane: Expr) -> int | None:
    """The dimension along which the lanes of a read advance by one, if it is the only one that they move along."""
    axes = [a for a, e in enumerate(read.index) if varies(e, lane)]
    return axes[0] if len(axes) == 1 and read.index[axes[0]].coefficient(variable_of(lane)) == 1 else None


def varies(e: Expr, lane: Expr) -> bool:
    """Whether an expression depends on a variable (a lane or a position, as an expression)."""
    return bool(lane.terms) and variable_of(lane) in e.variables()


def variable_of(lane: Expr) -> Var:
    """The variable of an expression that is one variable alone."""
    variable = lane.terms[0][0]
    assert isinstance(variable, Var)
    return variable
