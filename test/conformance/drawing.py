"""A fusion group while it is drawn, op by op, together with the arrays that the ops' definitions give.

The arrays are computed while a group is drawn, so that an op is only applied where its result can be compared: inside
the domain of a function, to values that stay small, and, where the smallest rounding error would change the
result (comparisons, rounding, positions of extremes), to values that are exact.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from group_builder import GroupBuilder
from hypothesis import strategies as st

from mlirfuse.dialect import semantics
from mlirfuse.dialect.node import Node
from mlirfuse.lowering.groups.group import Group

__all__ = ["ELEMENTS", "FLOATS", "INTEGERS", "Drawing", "Unsuitable"]

ELEMENTS = 6000  # of the largest value of a group
WORK = 400_000  # multiply-adds, or steps of a reduction
SIZES = (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 33, 40)
FLOATS = ("float32", "float32", "float32", "float32", "float64", "float16")
INTEGERS = ("int32", "int64", "int8", "uint8", "int16")


class Unsuitable(Exception):
    """The op that was drawn cannot be applied here."""


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

    def attempt(self, step: Any, value: int) -> int | None:
        """What a step makes of a value; None where it does not suit, and then nothing of it is left."""
        b = self.builder
        types, inputs, splats, members = len(b.types), len(b.inputs), len(b.splats), len(b.members)
        try:
            return step(self, value)
        except Unsuitable:
            for v in range(types, len(b.types)):
                self.arrays.pop(v, None)
                self.layouts.pop(v, None)
                self.exact.discard(v)
            del b.types[types:], b.inputs[inputs:], b.splats[splats:], b.members[members:]
            return None

    def finished(self, outputs: list[int], one_in: int) -> tuple[Group, dict[int, tuple[int, ...]]]:
        """The group of what these outputs need, and the larger tensors that some of them are the leading part of.

        One output in so many has a layout that is drawn, and one in so many is such a part.
        """
        needed = self._needed(outputs)
        layouts = {v: layout for v, layout in self.layouts.items() if v in needed}
        parents: dict[int, tuple[int, ...]] = {}
        for v in outputs:
            dims = self.type(v).dims
            if len(dims) > 1 and self.chance(one_in):
                layouts[v] = tuple(self.draw(st.permutations(range(len(dims)))))
            if dims and self.chance(one_in):
                axis = self.integer(0, len(dims) - 1)
                parents[v] = (*dims[:axis], dims[axis] + self.one_of([1, 3, 4, 8]), *dims[axis + 1 :])
        whole = self.builder.group(*outputs, layouts=layouts)
        group = dataclasses.replace(
            whole,
            inputs=tuple(v for v in whole.inputs if v in needed),
            members=tuple(m for m in whole.members if m.result in needed),
            immediates=tuple((v, n) for v, n in whole.immediates if v in needed),
        )
        return group, parents

    def _needed(self, outputs: list[int]) -> set[int]:
        made = {m.result: m for m in self.builder.members}
        needed: set[int] = set()
        todo = list(outputs)
        while todo:
            v = todo.pop()
            if v not in needed:
                needed.add(v)
                todo += made[v].operands if v in made else ()
        return needed

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
