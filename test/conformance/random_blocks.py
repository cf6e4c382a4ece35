"""Random blocks of convolutional networks: acyclic groups of several anchors, and a tile to cut their outputs into.

Drawn as random groups are, with the arrays that the ops' definitions give. Convolutions of every kind, pools, sums,
concatenations, shuffles, slices and up-samplings in any order; any value may be read again, and be an output too.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from drawing import Drawing, Unsuitable
from hypothesis import strategies as st
from random_groups import RandomGroup

from mlirfuse.lowering.groups.boxes import frame_of
from mlirfuse.lowering.groups.stages import Stages, stages_of

__all__ = ["RandomBlock", "random_blocks"]

MOST = 1500  # elements of any value
MOST_WORK = 60_000  # multiply-adds of any op
MOST_TILES = 96
ODD = 25  # one step in so many is an op that has no stage


@dataclass(repr=False)
class RandomBlock(RandomGroup):
    """A group with its stages, or why it has none, and the extents of a tile; `kinds` counts what it is made of."""

    stages: Stages | str
    tile: tuple[int, ...]
    kinds: Counter[str]
    seed: int  # of what is drawn further, when the block is scheduled

    def __repr__(self) -> str:
        return f"{super().__repr__()}\ntile {self.tile}, seed {self.seed}"


# --- steps --------------------------------------------------------------------------------------------


@dataclass
class _Block(Drawing):
    """What is being drawn: `values` are what steps have made and began with, `kinds` counts the steps."""

    values: list[int] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def step(self, label: str, name: str, /, *operands: int, work: int = 1, **attrs: Any) -> int:
        """An op that is not too large, counted as `label`."""
        v = self.op(name, *operands, work=work, **attrs)
        if self.type(v).size > MOST or self.type(v).size * work > MOST_WORK:
            raise Unsuitable
        self.kinds[label] += 1
        return v


def _conv_of(d: _Block, v: int, filters: int, kernel: Any, kind: str, **attrs: Any) -> int:
    t = d.type(v)
    rank = t.rank - 2
    groups = attrs.setdefault("groups", 1)
    attrs = {"strides": (1,) * rank, "dilations": (1,) * rank, "input_dilation": (1,) * rank, **attrs}
    same = [(k - 1) * s // 2 for k, s in zip(kernel, attrs["dilations"], strict=True)]
    attrs.setdefault("pads", (*same, *same))
    weight = d.input((filters, t.dims[1] // groups, *kernel), t.dtype, free_layout=False)
    y = d.step(
        kind,
        "conv",
        v,
        weight,
        constant=(False, not d.chance(6)),
        work=t.dims[1] // groups * math.prod(kernel),
        **attrs,
    )
    if d.chance(2):
        y = d.op("binary", y, d.input((1, filters, *(1,) * rank), t.dtype, free_layout=False), kind="add")
    return d.op("unary", y, kind=d.one_of(["relu", "tanh", "sigmoid"]), alpha=0.0, beta=0.0) if d.chance(2) else y


def _filters(d: _Block) -> int:
    return d.one_of([1, 2, 3, 4, 4, 5, 6, 8, 8, 12, 16])


def _spatial(d: _Block, v: int) -> int:
    rank = d.type(v).rank - 2
    if rank < 1:
        raise Unsuitable
    return rank


def _pointwise(d: _Block, v: int) -> int:
    return _conv_of(d, v, _filters(d), (1,) * _spatial(d, v), "1x1")


def _plain(d: _Block, v: int) -> int:
    rank = _spatial(d, v)
    kernel = (3,) * rank if d.chance(2) else tuple(d.one_of([1, 2, 3, 4, 5]) for _ in range(rank))
    return _conv_of(d, v, _filters(d), kernel, "kxk")


def _strided(d: _Block, v: int) -> int:
    rank = _spatial(d, v)
    kernel = tuple(d.integer(1, 3) for _ in range(rank))
    strides = (2,) * rank if d.chance(2) else tuple(d.integer(1, 3) for _ in range(rank))
    pads = tuple(d.integer(-1, 2) for _ in range(2 * rank))
    return _conv_of(d, v, _filters(d), kernel, "strided", strides=strides, pads=pads)


def _dilated(d: _Block, v: int) -> int:
    rank = _spatial(d, v)
    dilations = tuple(d.integer(1, 3) for _ in range(rank))
    return _conv_of(d, v, _filters(d), (3,) * rank, "dilated", dilations=dilations)


def _transposed(d: _Block, v: int) -> int:
    rank = _spatial(d, v)
    kernel = tuple(d.integer(1, 4) for _ in range(rank))
    spread = tuple(d.integer(1, 2) for _ in range(rank))
    pads = tuple(d.integer(0, 2) for _ in range(2 * rank))
    return _conv_of(d, v, _filters(d), kernel, "transposed", input_dilation=spread, pads=pads)


def _grouped(d: _Block, v: int) -> int:
    channels = d.type(v).dims[1]
    groups = d.one_of([g for g in range(1, channels + 1) if channels % g == 0])
    filters = groups * d.one_of([1, 2, 3])
    kernel = (d.one_of([1, 3]),) * _spatial(d, v)
    return _conv_of(d, v, filters, kernel, "grouped", groups=groups)


def _depthwise(d: _Block, v: int) -> int:
    rank, channels = _spatial(d, v), d.type(v).dims[1]
    strides = tuple(d.one_of([1, 1, 2]) for _ in range(rank))
    return _conv_of(d, v, channels, (3,) * rank, "depthwise", groups=channels, strides=strides)


def _pool(d: _Block, v: int) -> int:
    rank, t = _spatial(d, v), d.type(v)
    kernel = tuple(d.integer(1, 3) for _ in range(rank))
    strides = tuple(d.integer(1, 2) for _ in range(rank))
    low = tuple(d.integer(0, k - 1) for k in kernel)
    high = tuple(d.integer(0, k - 1) for k in kernel)
    sizes = []
    for dim, k, s, lo, hi in zip(t.dims[2:], kernel, strides, low, high, strict=True):
        extent = dim + lo + hi - k
        if extent < 0:
            raise Unsuitable
        sizes.append(extent // s + 1)
        if extent % s and sizes[-1] * s < dim + lo and d.chance(2):  # ceil_mode: the last window begins inside
            sizes[-1] += 1
    kind = d.one_of(["max", "max", "mean", "sum"])
    return d.step(
        f"{kind} pool",
        "window",
        v,
        kind=kind,
        axes=tuple(range(2, 2 + rank)),
        kernel=kernel,
        strides=strides,
        dilations=(1,) * rank,
        pads=(*low, *high),
        sizes=tuple(sizes),
        count_include_pad=d.chance(2),
        work=math.prod(kernel),
    )


def _channel_window(d: _Block, v: int) -> int:
    """Squares summed over neighbouring channels, as local response normalisation has it."""
    t = d.type(v)
    size = d.one_of([3, 5])
    if t.rank < 3:
        raise Unsuitable
    squares = d.op("unary", v, kind="square", alpha=0.0, beta=0.0)
    total = d.step(
        "over channels",
        "window",
        squares,
        kind="sum",
        axes=(1,),
        kernel=(size,),
        strides=(1,),
        dilations=(1,),
        pads=(size // 2,) * 2,
        sizes=(t.dims[1],),
        count_include_pad=False,
        work=size,
    )
    return d.op("binary", v, d.op("unary", total, kind="sigmoid", alpha=0.0, beta=0.0), kind="mul")


def _beside(d: _Block, v: int) -> list[int]:
    """Other values that differ in channels alone."""
    n, _, *rest = d.type(v).dims
    return [u for u in d.values if u != v and (d.type(u).dims[0], *d.type(u).dims[2:]) == (n, *rest)]


def _add(d: _Block, v: int) -> int:
    """To a value of its shape, or to one that a convolution gives its channels."""
    beside = _beside(d, v)
    if not beside:
        raise Unsuitable
    other, channels = d.one_of(beside), d.type(v).dims[1]
    if d.type(other).dims[1] != channels:
        other = _conv_of(d, other, channels, (d.one_of([1, 3]),) * _spatial(d, v), "projection")
    return d.step("add", "binary", *((v, other) if d.chance(2) else (other, v)), kind="add")


def _concat(d: _Block, v: int) -> int:
    """Channels of values of one extent; now and then of what a convolution gives, or of another axis."""
    beside = _beside(d, v)
    if d.chance(8) or not beside:
        other = _conv_of(d, v, d.type(v).dims[1], (1,) * _spatial(d, v), "1x1")
        return d.step("concat", "concat", *d.draw(st.permutations([v, other])), axis=d.integer(0, d.type(v).rank - 1))
    parts = list(dict.fromkeys([v, *(d.one_of(beside) for _ in range(d.integer(1, 3)))]))
    if d.chance(10):
        parts.append(parts[0])
    return d.step("concat", "concat", *d.draw(st.permutations(parts)), axis=1)


def _shuffle(d: _Block, v: int) -> int:
    n, c, *rest = d.type(v).dims
    groups = [g for g in range(2, c) if c % g == 0]
    if not groups:
        raise Unsuitable
    g = d.one_of(groups)
    y = d.step("shuffle", "reshape", v, shape=(n, g, c // g, *rest))
    perm = (0, 2, 1, *range(3, 3 + len(rest)))
    return d.op("reshape", d.op("transpose", y, perm=perm), shape=(n, c, *rest))


def _unary(d: _Block, v: int) -> int:
    kind = d.one_of(["relu", "tanh", "sigmoid", "abs", "neg", "clip"])
    return d.step("unary", "unary", v, kind=kind, alpha=-0.75, beta=1.5)


def _scale(d: _Block, v: int) -> int:
    """By a number for each channel, or by one."""
    t = d.type(v)
    other = d.splat(0.5, t.dtype) if d.chance(4) else d.input((t.dims[1], *(1,) * (t.rank - 2)), t.dtype)
    return d.step("scale", "binary", v, other, kind=d.one_of(["mul", "add", "sub", "max"]))


def _slice(d: _Block, v: int) -> int:
    starts, sizes, steps = [], [], []
    for axis, dim in enumerate(d.type(v).dims):
        whole = axis == 0 or (axis > 1 and not d.chance(3)) or d.chance(3)
        start = 0 if whole else d.integer(0, dim - 1)
        step = 1 if whole else d.one_of([1, 1, 2])
        most = (dim - 1 - start) // step + 1
        starts.append(start)
        steps.append(step)
        sizes.append(dim if whole else d.integer(max(1, most // 2), most))
    return d.step("slice", "slice", v, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))


def _pad(d: _Block, v: int) -> int:
    rank = d.type(v).rank
    low = tuple(d.integer(0, 2) if axis > 1 else 0 for axis in range(rank))
    high = tuple(d.integer(0, 2) if axis > 1 else 0 for axis in range(rank))
    mode = d.one_of(["constant", "constant", "edge", "reflect"])
    extra = {"value": d.one_of([0.0, 1.5])} if mode == "constant" else {}
    return d.step("pad", "pad", v, low=low, high=high, mode=mode, **extra)


def _upsample(d: _Block, v: int) -> int:
    n, c, *rest = d.type(v).dims
    by = [d.one_of([1, 2]) for _ in rest]
    apart = [x for size in rest for x in (size, 1)]
    spread = [x for size, f in zip(rest, by, strict=True) for x in (size, f)]
    y = d.step("upsample", "reshape", v, shape=(n, c, *apart))
    y = d.op("expand", y, shape=(n, c, *spread))
    return d.op("reshape", y, shape=(n, c, *(s * f for s, f in zip(rest, by, strict=True))))


def _excite(d: _Block, v: int) -> int:
    """The channels' means through a layer, and multiplied."""
    t = d.type(v)
    rank = _spatial(d, v)
    s = d.step(
        "excitation",
        "reduce",
        v,
        kind=d.one_of(["mean", "max"]),
        axes=tuple(range(2, 2 + rank)),
        keepdims=True,
        work=math.prod(t.dims[2:]),
    )
    s = _conv_of(d, s, t.dims[1], (1,) * rank, "1x1")
    return d.op("binary", v, s, kind="mul")


def _odd(d: _Block, v: int) -> int:
    """What no stage computes, or not yet."""
    how = d.one_of(["softmax", "cast"])
    if how == "softmax":
        return d.step("softmax", "softmax", v, axes=(1,), log=False, work=3 * d.type(v).dims[1])
    return d.op("cast", d.step("cast", "cast", v, to="float64"), to="float32")


CONVS = (_pointwise, _pointwise, _plain, _plain, _strided, _dilated, _transposed, _grouped, _depthwise)
POOLS = (_pool, _pool, _channel_window, _excite)
OTHERS = (_add, _add, _add, _concat, _concat, _concat, _shuffle, _unary, _scale, _slice, _pad, _upsample)


# --- groups -------------------------------------------------------------------------------------------


@st.composite
def random_blocks(draw: Any) -> RandomBlock:
    """Two to nine steps, each of the last value or an earlier one."""
    d = _Block(draw)
    rank = d.one_of([1, 2, 2, 2, 2, 2, 2, 3])
    most = {1: 24, 2: 12, 3: 6}[rank]
    spatial = tuple(d.integer(3, most) for _ in range(rank))
    batch = d.one_of([1, 1, 1, 2])
    for _ in range(d.one_of([1, 1, 1, 2])):
        d.values.append(d.input((batch, d.one_of([1, 2, 3, 4, 5, 6, 8]), *spatial), "float32"))
    value = d.values[-1]
    for _ in range(d.integer(2, 9)):
        if d.chance(4):
            value = d.one_of(d.values)
        family = d.one_of([CONVS, CONVS, CONVS, POOLS, OTHERS, OTHERS])
        step = _odd if d.chance(ODD) else d.one_of(family)
        value = _step(d, step, value)
    for _ in range(4):
        if sum(m.is_anchor for m in d.builder.members) < 2:
            value = _step(d, d.one_of(CONVS), value)
    return _finished(d)


def _step(d: _Block, step: Any, value: int) -> int:
    """The step's value; the same where it does not suit."""
    kinds = Counter(d.kinds)
    result = d.attempt(step, value)
    if result is None:
        d.kinds = kinds
        return value
    d.values.append(result)
    return result


def _finished(d: _Block) -> RandomBlock:
    """Choose outputs that tiles cut together, their layouts, and the tile; drop what no output needs."""
    made = {m.result: m for m in d.builder.members}
    if not made:
        d.values.append(d.op("unary", d.values[-1], kind="relu", alpha=0.0, beta=0.0))
        made = {m.result: m for m in d.builder.members}
    used = {v for m in d.builder.members for v in m.operands}
    results = [v for v in d.values if v in made]
    last = results[-1]

    def alike(v: int) -> bool:
        a, b = d.type(v).dims, d.type(last).dims
        return len(a) == len(b) and all(x == y for i, (x, y) in enumerate(zip(a, b, strict=True)) if i != 1)

    outputs = [v for v in results[:-1] if alike(v) and (v not in used or d.chance(6))]
    outputs = [*(v for v in outputs if v not in used or d.chance(2)), last]
    group, parents = d.finished(outputs, 4)
    stages = stages_of(group)
    frame = stages if isinstance(stages, str) else frame_of(stages)
    return RandomBlock(
        group,
        [d.arrays[v] for v in group.inputs],
        [d.arrays[v] for v in outputs],
        parents,
        d.loose,
        frame if isinstance(frame, str) else stages,
        () if isinstance(frame, str) else _tile(d, stages, frame),
        d.kinds,
        d.integer(0, 1 << 16),
    )


def _tile(d: _Block, stages: Any, dims: tuple[int, ...]) -> tuple[int, ...]:
    """Extents of a tile of not too many."""
    tile = [dim if d.chance(3) else d.integer(1, dim) for dim in dims]
    if len({sink.root.node.out.dims for sink in stages.sinks}) > 1 or (len(dims) > 1 and d.chance(2)):
        tile[1] = dims[1]
    while math.prod(-(-dim // size) for dim, size in zip(dims, tile, strict=True)) > MOST_TILES:
        axis = max(range(len(dims)), key=lambda a: dims[a] / tile[a])
        tile[axis] = min(dims[axis], 2 * tile[axis])
    return tuple(tile)
