"""Chains of anchors in one kernel: which values are kept between them, and which box of each a tile needs.

A kernel may hold several anchors (Many-to-Many ops) where each hands its result to the next alone. It then computes a
tile of its outputs in stages, one for each anchor: walking backwards from the tile, the ops' indexing functions say
which box of a value the later stages read, and that box stays in the block's shared memory (a GPU) or in scratch of the
thread (a CPU). Planning asks whether ops form a chain, schedules ask for its boxes: this is the one answer to both.

A chain is straight today. To carry more, widen `chain_of` (which anchors may follow each other, and what may stand
between them) and `operand_box` (boxes that reach into padding); the stages below read whatever boxes they are given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from mlirfuse.dialect import MappingType, Node, semantics
from mlirfuse.dialect.indexing import Expr, Var, var
from mlirfuse.element_types import SINGLE
from mlirfuse.lowering.groups.box import Box

__all__ = [
    "Chain",
    "Link",
    "Part",
    "Step",
    "boxed_node",
    "carried_length",
    "chain_of",
    "cut_axis",
    "link_boxes",
    "operand_box",
    "part_of",
    "tile_box",
]

_POINTWISE = ("unary", "binary", "select", "cast")
_ROWS = ("softmax", "normalize")
LEAST_PART = 32  # positions of a row below which a part has too little to do


class Step(Protocol):
    """One op of a group: its node, the numbers of the values it reads, and that of the one it makes."""

    @property
    def node(self) -> Node: ...
    @property
    def operands(self) -> tuple[int, ...]: ...
    @property
    def result(self) -> int: ...


@dataclass(frozen=True)
class Link:
    """One anchor, as the step that it is; `kept` is what the next anchor reads of it (its epilogue applied).

    `position` is the operand in which the anchor reads what the link before it keeps (none for the first).
    """

    anchor: Step
    kept: int
    position: int | None


@dataclass(frozen=True)
class Chain:
    """The anchors of a kernel in the order of their stages."""

    links: tuple[Link, ...]

    @property
    def last(self) -> Link:
        return self.links[-1]


def chain_of(steps: Sequence[Step], outputs: Collection[int]) -> Chain | str:
    """The chain that the anchors of `steps` form, or why they form none; `outputs` are values seen outside."""
    anchors = [s for s in steps if semantics(s.node.op).mapping_type == MappingType.MANY_TO_MANY]
    if len(anchors) < 2:
        return "there are no two anchors"
    for anchor in anchors:
        if complaint := _no_stage(anchor.node):
            return complaint
    readers: dict[int, list[Step]] = {}
    for step in steps:
        for value in dict.fromkeys(step.operands):
            readers.setdefault(value, []).append(step)
    links: list[Link] = []
    position: int | None = None
    for anchor, following in pairwise(anchors):
        kept = _kept(anchor, following, readers, outputs)
        if isinstance(kept, str):
            return kept
        links.append(Link(anchor, kept, position))
        position = following.operands.index(kept)
    return Chain((*links, Link(anchors[-1], anchors[-1].result, position)))


def _no_stage(node: Node) -> str | None:
    if node.op not in ("contract", *_ROWS):
        return f"fusion.{node.op} has no stage that works on a box"
    if any(t.dtype not in SINGLE for t in (*node.inputs, node.out)):
        return f"a stage of fusion.{node.op} computes in single precision alone"
    if node.op in _ROWS and tuple(node.attrs["axes"]) != (node.out.rank - 1,):
        return f"a stage of fusion.{node.op} works on rows along the last dimension"
    if not all(t.size for t in (*node.inputs, node.out)):
        return f"fusion.{node.op} has nothing to compute"
    return None


def _kept(anchor: Step, following: Step, readers: Mapping[int, list[Step]], outputs: Collection[int]) -> int | str:
    """The value between two anchors: the first one's result behind the element-wise ops that follow it."""
    value, node = anchor.result, anchor.node
    while True:
        if value in outputs:
            return f"the result of fusion.{node.op} is also read outside, so that it has to be stored anyway"
        users = readers.get(value, [])
        if len(users) != 1 or users[0].operands.count(value) != 1:
            uses = sum(u.operands.count(value) for u in users)
            return f"the result of fusion.{node.op} has {uses} uses, and a stage hands it on once"
        user = users[0]
        if user is following:
            return value
        if user.node.op not in _POINTWISE or user.node.out.dims != node.out.dims or user.node.out.dtype not in SINGLE:
            return f"fusion.{user.node.op} stands between fusion.{node.op} and fusion.{following.node.op}"
        value = user.result


# -- tiles


def cut_axis(chain: Chain) -> int | None:
    """The dimension of the last anchor's result that tiles cut into rows: the innermost of the kept operand alone.

    All dimensions before it that the kept operand has are walked one position at a time, the others whole.
    """
    return max((a for a in _tiled_axes(chain) if a not in _shared_axes(chain)), default=None)


def tile_box(chain: Chain, rows: int) -> Box:
    """The box of the last anchor's result that one tile makes, with `rows` positions of the dimension that is cut.

    Its start is in variables t0, t1, ... (one for each dimension): the number of a tile where tiles divide the
    dimension, else the position itself, so that the last tile may overlap the one before it.
    """
    dims, tiled, cut = chain.last.anchor.node.out.dims, _tiled_axes(chain), cut_axis(chain)
    start, sizes = [], []
    for axis, size in enumerate(dims):
        extent = size if axis not in tiled else min(rows, size) if axis == cut else 1
        sizes.append(extent)
        if size % extent == 0:
            start.append(var(f"t{axis}", size // extent) * extent)
        else:
            start.append(var(f"t{axis}", size - extent + 1))
    return Box(tuple(start), tuple(sizes))


def _tiled_axes(chain: Chain) -> tuple[int, ...]:
    """Dimensions of the last anchor's result along which it reads its own part of the kept operand."""
    node, position = chain.last.anchor.node, chain.last.position
    assert position is not None
    return _axes_of(node, position)


def _shared_axes(chain: Chain) -> tuple[int, ...]:
    """Those along which its other operands have parts as well: batches."""
    node, position = chain.last.anchor.node, chain.last.position
    return tuple(a for p in range(len(node.inputs)) if p != position for a in _axes_of(node, p))


def _axes_of(node: Node, position: int) -> tuple[int, ...]:
    indexing = semantics(node.op).indexing(node)
    present = {v for e in indexing.operands[position].index for v in e.variables()}
    return tuple(axis for axis, e in enumerate(indexing.out) if e.variables() & present)


# -- boxes


@dataclass(frozen=True)
class Part:
    """A part of the rows that a chain reduces: where it starts, and how many positions it has."""

    start: Expr
    size: int


def carried_length(chain: Chain) -> int | None:
    """The length of the rows that the stages may walk part by part, or None where they need whole rows.

    A softmax's reduction can be carried across parts: with a running maximum and a running sum, what was accumulated
    so far is scaled whenever the maximum grows (Milakov and Gimelshein, "Online normalizer calculation for softmax",
    2018, algorithm 3), if all that follows is a sum along the rows.
    """
    ops = [link.anchor.node.op for link in chain.links]
    if ops != ["contract", "softmax", "contract"] or chain.links[1].anchor.node.attrs["log"]:
        return None
    if chain.links[1].kept != chain.links[1].anchor.result:
        return None
    reduction = [e for e in semantics("contract").indexing(chain.last.anchor.node).reduction if e.terms]
    length = chain.links[1].anchor.node.out.dims[-1]
    return length if len(reduction) == 1 and reduction[0].range[1] + 1 == length else None


def part_of(chain: Chain, most: int) -> int:
    """The positions of a part of the rows where they are walked in parts of at most `most`; 0 where they cannot be."""
    length = carried_length(chain) or 0
    return max((p for p in range(LEAST_PART, min(most, length - 1) + 1) if length % p == 0), default=0)


def operand_box(node: Node, position: int, box: Box, part: Part | None = None) -> Box | str:
    """The box of an operand that a box of the result needs (a part of what it sums), or why it is none."""
    indexing = semantics(node.op).indexing(node)
    access = indexing.operands[position]
    if any(not c.always for c in access.conditions):
        return f"fusion.{node.op} reads padding"
    local = [var(f"l{axis}", size) for axis, size in enumerate(box.sizes)]
    values = {e.terms[0][0]: s + inner for e, s, inner in zip(indexing.out, box.start, local, strict=True) if e.terms}
    inside = {v for e in (*local, *indexing.reduction) for v in e.variables()}
    if part is not None:
        summed = var("part.position", part.size)
        values |= {e.terms[0][0]: part.start + summed for e in indexing.reduction if e.terms}
        inside |= summed.variables()
    start, sizes = [], []
    for e in access.index:
        found = _interval(e.substitute(values), inside)  # type: ignore[arg-type]
        if found is None:
            return f"what fusion.{node.op} reads for a tile is no box"
        start.append(found[0])
        sizes.append(found[1])
    return Box(tuple(start), tuple(sizes))


def _interval(e: Expr, inside: Collection[Var]) -> tuple[Expr, int] | None:
    """The first value and the number of values as the variables `inside` run; None if both kinds mix in one term."""
    first, reach = Expr(e.constant), 0
    for atom, factor in e.terms:
        term = Expr(0, ((atom, factor),))
        variables = term.variables()
        if not variables & set(inside):
            first = first + term
        elif variables <= set(inside):
            lo, hi = term.range
            first, reach = first + lo, reach + hi - lo
        else:
            return None
    return first, reach + 1


def link_boxes(chain: Chain, tile: Box, part: Part | None = None) -> list[tuple[Box, tuple[Box, ...]]] | str:
    """For each link, the box of its result that the tile needs and the boxes of its operands, or why there are none.

    With `part`, the boxes of one part of the rows that are reduced, of a chain that has a `carried_length`.
    """
    found: list[tuple[Box, tuple[Box, ...]]] = []
    box = tile
    for link in reversed(chain.links):
        node = link.anchor.node
        if part is not None and node.op in _ROWS:
            operands: list[Box | str] = [box]
        else:
            here = part if link is chain.last else None
            operands = [operand_box(node, p, box, here) for p in range(len(link.anchor.operands))]
        for operand in operands:
            if isinstance(operand, str):
                return operand
        found.append((box, tuple(b for b in operands if isinstance(b, Box))))
        if link.position is not None:
            box = found[-1][1][link.position]
    return found[::-1]


def boxed_node(node: Node, box: Box, operands: Sequence[Box]) -> Node:
    """The same op on boxes: what one stage computes, indices counted from the starts of the boxes."""
    inputs = tuple(replace(t, shape=b.sizes, layout=None) for t, b in zip(node.inputs, operands, strict=True))
    out = replace(node.out, shape=box.sizes, layout=None)
    return replace(node, inputs=inputs, outputs=(out,), constant=(False,) * len(inputs))
