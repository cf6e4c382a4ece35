"""A network cut where all of it passes through one value: its blocks, found without knowing what they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["blocks_of"]

_ANCHORED = "many-to-many"


def blocks_of(operators: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """The operators of an explanation as blocks, in order; each is a list of their numbers.

    A block ends where everything after it reads nothing before it but its last value. A straight stretch is
    a block of its own where it holds an operator that combines elements, and else belongs to the block before.
    """
    reach = 0  # the last reader of anything so far
    last_reader = {o["number"]: o["number"] for o in operators}
    for o in operators:
        for source in o["reads"]:
            last_reader[source] = max(last_reader[source], o["number"])
    pieces: list[list[int]] = [[]]
    for o in operators:
        pieces[-1].append(o["number"])
        if reach <= o["number"]:
            pieces.append([])
        reach = max(reach, last_reader[o["number"]])
    anchored = {o["number"] for o in operators if o["mapping"] == _ANCHORED}
    blocks: list[list[int]] = []
    straight = False
    for piece in filter(None, pieces):
        if len(piece) > 1:
            blocks.append(piece)
            straight = False
        elif blocks and (straight or not anchored.intersection(piece)):
            blocks[-1] += piece
        else:
            blocks.append(piece)
            straight = True
    return blocks
