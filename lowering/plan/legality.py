"""What one kernel can hold: every constraint as a function that gives its reason.

A block has at most one *anchor* (a Many-to-Many op), or several that form a chain (`deep`). Ops downstream of the
(last) anchor work on its result element by element, at one place of it for each element of theirs; everything else in
the block is evaluated where it is read, so nothing of it may be visible outside, and it may not cost much when it is
read more than once.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from mlirfuse.dialect import MappingType, indexing_of, semantics
from mlirfuse.dialect.indexing import Expr, Var
from mlirfuse.dialect.mixed import RESULT_SEGMENTS
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.plan.graph import Graph, GraphNode
from mlirfuse.lowering.plan.verdict import Finding

__all__ = [
    "Legality",
    "Limits",
    "is_epilogue_op",
    "is_expensive",
    "outputs_of",
    "pieces_of",
    "reads_in_place",
    "reads_of_each",
]

# One result element of these reads elements that its neighbours also read, in a loop over an operand's tile.
CONTRACTIONS = frozenset({"conv", "contract"})
_POINTWISE = frozenset({"unary", "binary", "select", "cast"})
_AT_ONCE = frozenset({"sort"})  # no element of these is computed by itself
# Their result has other elements than their operand: after an anchor they pay only where their result must be stored.
_RESIZING = frozenset({"concat", "expand", "gather", "pad", "slice"})
_CHEAP_UNARY = frozenset(
    {"abs", "ceil", "clip", "floor", "hardsigmoid", "hardswish", "isinf", "isnan", "leaky_relu", "neg", "not", "relu"}
    | {"round", "sign", "square", "thresholded_relu"}
)
_EXPENSIVE_BINARY = frozenset({"fmod", "mod", "pow"})
Place = tuple[Expr, ...]


@dataclass(frozen=True)
class Limits:
    """How large a block may become, and how often an expensive element may be computed again.

    `members` and `outputs` hold for each piece of a block without an anchor: its pieces run one after the other.
    """

    members: int = 64
    operands: int = 32
    outputs: int = 8
    evaluations: float = 2.0
    index_paths: int = 128


def is_epilogue_op(entry: GraphNode) -> bool:
    """Whether an op is at home after an anchor: its result has its operand's elements, perhaps in another order."""
    one_to_one = semantics(entry.node.op).mapping_type in (
        MappingType.ONE_TO_ONE,
        MappingType.REORGANIZE,
        MappingType.SHUFFLE,
    )
    return one_to_one and entry.node.op not in _RESIZING and not entry.boundary


def is_expensive(entry: GraphNode) -> bool:
    """Whether computing an element again costs more than reading it: transcendental functions."""
    if entry.node.op == "unary":
        return entry.node.attrs["kind"] not in _CHEAP_UNARY
    return entry.node.op == "binary" and entry.node.attrs["kind"] in _EXPENSIVE_BINARY


def outputs_of(graph: Graph, members: Collection[int]) -> list[int]:
    """The members whose results are seen outside."""
    return [m for m in sorted(members) if graph[m].returned or any(u not in members for u in graph[m].users)]


def pieces_of(graph: Graph, members: Collection[int]) -> list[set[int]]:
    """The parts of a block between which no value passes, by their first members."""
    left = set(members)
    found = []
    while left:
        piece: set[int] = set()
        todo = [min(left)]
        while todo:
            entry = graph[todo.pop()]
            if entry.index not in piece:
                piece.add(entry.index)
                todo.extend(n for n in (*entry.inputs, *entry.users) if n in left)
        found.append(piece)
        left -= piece
    return found


@dataclass(frozen=True)
class Legality:
    """The constraints of one kernel, on one graph."""

    graph: Graph
    limits: Limits = Limits()

    def complaint(self, members: Collection[int], *, at_any_price: bool = False) -> Finding | None:
        """Why these nodes cannot be one kernel, or None. Convexity is not looked at here.

        `at_any_price`: a kernel may compute expensive elements as often as it reads them.
        """
        nodes = [self.graph[m] for m in sorted(members)]
        for n in nodes:
            if n.boundary:
                return Finding(f"{n.label} is outside of all groups: {n.boundary}", {"bytes": n.bytes})
        anchors = [n for n in nodes if n.is_anchor]
        if len(anchors) > 1:
            first, second = (f"{a.label} ({a.node.op})" for a in anchors[:2])
            return Finding(f"{first} and {second} would share a kernel", {"anchors": len(anchors), "limit": 1})
        if complaint := self._too_large(nodes, members):
            return complaint
        complaint = None
        if anchors:
            complaint = self._after_anchor(anchors[0], nodes, members, at_once=anchors[0].node.op in _AT_ONCE)
        return complaint or self._recomputation(nodes, members, at_any_price)

    def after_chain(self, last: int, members: Collection[int]) -> Finding | None:
        """Why a kernel of several anchors cannot hold these nodes, `last` being the last anchor; or None."""
        nodes = [self.graph[m] for m in sorted(members)]
        return self._too_large(nodes, members) or self._after_anchor(self.graph[last], nodes, members, at_once=True)

    def too_large(self, members: Collection[int]) -> Finding | None:
        """Why no kernel can hold so many nodes, operands or results, or None."""
        return self._too_large([self.graph[m] for m in sorted(members)], members)

    def _too_large(self, nodes: list[GraphNode], members: Collection[int]) -> Finding | None:
        pieces = 1
        if len(nodes) > self.limits.members or len(nodes) > self.limits.outputs:
            pieces = 1 if any(n.is_anchor for n in nodes) else len(pieces_of(self.graph, members))
        if len(nodes) > self.limits.members * pieces:
            return _beyond(f"have {len(nodes)} operations", operations=len(nodes), limit=self.limits.members * pieces)
        outside: set[tuple[int, int]] = set()
        for n in nodes:
            for i, producer in enumerate(n.producers):
                if producer is None:
                    outside.add((n.index, i))
                elif producer not in members:
                    outside.add((-1, producer))
        if len(outside) > self.limits.operands:
            return _beyond(f"read {len(outside)} tensors", operands=len(outside), limit=self.limits.operands)
        outputs = outputs_of(self.graph, members)
        stored = len(outputs)
        if (
            stored > self.limits.outputs
            and (runs := _runs_of_types([self.graph[m] for m in outputs])) > RESULT_SEGMENTS
        ):
            return _beyond(f"store tensors of {runs} types", types=runs, limit=RESULT_SEGMENTS)
        if stored > self.limits.outputs * pieces:
            return _beyond(f"store {stored} tensors", outputs=stored, limit=self.limits.outputs * pieces)
        return None

    def several_shapes(self, members: Collection[int]) -> Finding | None:
        """Why a block without an anchor would make loops over several shapes: a kernel can, but it is two in one."""
        if any(self.graph[m].is_anchor for m in members):
            return None
        shapes = {self.graph[m].node.out.dims: m for m in reversed(outputs_of(self.graph, members))}
        if len(shapes) < 2:
            return None
        (a, m), (b, n) = list(shapes.items())[:2]
        reason = f"the kernel would store {self.graph[m].label} of shape {a} and {self.graph[n].label} of shape {b}"
        return Finding(reason, {"shapes": len(shapes), "elements": math.prod(a), "other_elements": math.prod(b)})

    def _after_anchor(
        self, anchor: GraphNode, nodes: list[GraphNode], members: Collection[int], *, at_once: bool
    ) -> Finding | None:
        """Ops that use the anchor's result can follow it, and nothing before the anchor is seen outside.

        Of an anchor that is computed `at_once`, no element can be computed again for an op that has others.
        """
        places: dict[int, Place] = {anchor.index: out_variables(anchor.node.out.dims)}
        for n in nodes:
            inherited = [(i, p) for i, p in enumerate(n.producers) if p is not None and p in places]
            if not inherited or n.is_anchor:
                continue
            elements = {"elements": n.elements, "elements_of_anchor": anchor.elements}
            if at_once and (not is_epilogue_op(n) or n.elements != anchor.elements):
                reason = f"{n.label} ({n.node.op}) has other elements than {anchor.label} ({anchor.node.op})"
                return Finding(f"{reason}, which it cannot follow in its kernel", elements)
            found = {self._place(n, i, places[p], self.graph[p]) for i, p in inherited}
            if len(found) > 1:
                reason = f"{n.label} reads elements of {anchor.label} from two places"
                return Finding(reason, {**elements, "places": len(found)})
            places[n.index] = found.pop()
        for m in outputs_of(self.graph, members):
            if m not in places:
                outside = [self.graph[u].label for u in self.graph[m].users if u not in members]
                reason = f"{self.graph[m].label} is also read by {', '.join(outside) or 'the caller'}"
                numbers = {"other_readers": len(outside) + self.graph[m].returned, "bytes_stored": self.graph[m].bytes}
                return Finding(f"{reason}, but does not follow {anchor.label}", numbers)
        return None

    @staticmethod
    def _place(entry: GraphNode, operand: int, place: Place, producer: GraphNode) -> Place:
        """Where in the anchor's result an element of `entry` comes from, through `operand` whose place is known."""
        node = entry.node
        if node.op in _POINTWISE and node.out.shape == producer.node.out.shape:
            return place
        access = indexing_of(node).operands[operand]
        values: dict[Var, Expr] = {}
        for variable, index in zip(out_variables(producer.node.out.dims), access.index, strict=True):
            for atom, _ in variable.terms:
                assert isinstance(atom, Var)
                values[atom] = index
        return tuple(e.substitute(values) for e in place)

    def _recomputation(self, nodes: list[GraphNode], members: Collection[int], at_any_price: bool) -> Finding | None:
        """Expensive elements are not computed over and over, and index arithmetic does not multiply."""
        evaluations: dict[int, float] = {}
        paths: dict[int, int] = {}
        for n in reversed(nodes):
            users = [self.graph[u] for u in n.users if u in members]
            here = [u for u in users if reads_in_place(u, n)]
            elsewhere = [u for u in users if not reads_in_place(u, n)]
            seen_outside = n.returned or len(users) < len(n.users)
            shared = max((evaluations[u.index] for u in here), default=0.0)
            apart = sum(evaluations[u.index] * reads_of_each(u, n) for u in elsewhere)
            evaluations[n.index] = max(shared, 1.0 if seen_outside else 0.0) + apart
            paths[n.index] = max((paths[u.index] for u in here), default=int(seen_outside or not users)) + sum(
                paths[u.index] for u in elsewhere if not u.is_anchor or u.node.op not in CONTRACTIONS
            )
            paths[n.index] = max(1, paths[n.index])
            if not at_any_price and evaluations[n.index] > self.limits.evaluations and is_expensive(n):
                times = evaluations[n.index]
                often = "for each use" if math.isinf(times) else f"{times:.3g} times"
                numbers = {"evaluations": often if math.isinf(times) else times, "limit": self.limits.evaluations}
                return Finding(f"every element of {n.label} ({n.node.get('kind')}) would be computed {often}", numbers)
        total = sum(paths.values())
        limit = max(self.limits.index_paths, 3 * len(nodes))
        if total > limit:
            reason = f"the kernel would evaluate its {len(nodes)} operations in {total} places"
            return Finding(reason, {"operations": len(nodes), "places": total, "limit": limit})
        return None


def _runs_of_types(outputs: list[GraphNode]) -> int:
    """How many fields a group needs for results that it lists by type; a layout may set each image apart."""
    flat = {n.node.out for n in outputs if n.node.out.rank < 3}
    return len(flat) + sum(n.node.out.rank >= 3 for n in outputs)


def _beyond(what: str, limit: int, **numbers: int) -> Finding:
    return Finding(f"the kernel would {what}, more than {limit}", {**numbers, "limit": limit})


def reads_in_place(user: GraphNode, entry: GraphNode) -> bool:
    """Whether `user` reads every element of `entry` at its own place only."""
    return user.node.op in _POINTWISE and user.node.out.shape == entry.node.out.shape


def reads_of_each(user: GraphNode, entry: GraphNode) -> float:
    """How often each element of `entry` is read when `user` is computed once."""
    node = user.node
    if node.op in CONTRACTIONS:
        return math.inf
    if node.op == "window":
        return max(1.0, math.prod(node.attrs["kernel"]) / math.prod(node.attrs["strides"]))
    if user.is_anchor or node.op in ("concat", "pad"):
        return 1.0
    return user.elements / max(1, entry.elements)
