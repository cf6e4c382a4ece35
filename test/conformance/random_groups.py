"""Random fusion groups: up to seven ops with one, several or no anchors, the arrays they read and what they give."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from drawing import ELEMENTS, FLOATS, INTEGERS, Drawing
from drawn_anchors import ANCHORS
from drawn_movement import MOVEMENT, REORDERING
from drawn_pointwise import POINTWISE
from hypothesis import strategies as st

from mlirfuse.dialect import semantics
from mlirfuse.lowering.groups.group import Group

__all__ = ["RandomGroup", "random_groups"]

FOLLOWING = (*POINTWISE, *POINTWISE, *REORDERING)  # what planned groups have after an anchor


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
        made = d.attempt(step, value)
        if made is not None:
            value = made
            d.anchors += step in ANCHORS
    if not d.builder.members:
        value = d.op("unary", value, kind="not" if dtype == "bool" else "relu", exact=True)
    return _finished(d, value)


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
    group, parents = d.finished(outputs, 3)
    return RandomGroup(group, [d.arrays[v] for v in group.inputs], [d.arrays[v] for v in outputs], parents, d.loose)
