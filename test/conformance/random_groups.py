"""Random fusion groups: what hypothesis draws, op by op, together with the arrays that the ops' definitions give.

The arrays are computed while a group is drawn, so that an op is only applied where its result can be compared: inside
the domain of a function, to values that stay small, and, where the smallest rounding error would change the
result (comparisons, rounding, positions of extremes), to values that are exact.
"""

from __future__ import annotations

import dataclasses
import math
import string
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from group_builder import GroupBuilder
from hypothesis import strategies as st

from mlirfuse.dialect import semantics
from mlirfuse.dialect.node import Node
from mlirfuse.dialect.scalar import COMPARISONS
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.kernel.scalar import supports_unary

__all__ = ["Drawing", "RandomGroup", "Unsuitable", "random_groups"]

ELEMENTS = 6000  # of the largest value of a group
WORK = 400_000  # multiply-adds, or steps of a reduction
SIZES = (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 33, 40)
FLOATS = ("float32", "float32", "float32", "float32", "float64", "float16")
INTEGERS = ("int32", "int64", "int8", "uint8", "int16")

# Unary functions of floats and where they are smooth and tame, with values for alpha and beta; None: everywhere.
SMOOTH: dict[str, tuple[tuple[float, float] | None, float, float]] = {
    "abs": (None, 0, 0),
    "acos": ((-0.9, 0.9), 0, 0),
    "acosh": ((1.2, 100.0), 0, 0),
    "asin": ((-0.9, 0.9), 0, 0),
    "asinh": (None, 0, 0),
    "atan": (None, 0, 0),
    "atanh": ((-0.9, 0.9), 0, 0),
    "celu": (None, 1.5, 0),
    "clip": (None, -0.75, 1.5),
    "cos": ((-20.0, 20.0), 0, 0),
    "cosh": ((-5.0, 5.0), 0, 0),
    "elu": (None, 0.7, 0),
    "erf": (None, 0, 0),
    "exp": ((-20.0, 5.0), 0, 0),
    "gelu": (None, 0, 0),
    "gelu_tanh": (None, 0, 0),
    "hardsigmoid": (None, 0.2, 0.5),
    "hardswish": (None, 0, 0),
    "leaky_relu": (None, 0.1, 0),
    "log": ((0.1, 1e6), 0, 0),
    "mish": (None, 0, 0),
    "neg": (None, 0, 0),
    "reciprocal": ((0.1, 1e6), 0, 0),
    "relu": (None, 0, 0),
    "rsqrt": ((0.1, 1e6), 0, 0),
    "selu": (None, 1.67, 1.05),
    "sigmoid": (None, 0, 0),
    "sin": ((-20.0, 20.0), 0, 0),
    "sinh": ((-5.0, 5.0), 0, 0),
    "softplus": (None, 0, 0),
    "softsign": (None, 0, 0),
    "sqrt": ((0.05, 1e6), 0, 0),
    "square": (None, 0, 0),
    "tan": ((-1.2, 1.2), 0, 0),
    "tanh": (None, 0, 0),
}
STEPWISE: dict[str, tuple[float, float]] = {  # functions that jump: of exact values only
    "ceil": (0, 0),
    "floor": (0, 0),
    "isinf": (1, 1),
    "isnan": (0, 0),
    "round": (0, 0),
    "sign": (0, 0),
    "thresholded_relu": (0.5, 0),
}
EXACT_UNARY = frozenset(("abs", "neg", "relu", "clip", *STEPWISE))
EXACT_BINARY = frozenset(("max", "min"))


class Unsuitable(Exception):
    """The op that was drawn cannot be applied here."""


@dataclass(repr=False)
class RandomGroup:
    """A group, an array for each operand, the expected outputs, and how outputs lie in their buffers.

    `parents` gives the shape of the larger tensor that an output is the leading part of, for some outputs. `loose` says
    that values were rounded to 16 bits on the way, which kernels do only at the end.
    """

    group: Group
    operands: list[Any]
    expected: list[Any]
    parents: dict[int, tuple[int, ...]]
    loose: bool

    def storage(self, value: int) -> tuple[tuple[int, ...], int]:
        """Strides and span, in elements."""
        tensor = self.group.types[value]
        strides = dataclasses.replace(tensor, shape=self.parents.get(value, tensor.shape)).strides()
        return strides, 1 + sum((d - 1) * s for d, s in zip(tensor.dims, strides, strict=True))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis shows it."""
        printer.text(repr(self))

    def __repr__(self) -> str:
        lines = [f"v{v}: {self.group.types[v]} layout {self.group.types[v].layout}" for v in self.group.inputs]
        lines += [f"v{v}: splat {number!r} {self.group.types[v]}" for v, number in self.group.immediates]
        for m in self.group.members:
            operands = ", ".join(f"v{v}" for v in m.operands)
            lines.append(f"v{m.result} = {m.node.op}({operands}) {dict(m.node.attrs)} -> {self.group.types[m.result]}")
        outputs = [f"v{o} layout {self.group.types[o].layout} in {self.parents.get(o)}" for o in self.group.outputs]
        return "\n".join(["", *lines, f"outputs {', '.join(outputs)}"])


@dataclass
class Drawing:
    """A group while it is being drawn."""

    draw: Any
    builder: GroupBuilder = field(default_factory=GroupBuilder)
    arrays: dict[int, Any] = field(default_factory=dict)
    exact: set[int] = field(default_factory=set)
    layouts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    anchors: int = 0
    loose: bool = False

    # -- choices

    def one_of(self, choices: Any) -> Any:
        return self.draw(st.sampled_from(list(choices)))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self, one_in: int) -> bool:
        return self.integer(1, one_in) == one_in

    def dims(self, rank: int, most: int = ELEMENTS) -> tuple[int, ...]:
        found: list[int] = []
        for _ in range(rank):
            room = max(1, most // math.prod(found))
            found.append(self.one_of([s for s in SIZES if s <= room]))
        return tuple(found)

    # -- values

    def input(self, dims: tuple[int, ...], dtype: str, *, free_layout: bool = True, array: Any = None) -> int:
        number = self.builder.input(*dims, dtype=dtype)
        self.arrays[number] = _numbers(dims, dtype, number) if array is None else array
        self.exact.add(number)
        if free_layout and len(dims) > 1 and self.chance(3):
            layout = tuple(self.draw(st.permutations(range(len(dims)))))
            if layout != tuple(range(len(dims))):
                self.layouts[number] = layout
                self.builder.types[number] = dataclasses.replace(self.builder.types[number], layout=layout)
        return number

    def splat(self, value: float | int, dtype: str) -> int:
        number = self.builder.splat(value, dtype)
        self.arrays[number] = np.full((), value, dtype)
        self.exact.add(number)
        return number

    def op(self, name: str, *operands: int, exact: bool = False, work: int = 1, **attrs: Any) -> int:
        """Add an op if its call site is right and its result is tame."""
        types = tuple(self.builder.types[v] for v in operands)
        constant = attrs.pop("constant", None)
        node = Node(name, attrs, types, (), constant or tuple(False for _ in operands))
        try:
            out = semantics(name).infer(node)
        except (ValueError, IndexError) as error:
            raise Unsuitable from error
        node = dataclasses.replace(node, outputs=(out,))
        if semantics(name).complaint(node) or out.size > ELEMENTS or out.size * work > WORK or 0 in out.dims:
            raise Unsuitable
        with np.errstate(all="ignore"):
            array = np.asarray(semantics(name).reference(node, *[self.arrays[v] for v in operands]))
        if array.dtype.kind == "f" and not (np.isfinite(array).all() and np.abs(array).max(initial=0) < 2000):
            raise Unsuitable
        result = self.builder.op(name, *operands, constant=constant, **attrs)
        self.arrays[result] = array
        if exact and all(v in self.exact for v in operands):
            self.exact.add(result)
        self.loose |= out.dtype == "float16"
        return result

    def type(self, v: int) -> Any:
        return self.builder.types[v]

    def floating(self, v: int) -> bool:
        return self.type(v).dtype.startswith("float")


def _numbers(dims: tuple[int, ...], dtype: str, seed: int) -> Any:
    """Small numbers: floats are multiples of an eighth, so that sums of them are exact."""
    rng = np.random.default_rng([seed, *dims])
    if dtype == "bool":
        return rng.integers(0, 2, dims).astype(bool)
    if dtype.startswith("float"):
        return (rng.integers(-24, 25, dims) / 8).astype(dtype)
    low = 0 if dtype.startswith("uint") else -9
    return rng.integers(low, 10, dims).astype(dtype)


# --- element-wise ops -------------------------------------------------------------------------------


def _unary(d: Drawing, v: int) -> int:
    dtype = d.type(v).dtype
    if dtype == "bool":
        return d.op("unary", v, kind="not", exact=True)
    if not d.floating(v):
        kind = d.one_of([k for k in ("abs", "clip", "neg", "relu", "sign", "square") if supports_unary(k, dtype)])
        return d.op("unary", v, kind=kind, alpha=-3.0, beta=5.0, exact=True)
    kinds = [*SMOOTH, *(STEPWISE if v in d.exact else ())]
    kind = d.one_of(kinds)
    if kind in STEPWISE:
        alpha, beta = STEPWISE[kind]
    else:
        domain, alpha, beta = SMOOTH[kind]
        x = d.arrays[v]
        if domain is not None and not (x.min() >= domain[0] and x.max() <= domain[1]):
            raise Unsuitable
    return d.op("unary", v, kind=kind, alpha=float(alpha), beta=float(beta), exact=kind in EXACT_UNARY)


def _partner(d: Drawing, v: int) -> int:
    """Another value that broadcasts with v: one that is there, a new operand, or a number."""
    t = d.type(v)
    there = [u for u in d.arrays if d.type(u).dtype == t.dtype and u != v and _broadcasts(d.type(u).dims, t.dims)]
    how = d.one_of(["there", "there", "new", "new", "number"])
    if how == "there" and there:
        return d.one_of(there)
    if how == "number":
        value = d.one_of([2, 3, 1])
        if t.dtype == "bool":
            raise Unsuitable
        return d.splat(value + 0.5 if t.dtype.startswith("float") else value, t.dtype)
    dims = tuple(1 if d.chance(3) else size for size in t.dims)
    if dims and d.chance(4):
        dims = dims[d.integer(1, len(dims)) :]
    elif len(dims) < 4 and d.chance(8):
        dims = (d.one_of([1, 2, 3]), *dims)
    return d.input(dims, t.dtype)


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


def _binary(d: Drawing, v: int) -> int:
    dtype = d.type(v).dtype
    w = _partner(d, v)
    if d.chance(2):
        v, w = w, v
    if dtype == "bool":
        return d.op("binary", v, w, kind=d.one_of(["and", "or", "xor", "equal"]), exact=True)
    kinds = ["add", "sub", "mul", "max", "min"]
    exact = v in d.exact and w in d.exact
    b = d.arrays[w]
    if d.floating(v):
        kinds += ["prelu"]
        if np.abs(b).min() > 0.1:
            kinds += ["div"]
            kinds += ["mod", "fmod"] if exact else []
        if d.arrays[v].min() > 0.1 and np.abs(b).max() < 4:
            kinds += ["pow"]
        kinds += COMPARISONS if exact else ()
    else:
        kinds += ["bit_and", "bit_or", "bit_xor", *COMPARISONS]
        if b.min() > 0 or b.max() < 0:
            kinds += ["div", "fmod", "mod"]
        if b.min() >= 0 and b.max() <= 2 and np.abs(d.arrays[v]).max() < 12:
            kinds += ["pow"]
    kind = d.one_of(kinds)
    return d.op("binary", v, w, kind=kind, exact=not d.floating(v) or kind in (*EXACT_BINARY, *COMPARISONS))


def _select(d: Drawing, v: int) -> int:
    conditions = [
        u for u in d.arrays if d.type(u).dtype == "bool" and _broadcasts(d.type(u).dims, d.type(v).dims) and u != v
    ]
    if conditions and not d.chance(3):
        condition = d.one_of(conditions)
    else:
        condition = d.input(tuple(1 if d.chance(4) else s for s in d.type(v).dims), "bool")
    other = _partner(d, v)
    return d.op("select", condition, *((v, other) if d.chance(2) else (other, v)), exact=True)


def _cast(d: Drawing, v: int) -> int:
    source = d.type(v).dtype
    targets = [t for t in ("float32", "float64", "float16", *INTEGERS, "bool") if t != source]
    target = d.one_of(targets)
    x = d.arrays[v]
    outside = np.abs(x).max() > 100 or (target.startswith("uint") and x.min() <= -1)
    if not target.startswith("float") and d.floating(v) and (v not in d.exact or outside):
        raise Unsuitable
    widening = (source, target) in (("float32", "float64"), ("float16", "float32"), ("float16", "float64"))
    return d.op("cast", v, to=target, exact=not target.startswith("float") or not d.floating(v) or widening)


# --- movement ---------------------------------------------------------------------------------------


def _reshape(d: Drawing, v: int) -> int:
    rest, dims = d.type(v).size, []
    while rest > 1 and len(dims) < 4:
        factor = d.one_of([f for f in range(1, rest + 1) if rest % f == 0])
        dims.append(factor)
        rest //= factor
    return d.op("reshape", v, shape=(*dims, rest) if rest > 1 or not dims else tuple(dims), exact=True)


def _transpose(d: Drawing, v: int) -> int:
    return d.op("transpose", v, perm=tuple(d.draw(st.permutations(range(d.type(v).rank)))), exact=True)


def _slice(d: Drawing, v: int) -> int:
    starts, sizes, steps = [], [], []
    for dim in d.type(v).dims:
        step = d.one_of([1, 1, 1, 2, 3, -1, -2]) if d.chance(2) else 1
        if step == 1 and d.chance(2):
            start, size = 0, dim
        else:
            start = d.integer(0, dim - 1)
            most = (dim - 1 - start) // step + 1 if step > 0 else start // -step + 1
            size = d.integer(max(1, most // 2), most)
        starts.append(start)
        sizes.append(size)
        steps.append(step)
    return d.op("slice", v, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps), exact=True)


def _concat(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not t.rank:
        raise Unsuitable
    axis = d.integer(0, t.rank - 1)

    def fits(u: int) -> bool:
        other = d.type(u)
        return (other.dtype, other.rank) == (t.dtype, t.rank) and all(
            a == b for i, (a, b) in enumerate(zip(other.dims, t.dims, strict=True)) if i != axis
        )

    parts = [v]
    for _ in range(d.integer(1, 2)):
        there = [u for u in d.arrays if fits(u)]
        if d.chance(2):
            parts.append(d.one_of(there))
        else:
            size = d.one_of([1, 2, 4, 5, 8])
            parts.append(d.input((*t.dims[:axis], size, *t.dims[axis + 1 :]), t.dtype))
    return d.op("concat", *d.draw(st.permutations(parts)), axis=axis, exact=True)


def _pad(d: Drawing, v: int) -> int:
    dims = d.type(v).dims
    if not dims:
        raise Unsuitable
    mode = d.one_of(["constant", "edge", "reflect", "wrap"])
    low, high = [], []
    for dim in dims:
        most = 0 if d.chance(2) else dim - 1 if mode == "reflect" else dim
        low.append(d.integer(0, min(3, most)))
        high.append(d.integer(0, min(3, most)))
        if d.chance(5) and dim > 2:
            low[-1] = -1
    value = {"value": 1.5 if d.floating(v) else 1.0} if mode == "constant" else {}
    return d.op("pad", v, low=tuple(low), high=tuple(high), mode=mode, exact=True, **value)


def _expand(d: Drawing, v: int) -> int:
    dims = tuple(d.one_of([2, 3, 4, 5]) if size == 1 and d.chance(2) else size for size in d.type(v).dims)
    if len(dims) < 4 and d.chance(2):
        dims = (d.one_of([1, 2, 3]), *dims)
    if dims == d.type(v).dims:
        raise Unsuitable
    return d.op("expand", v, shape=dims, exact=True)


def _gather(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not t.rank:
        raise Unsuitable
    axis = d.integer(0, t.rank - 1)
    dims = d.dims(d.integer(0, 2), 12)
    size = t.dims[axis]
    rng = np.random.default_rng([len(d.arrays), size])
    dtype = d.one_of(["int64", "int32"])
    indices = d.input(dims, dtype, array=rng.integers(-size, size, dims).astype(dtype))
    return d.op("gather", v, indices, axis=axis, exact=True)


# --- anchors ----------------------------------------------------------------------------------------


def _reduce(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not t.rank or t.dtype == "bool":
        raise Unsuitable
    kinds = ["sum", "max", "min", "mean", "prod"] + (["argmax", "argmin"] if v in d.exact else [])
    kind = d.one_of(kinds)
    axes = tuple(sorted(d.draw(st.sets(st.integers(0, t.rank - 1), min_size=1, max_size=t.rank))))
    attrs: dict[str, Any] = {}
    if kind.startswith("arg"):
        axes = axes[:1]
        attrs["select_last"] = d.chance(2)
    work = math.prod(t.dims[a] for a in axes)
    if kind == "prod" and work > 16:
        raise Unsuitable
    exact = not d.floating(v) or kind in ("max", "min", "argmax", "argmin")
    return d.op("reduce", v, kind=kind, axes=axes, keepdims=d.chance(2), exact=exact, work=work, **attrs)


def _window(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not t.rank or t.dtype == "bool":
        raise Unsuitable
    rank = d.integer(1, min(3, t.rank))
    axes = tuple(sorted(d.draw(st.permutations(range(t.rank)))[:rank]))
    kernel = tuple(d.integer(1, 4) for _ in axes)
    strides = tuple(d.integer(1, 3) for _ in axes)
    dilations = tuple(d.one_of([1, 1, 2]) for _ in axes)
    low = tuple(d.integer(0, k - 1) for k in kernel)
    high = tuple(d.integer(0, k - 1) for k in kernel)
    sizes = []
    for axis, k, s, r, lo, hi in zip(axes, kernel, strides, dilations, low, high, strict=True):
        extent = t.dims[axis] + lo + hi - ((k - 1) * r + 1)
        if extent < 0:
            raise Unsuitable
        size = extent // s + 1
        if extent % s and d.chance(3) and (size * s) < t.dims[axis] + lo:  # ceil_mode: it begins inside
            size += 1
        sizes.append(size)
    kind = d.one_of(["max", "sum", "mean", *(["argmax"] if v in d.exact else [])])
    if not d.floating(v) and kind == "mean":
        raise Unsuitable
    if kind in ("max", "argmax") and not _windows_touch(t, axes, kernel, strides, dilations, low, sizes):
        raise Unsuitable
    return d.op(
        "window",
        v,
        kind=kind,
        axes=axes,
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        pads=(*low, *high),
        sizes=tuple(sizes),
        count_include_pad=d.chance(2),
        exact=kind in ("max", "argmax") or not d.floating(v),
        work=math.prod(kernel),
    )


def _windows_touch(t: Any, axes: Any, kernel: Any, strides: Any, dilations: Any, low: Any, sizes: Any) -> bool:
    """Whether every window has a position inside the input: the maximum of nothing is minus infinity."""
    return all(
        any(0 <= o * s + k * r - lo < t.dims[axis] for k in range(taps))
        for axis, taps, s, r, lo, size in zip(axes, kernel, strides, dilations, low, sizes, strict=True)
        for o in range(size)
    )


def _conv(d: Drawing, v: int) -> int:
    t = d.type(v)
    if t.rank < 3 or t.dtype == "bool" or not d.floating(v):
        raise Unsuitable
    rank = t.rank - 2
    groups = d.one_of([g for g in range(1, t.dims[1] + 1) if t.dims[1] % g == 0])
    filters = groups * d.one_of([1, 2, 3, 4, 5, 8, 16] if groups < 8 else [1, 2])
    kernel = tuple(d.integer(1, 3) for _ in range(rank))
    strides = tuple(d.integer(1, 2) for _ in range(rank))
    dilations = tuple(d.one_of([1, 1, 2]) for _ in range(rank))
    spread = tuple(d.one_of([1, 2]) for _ in range(rank)) if d.chance(4) else (1,) * rank
    pads = tuple(d.one_of([0, 1, 1, 2, -1]) for _ in range(2 * rank))
    constant = d.chance(2)
    weight = d.input((filters, t.dims[1] // groups, *kernel), t.dtype, free_layout=not constant)
    work = t.dims[1] // groups * math.prod(kernel)
    return d.op(
        "conv",
        v,
        weight,
        constant=(False, constant),
        strides=strides,
        pads=pads,
        dilations=dilations,
        input_dilation=spread,
        groups=groups,
        work=work,
    )


def _contract(d: Drawing, v: int) -> int:
    t = d.type(v)
    if t.dtype == "bool" or t.rank < 1:
        raise Unsuitable
    letters = iter(string.ascii_lowercase)
    first = [next(letters) for _ in t.dims]
    roles = {letter: d.one_of("bmkk") for letter in first}
    second = [letter for letter in first if roles[letter] != "m"]
    sizes = dict(zip(first, t.dims, strict=True))
    for _ in range(d.integer(0, 2)):
        letter = next(letters)
        sizes[letter], roles[letter] = d.one_of([2, 3, 4, 5, 8, 16, 24]), "n"
        second.append(letter)
    second = list(d.draw(st.permutations(second)))
    result = [letter for letter in sizes if roles[letter] != "k"]
    if d.chance(2):
        result = list(d.draw(st.permutations(result)))
    shared = [letter for letter in second if roles[letter] in "bk"]
    dims = tuple(1 if letter in shared and roles[letter] == "b" and d.chance(8) else sizes[letter] for letter in second)
    constant = d.chance(2)
    other = d.input(dims, t.dtype, free_layout=not constant)
    equation = f"{''.join(first)},{''.join(second)}->{''.join(result)}"
    work = math.prod(sizes[letter] for letter in sizes if roles[letter] == "k")
    operands, flags, exact = (v, other), (False, constant), not d.floating(v)
    if d.chance(3) and not constant:
        operands, equation = (other, v), f"{''.join(second)},{''.join(first)}->{''.join(result)}"
    return d.op("contract", *operands, constant=flags, equation=equation, work=work, exact=exact)


def _row(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not d.floating(v) or not t.rank:
        raise Unsuitable
    axes = tuple(sorted(d.draw(st.sets(st.integers(0, t.rank - 1), min_size=1, max_size=2))))
    work = 3 * math.prod(t.dims[a] for a in axes)
    if d.chance(2):
        return d.op("softmax", v, axes=axes, log=d.chance(2), work=work)
    rows = np.moveaxis(d.arrays[v].astype(np.float64), axes, range(len(axes)))
    if rows.reshape(work // 3, -1).std(axis=0).min() < 0.05:
        raise Unsuitable
    return d.op("normalize", v, axes=axes, epsilon=1e-3, work=work)


def _sort(d: Drawing, v: int) -> int:
    t = d.type(v)
    if v not in d.exact or not t.rank:
        raise Unsuitable
    axis = d.integer(0, t.rank - 1)
    run = d.integer(1, 20)
    keep = d.integer(1, run)
    return d.op(
        "sort", v, axis=axis, run=run, keep=keep, largest=d.chance(2), exact=True, work=min(run, t.dims[axis]) ** 2
    )


def _scatter(d: Drawing, v: int) -> int:
    t = d.type(v)
    if not t.rank or t.dtype == "bool":
        raise Unsuitable
    axis = d.integer(0, t.rank - 1)
    dims = tuple(d.integer(1, 5 if a == axis else size) for a, size in enumerate(t.dims))
    updates = d.input(dims, t.dtype, free_layout=False)
    chosen = tuple(size if a == axis or d.chance(2) else 1 for a, size in enumerate(dims))
    places = np.random.default_rng(math.prod(dims)).integers(-1, t.dims[axis] + 1, chosen)
    indices = d.input(chosen, "int64", free_layout=False, array=places)
    kind = d.one_of(["replace", "sum", "max", "min"])
    exact = not d.floating(v) or kind != "sum"
    return d.op("scatter", v, indices, updates, axis=axis, kind=kind, exact=exact, work=dims[axis])


ANCHORS = (_reduce, _window, _conv, _conv, _contract, _contract, _row, _sort, _scatter)
MOVEMENT = (_reshape, _transpose, _slice, _concat, _pad, _expand, _gather)
POINTWISE = (_unary, _unary, _binary, _binary, _binary, _select, _cast)
FOLLOWING = (*POINTWISE, *POINTWISE, _reshape, _transpose)  # what planned groups have after an anchor


@st.composite
def random_groups(draw: Any) -> RandomGroup:
    """A group of up to seven ops with one, several or no anchors."""
    d = Drawing(draw)
    dtype = d.one_of(FLOATS) if not d.chance(4) else d.one_of((*INTEGERS, "bool"))
    rank = d.one_of([0, 1, 2, 3, 4, 4, 5])
    d.loose = dtype == "float16"
    value = d.input(d.dims(rank, ELEMENTS // 4), dtype)
    anchors = d.one_of([0, 1, 1, 1, 1, 2])
    # Planned groups have one anchor, and only epilogue ops after it; schedules have to refuse the others.
    planned = not d.chance(4)
    for _ in range(d.integer(1, 7)):
        choices = (
            FOLLOWING
            if d.anchors and planned
            else (*POINTWISE, *MOVEMENT, *(ANCHORS * 2 if d.anchors < anchors else ()))
        )
        step = d.one_of(choices)
        mark = len(d.builder.types), len(d.builder.inputs), len(d.builder.splats)
        try:
            value = step(d, value)
        except Unsuitable:
            _undo(d, *mark)
            continue
        d.anchors += step in ANCHORS
    if not d.builder.members:
        value = d.op("unary", value, kind="not" if dtype == "bool" else "relu", exact=True)
    return _finished(d, value)


def _undo(d: Drawing, types: int, inputs: int, splats: int) -> None:
    """Forget what an unsuitable op added."""
    for v in range(types, len(d.builder.types)):
        d.arrays.pop(v, None)
        d.layouts.pop(v, None)
        d.exact.discard(v)
    del d.builder.types[types:], d.builder.inputs[inputs:], d.builder.splats[splats:]


def _finished(d: Drawing, value: int) -> RandomGroup:
    """Choose outputs, layouts and the buffers that outputs lie in; drop what no output needs."""
    made = {m.result: m for m in d.builder.members}
    size = d.type(value).size
    outputs = [value]
    others = [v for v in made if d.type(v).size == size and v != value]
    anchored = [v for v in made if semantics(made[v].node.op).mapping_type == "many-to-many"]
    if others and d.chance(3):
        other = d.one_of(others)
        # A group with an anchor yields the anchor's result or what follows it.
        if not anchored or other >= anchored[0]:
            outputs.append(other)
    needed: set[int] = set()
    todo = list(outputs)
    while todo:
        v = todo.pop()
        if v not in needed:
            needed.add(v)
            todo += made[v].operands if v in made else ()
    parents: dict[int, tuple[int, ...]] = {}
    layouts = dict(d.layouts)
    for v in outputs:
        dims = d.type(v).dims
        if len(dims) > 1 and d.chance(3):
            layouts[v] = tuple(d.draw(st.permutations(range(len(dims)))))
        if dims and d.chance(3):
            axis = d.integer(0, len(dims) - 1)
            parents[v] = (*dims[:axis], dims[axis] + d.one_of([1, 3, 4, 8]), *dims[axis + 1 :])
    whole = d.builder.group(*outputs, layouts=layouts)
    group = dataclasses.replace(
        whole,
        inputs=tuple(v for v in whole.inputs if v in needed),
        members=tuple(m for m in whole.members if m.result in needed),
        immediates=tuple((v, n) for v, n in whole.immediates if v in needed),
    )
    return RandomGroup(group, [d.arrays[v] for v in group.inputs], [d.arrays[v] for v in outputs], parents, d.loose)
