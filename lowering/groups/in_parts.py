"""Reductions that stages add up in parts, so that a block never holds all channels of what it keeps.

for each part of the channels of a stage's operand:
    the stages that compute this part;  sum += products
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from mlirfuse.element_types import SINGLE
from mlirfuse.lowering.groups.boxes import TileBoxes
from mlirfuse.lowering.groups.stages import Stage, Stages

__all__ = ["boxes_in_parts", "part_problem"]

_SHARES = (4, 16)  # numbers of parts that are tried
_STAGES = 2  # that are tried, the last ones
_LEAST = 4  # channels of a part


def part_problem(stages: Stages, tile: Sequence[int], parts: Sequence[int]) -> str | None:
    """Why reductions are not added up in these parts, or None; `parts` has a number for each stage, 0 for the whole."""
    split = [s for s in stages if parts[s.number]]
    for stage in split:
        node, part = stage.root.node, parts[stage.number]
        if node.op not in ("conv", "contract") or node.attrs.get("groups", 1) > 1:
            return f"stage {stage.number} does not add up parts of all channels"
        if stage.depth % part or part >= stage.depth:
            return f"stage {stage.number}: parts of {part} do not divide {stage.depth} channels"
    boxes = TileBoxes(stages, tile, parts)
    once: set[int] = set()
    for stage in split:
        if complaint := _inner_problem(boxes, stage, once):
            return f"stage {stage.number}: {complaint}"
        once |= {s.number for s in boxes.inner(stage)}
    return None


def _inner_problem(boxes: TileBoxes, stage: Stage, once: Collection[int]) -> str | None:
    """Why no stages run for each part of this one's reduction, or None; those of `once` serve another."""
    inner = {s.number for s in boxes.inner(stage)}
    if not inner:
        return "no stage computes the parts that it adds up"
    if inner & set(once) or any(boxes.parts[n] for n in inner):
        return "what computes its parts is itself added up in parts"
    return _used_apart(boxes.stages, stage.number, inner)


def _used_apart(stages: Stages, number: int, inner: Collection[int]) -> str | None:
    """Why the stages `inner` cannot run for each part that stage `number` adds up: something else needs them whole."""
    afterwards = {r.value for r in stages.stages[number].epilogue_reads}  # when all parts have been added up
    for n in inner:
        for v in stages.stages[n].group.outputs:
            readers = {s.number for s in stages.readers(v)} if v in stages.kept else set()
            if v in stages.group.outputs or v in afterwards or not readers <= {number, *inner}:
                return f"what stage {n} computes of its parts is used elsewhere too"
    return None


def boxes_in_parts(stages: Stages, tile: Sequence[int]) -> Iterator[TileBoxes]:
    """The boxes of a tile with one reduction in parts: of the last stages first, in few parts first."""
    for stage in [s for s in reversed(stages.stages) if _adds_up(s)][:_STAGES]:
        for share in _SHARES:
            part = stage.depth // share
            if part < _LEAST or stage.depth % part:
                continue
            boxes = TileBoxes(stages, tile, tuple(part if s is stage else 0 for s in stages))
            if _inner_problem(boxes, stage, set()) is None:
                yield boxes


def _adds_up(stage: Stage) -> bool:
    node = stage.root.node
    return node.op in ("conv", "contract") and node.attrs.get("groups", 1) == 1 and node.out.dtype in SINGLE
