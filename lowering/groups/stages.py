"""The stages of a group: which ops are computed over boxes one after the other, and what each hands to those after it.

A kernel of several anchors computes a tile of its outputs in stages. Each stage has a *root*: an anchor, or an op whose
elements nothing before it holds in the right place. What follows a root element by element is its epilogue, stored
where it ends up (a concatenation is so written by several stages); all else is computed where it is read. Values that
cross from one stage to another are *kept*: a box of each lies in the block's shared memory, or in a thread's scratch.

Straight, merge and split are shapes of this one graph (Cross-Layer Data Reuse, section 3; no case is told apart here).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mlirfuse.dialect import indexing_of, semantics
from mlirfuse.dialect.indexing import Expr, Var
from mlirfuse.dialect.node import out_variables
from mlirfuse.element_types import SINGLE
from mlirfuse.lowering.groups.forward import Landing, forward, same_landing
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.groups.reads import Read, first_reduced
from mlirfuse.lowering.groups.stage_reads import StageReads, stage_reads

__all__ = ["Stage", "Stages", "stages_of"]

_ELEMENTWISE = ("unary", "binary", "select", "cast")
_INLINE = (*_ELEMENTWISE, "reshape", "transpose", "slice", "expand", "pad", "concat", "gather")
_ROOTS = ("conv", "contract", "window", "reduce", *_INLINE)


@dataclass(frozen=True)
class Stage:
    """One root with all that is computed beside it, as a group: its outputs are what the stage stores.

    Values are numbered as in the whole group. Operands are the whole group's, kept values of stages before, and parts
    of concatenations that other stages write (these are never read).
    """

    number: int
    root: Member
    group: Group
    where: tuple[tuple[int, tuple[Expr, ...]], ...]  # for each output, where `out_variables` of the root's result land

    @cached_property
    def landing(self) -> dict[int, tuple[Expr, ...]]:
        return dict(self.where)

    @cached_property
    def _reads(self) -> StageReads:
        return stage_reads(self.group, self.root, self.where)

    @property
    def root_reads(self) -> tuple[Read, ...]:
        """What one element of the root's result reads, in `out_variables` of it."""
        return self._reads.root

    @cached_property
    def length(self) -> int:
        """Elements that one element of the root's result combines."""
        return math.prod(indexing_of(self.root.node).reduction_sizes)

    @property
    def depth(self) -> int:
        """Positions of the first dimension that the root reduces: the input channels of a convolution."""
        sizes = indexing_of(self.root.node).reduction_sizes
        return sizes[0] if sizes else 1

    @property
    def depth_variable(self) -> Var | None:
        """The variable of that dimension in `root_reads`."""
        return first_reduced(self.root)

    @cached_property
    def flops_per_element(self) -> float:
        """Of the root's result, its epilogue and prologue included."""
        node = self.root.node
        beside = [m.node for m in self.group.members if m.result != self.root.result]
        each = sum(semantics(n.op).flops(n) / max(1, n.out.size) for n in beside)
        return semantics(node.op).flops(node) / node.out.size + each

    def root_index(self, value: int) -> tuple[tuple[Expr, ...], ...]:
        """Where in the root's result an output's element comes from, in `out_variables` of the output."""
        return self._reads.back[value]

    @property
    def epilogue_reads(self) -> tuple[Read, ...]:
        """What the epilogue of one element reads beside the root's result."""
        return self._reads.epilogue


@dataclass(frozen=True)
class Stages:
    """The stages of a group in the order in which they run; `kept` are the values between them."""

    group: Group
    stages: tuple[Stage, ...]
    kept: tuple[int, ...]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def writers(self, value: int) -> tuple[Stage, ...]:
        """The stages that store a value, or parts of it."""
        return tuple(s for s in self.stages if value in s.group.outputs)

    def readers(self, value: int) -> tuple[Stage, ...]:
        """The stages that read a kept value."""
        return tuple(s for s in self.stages if any(r.value == value for r in (*s.root_reads, *s.epilogue_reads)))

    @cached_property
    def sinks(self) -> tuple[Stage, ...]:
        """The stages that store outputs of the group."""
        return tuple(s for s in self.stages if set(s.group.outputs) & set(self.group.outputs))

    @cached_property
    def lifetimes(self) -> dict[int, tuple[int, int]]:
        """The first stage that writes each kept value, and the last that reads it."""
        return {
            v: (self.writers(v)[0].number, max(s.number for s in (*self.writers(v), *self.readers(v))))
            for v in self.kept
        }

    @cached_property
    def alive(self) -> tuple[tuple[int, ...], ...]:
        """The kept values that are alive while each stage runs."""
        lives = self.lifetimes.items()
        return tuple(tuple(v for v, (first, last) in lives if first <= s.number <= last) for s in self.stages)


def stages_of(group: Group) -> Stages | str:
    """The stages that compute a group, or why it has none."""
    found = _Stages(group)
    for member in group.members:
        if complaint := found.add(member):
            return complaint
    return found.finish()


class _Stages:
    """`homes[v]`: the stages whose roots' elements v holds; `ready[v]`: the stage after which v is complete."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.roots: list[Member] = []
        self.homes: dict[int, tuple[int, ...]] = {}
        self.ready: dict[int, int] = {}
        self.kept: dict[int, None] = {}
        self.landings: dict[tuple[int, int], Landing] = {}

    def add(self, member: Member) -> str | None:
        """Give one member its place: a root, an epilogue or inline; or say why it has none."""
        if not member.is_anchor and self._follow(member):
            return None
        inline = not member.is_anchor and member.node.op in _INLINE and member.result not in self.group.outputs
        for v in member.operands:
            if self.homes.get(v):
                self.kept[v] = None
        if inline:
            self.ready[member.result] = max((self.ready.get(v, -1) for v in member.operands), default=-1)
            return None
        if member.node.op not in _ROOTS:
            return f"fusion.{member.node.op} has no stage that works on a box"
        if member.node.out.dtype not in SINGLE or not member.node.out.size:
            return f"a stage computes in single precision, and fusion.{member.node.op} gives {member.node.out}"
        number = len(self.roots)
        self.roots.append(member)
        self._settle(member.result, (number,))
        self.landings[member.result, number] = Landing(out_variables(member.node.out.dims))
        return None

    def _settle(self, value: int, homes: tuple[int, ...]) -> None:
        self.homes[value], self.ready[value] = homes, max(homes)

    def _follow(self, member: Member) -> bool:
        """Let an op that is no anchor follow the stages that its operands are in, if its elements are in place."""
        homed = [p for p, v in enumerate(member.operands) if self.homes.get(v)]
        if not homed:
            return False
        homes = [self.homes[member.operands[p]] for p in homed]
        others = [self.ready.get(v, -1) for p, v in enumerate(member.operands) if p not in homed]
        if member.node.op == "concat":
            together = sorted(h for each in homes for h in each)
            if others or len(set(together)) < len(together):
                return False
            carried = list(zip(homed, homes, strict=True))
        elif all(h == homes[0] for h in homes):
            together = list(homes[0])
            carried = list(zip(homed, homes, strict=True))
        elif member.node.op in _ELEMENTWISE and all(len(h) == 1 for h in homes):
            together = [max(h[0] for h in homes)]
            carried = [(p, h) for p, h in zip(homed, homes, strict=True) if h[0] == together[0]]
        else:
            return False
        if any(r >= together[0] for r in others):
            return False
        landings = self._forwarded(member, carried)
        if landings is None:
            return False
        for p, h in zip(homed, homes, strict=True):
            if (p, h) not in carried:
                self.kept[member.operands[p]] = None
        self.landings.update({(member.result, h): landing for h, landing in landings.items()})
        self._settle(member.result, tuple(together))
        return True

    def _forwarded(self, member: Member, carried: Sequence[tuple[int, tuple[int, ...]]]) -> dict[int, Landing] | None:
        found: dict[int, Landing] = {}
        for position, homes in carried:
            for home in homes:
                landing = forward(self.group, member, self.landings[member.operands[position], home], position)
                if landing is None or not landing.one_to_one or member.node.op == "pad":
                    return None
                if home in found and not same_landing(found[home], landing):
                    return None
                found[home] = landing
        return found

    def finish(self) -> Stages | str:
        for v in (*self.kept, *self.group.outputs):
            if v not in self.homes:
                return "an output is an operand, or does not depend on any stage"
        if any(self.group.types[v].dtype not in SINGLE for v in self.kept):
            return "what is kept between stages is in single precision"
        stages = [self._stage(number, root) for number, root in enumerate(self.roots)]
        if idle := [s for s in stages if not s.group.outputs]:
            return f"nothing reads the result of fusion.{idle[0].root.node.op}"
        found = Stages(self.group, tuple(stages), tuple(self.kept))
        if unread := [v for v in found.kept if not found.readers(v)]:  # a kernel of which only padding meets its input
            return f"nothing reads the result of fusion.{self.group.producers[unread[0]].node.op}"
        return found

    def _stage(self, number: int, root: Member) -> Stage:
        group = self.group
        stored = tuple(v for v in dict.fromkeys((*self.kept, *group.outputs)) if number in self.homes[v])
        members: set[int] = set()
        operands: set[int] = set()
        todo = list(stored)
        while todo:
            value = todo.pop()
            if value in members or value in operands or value in group.splats:
                continue
            homes = self.homes.get(value, ())
            if value in group.inputs or (homes and number not in homes):
                operands.add(value)
            else:
                members.add(value)
                todo.extend(group.producers[value].operands)
        part = replace(
            group,
            inputs=tuple(sorted(operands)),
            members=tuple(m for m in group.members if m.result in members),
            outputs=stored,
        )
        return Stage(number, root, part, tuple((v, self.landings[v, number].index) for v in stored))
