"""The parts of a group between which no value passes: each could be a kernel of its own."""

from __future__ import annotations

from dataclasses import replace

from mlirfuse.lowering.groups.group import Group

__all__ = ["components"]


def components(group: Group) -> tuple[Group, ...]:
    """The parts as groups with the same value numbers, by their first ops; a group that hangs together is its only one.

    What only feeds one output each belongs to that part; an op without operands that are computed may feed several, and
    then joins them.
    """
    leader: dict[int, int] = {}

    def find(value: int) -> int:
        while leader[value] != value:
            value = leader[value]
        return value

    for member in group.members:
        leader[member.result] = member.result
        for operand in member.operands:
            if operand in leader:
                a, b = find(operand), find(member.result)
                leader[max(a, b)] = min(a, b)
    parts: dict[int, list[int]] = {}
    for member in group.members:
        parts.setdefault(find(member.result), []).append(member.result)
    if len(parts) < 2:
        return (group,)
    return tuple(_part(group, frozenset(values)) for values in parts.values())


def _part(group: Group, values: frozenset[int]) -> Group:
    members = tuple(m for m in group.members if m.result in values)
    read = {v for m in members for v in m.operands}
    return replace(
        group,
        inputs=tuple(v for v in group.inputs if v in read),
        members=members,
        outputs=tuple(v for v in group.outputs if v in values),
    )
