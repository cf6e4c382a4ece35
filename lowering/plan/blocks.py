"""The blocks that a plan consists of, while they grow: which node is in which."""

from __future__ import annotations

from dataclasses import dataclass

from mlirfuse.lowering.plan.graph import Graph
from mlirfuse.lowering.plan.reachability import Reachability

__all__ = ["Block", "Blocks", "part_with"]


@dataclass
class Block:
    """Nodes of one kernel; `parts` are the blocks of one anchor each that a chain was made of, in its order."""

    members: set[int]
    mapping: str
    parts: tuple[Block, ...] = ()


class Blocks:
    """A block for each node, or None as long as it has none; contracted in `reachability` as they are closed."""

    def __init__(self, graph: Graph, reachability: Reachability) -> None:
        self.graph = graph
        self.reachability = reachability
        self.of: list[Block | None] = [None] * len(graph)

    def close(self, block: Block) -> None:
        """Its nodes belong to it from now on, and to no block before it."""
        for m in block.members:
            self.of[m] = block
        self.reachability.contract(block.members)

    def every(self) -> list[Block]:
        """Every block once, by its first node."""
        return list({id(b): b for b in self.of if b is not None}.values())

    def has_anchor(self, block: Block) -> bool:
        """Whether one of its nodes is an anchor."""
        return any(self.graph[m].is_anchor for m in block.members)

    def feeds(self, first: Block, second: Block) -> bool:
        """Whether the second reads a result of the first."""
        return any(p in first.members for m in second.members for p in self.graph[m].inputs)

    def free_neighbours(self, block: Block, producers: bool) -> list[int]:
        """Nodes on one side of it that are in no block: producers from the last one back, consumers from the first."""
        found: set[int] = set()
        for m in block.members:
            entry = self.graph[m]
            found.update(entry.inputs if producers else entry.users)
        free = (n for n in found - block.members if self.of[n] is None and not self.graph[n].boundary)
        return sorted(free, reverse=producers)

    def pairs_without_anchors(self) -> list[tuple[Block, Block]]:
        """Pairs of blocks without anchors, in order, that an edge joins or that have a reader or producer in common."""
        found: dict[tuple[int, int], tuple[Block, Block]] = {}
        for entry in self.graph:
            around = sorted({n for p in entry.inputs for n in self.graph.parts_of(p)} | {entry.index, *entry.users})
            near = [b for n in around if (b := self.of[n]) is not None and not self.has_anchor(b)]
            blocks = list({id(b): b for b in near}.values())
            for i, first in enumerate(blocks):
                for second in blocks[i + 1 :]:
                    pair = (second, first) if self.feeds(second, first) else (first, second)
                    found.setdefault((id(pair[0]), id(pair[1])), pair)
        return list(found.values())


def part_with(block: Block, member: int) -> Block:
    """The part of a chain that a node is in; of another block, the block."""
    return next((part for part in block.parts if member in part.members), block)
