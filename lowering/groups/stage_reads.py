"""What a stage reads, remembered: a search puts the same stage into many groups, under other value numbers each time.

Reads are found once for each *form* of a stage, which numbers values in the order in which its members name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mlirfuse.dialect import Node, TensorType
from mlirfuse.dialect.indexing import Expr
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.groups.reads import Read, element_reads

__all__ = ["StageReads", "stage_reads"]

Index = tuple[Expr, ...]


@dataclass(frozen=True)
class StageReads:
    """What one element of the root's result reads, in `out_variables` of it; what its epilogue reads beside it; and
    where in the root's result the elements of each output come from, in `out_variables` of the output."""

    root: tuple[Read, ...]
    epilogue: tuple[Read, ...]
    back: Mapping[int, tuple[Index, ...]]


@dataclass(frozen=True)
class _Form:
    """A stage apart from its place in a group: nodes with their operands and results, values by first use."""

    members: tuple[tuple[Node, tuple[int, ...], int], ...]
    splats: frozenset[int]
    root: int
    where: tuple[tuple[int, Index], ...]


def stage_reads(group: Group, root: Member, where: Sequence[tuple[int, Index]]) -> StageReads:
    """What the stage of `root` reads; `where` elements of the root's result land in each value that it stores."""
    numbers: dict[int, int] = {}

    def number(value: int) -> int:
        return numbers.setdefault(value, len(numbers))

    members = tuple((m.node, tuple(map(number, m.operands)), number(m.result)) for m in group.members)
    splats = frozenset(numbers[v] for v in group.splats if v in numbers)
    found = _reads(_Form(members, splats, numbers[root.result], tuple((numbers[v], index) for v, index in where)))
    values = list(numbers)
    return StageReads(
        tuple(Read(values[r.value], r.index, r.conditions, r.trips) for r in found.root),
        tuple(Read(values[r.value], r.index, r.conditions, r.trips) for r in found.epilogue),
        {values[v]: index for v, index in found.back.items()},
    )


@lru_cache(maxsize=4096)
def _reads(form: _Form) -> StageReads:
    group, landing = _group_of(form), dict(form.where)
    kept = (form.root, *group.inputs)
    index = out_variables(group.types[form.root].dims)
    root = _real(element_reads(group, {form.root: index}))
    epilogue = _real([r for r in element_reads(group, landing, kept=kept) if r.value != form.root])
    back: dict[int, tuple[Index, ...]] = {}
    for value in group.outputs:
        here = out_variables(group.types[value].dims)
        if landing[value] == here == index:
            back[value] = (index,)
            continue
        reads = _real(element_reads(group, {value: here}, kept=kept))
        back[value] = tuple(r.index for r in reads if r.value == form.root)
    return StageReads(root, epilogue, back)


def _group_of(form: _Form) -> Group:
    types: dict[int, TensorType] = {}
    for node, operands, result in form.members:
        types.update(zip(operands, node.inputs, strict=True))
        types[result] = node.out
    made = {result for _, _, result in form.members}
    return Group(
        tuple(types[v] for v in range(len(types))),
        tuple(v for v in types if v not in made and v not in form.splats),
        tuple(Member(*member) for member in form.members),
        tuple(v for v, _ in form.where),
        tuple((v, 0.0) for v in sorted(form.splats)),
    )


def _real(reads: Sequence[Read]) -> tuple[Read, ...]:
    """Without those that never happen: other parts of a concatenation."""
    return tuple(r for r in reads if not any(c.never for c in r.conditions))
