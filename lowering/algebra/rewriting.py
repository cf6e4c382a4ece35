"""The procedure: in each partition, the rule with the largest drop first, until none helps.

DNNFusion, section 4.2. An application must lower (FLOPs, bytes read from leaves, operations), compared in this order,
of the whole graph: values with other uses are not freed by it. So the procedure ends, and it depends on nothing but
the graph.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

from mlirfuse.lowering.algebra.conditions import CONDITIONS
from mlirfuse.lowering.algebra.expressions import Cost, Expressions
from mlirfuse.lowering.algebra.functions import chain_of
from mlirfuse.lowering.algebra.generate import RULES
from mlirfuse.lowering.algebra.match import Chain, Match, Matcher, Member, Pattern, compile_pattern, required
from mlirfuse.lowering.algebra.properties import NumericClass
from mlirfuse.lowering.algebra.rewrite import Rewrite
from mlirfuse.lowering.algebra.rule import Rule, kind_of
from mlirfuse.lowering.algebra.term import Apply, Term
from mlirfuse.lowering.algebra.trial import Trial

__all__ = ["Decision", "Rewriting"]

REACH = 4  # how many levels of readers a rule may look down


@dataclass(frozen=True)
class Decision:
    """A rule at a place in the graph: taken, or not for a `reason`. `origins` are the values it is about."""

    rule: Rule
    numeric_class: NumericClass
    before: Cost
    after: Cost
    origins: tuple[int, ...]
    reason: str = ""

    def rewrite(self, nodes: tuple[str, ...]) -> Rewrite:
        return Rewrite(
            str(self.rule), self.rule.family, self.numeric_class.text, nodes, self.before.flops, self.after.flops,
            self.before.bytes, self.after.bytes, self.reason,
        )  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    """A rule, ready to be matched; `number` is its place among all rules."""

    number: int
    rule: Rule
    pattern: Pattern
    right: Term
    operation: str | None
    needs: Counter[str]


@dataclass(frozen=True)
class _Candidate:
    """An application that helps: what it costs before and after."""

    entry: _Entry
    match: Match
    trial: Trial
    value: int
    before: Cost
    after: Cost
    gone: tuple[int, ...]
    numeric_class: NumericClass

    @property
    def rank(self) -> tuple[int, ...]:
        """The largest drop first, then the earliest value and rule."""
        return (*(-n for n in self.before.minus(self.after)), self.match.root, self.entry.number)


@cache
def _entries() -> dict[str, tuple[_Entry, ...]]:
    """The rules by what they start from: a function, or the operation of a chain."""
    found: dict[str, list[_Entry]] = defaultdict(list)
    for number, rule in enumerate(RULES):
        left, right = rule.sides
        if isinstance(left, Apply) and right == Apply(left.function, left.args[::-1]) and left != right:
            continue  # the order of operands: expressions are equal modulo this already
        pattern = compile_pattern(left)
        operation = pattern.operation if isinstance(pattern, Chain) else None
        head = operation or pattern.function  # type: ignore[union-attr]
        found[head].append(_Entry(number, rule, pattern, right, operation, required(pattern)))
    return {head: tuple(entries) for head, entries in found.items()}


@dataclass
class Rewriting:
    """Rewrites `graph` in place; `origins` says which values of the original graph each value stands for.

    Rules above the class `allow` are refused; with `only`, all but the rules whose equation it names are left out.
    """

    graph: Expressions
    allow: NumericClass = NumericClass.REASSOCIATING
    only: str = ""
    origins: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    applied: list[Decision] = field(default_factory=list)
    refused: dict[tuple[int, int], Decision] = field(default_factory=dict)  # by value and rule

    def run(self) -> None:
        """Rewrite every partition."""
        self._matcher = Matcher(self.graph, reorder=self.allow > NumericClass.EXACT)
        for partition in self.graph.partitions():
            self._improve(partition)

    def _improve(self, partition: Iterable[int]) -> None:
        dirty = set(partition)
        heap: list[tuple[tuple[int, ...], int]] = []
        while True:
            for root in sorted(dirty):
                self._push(heap, root)
            dirty = set()
            best = self._pop(heap)
            if best is None:
                return
            dirty = self._near(self._apply(best))

    def _push(self, heap: list[tuple[tuple[int, ...], int]], root: int) -> None:
        best = self._best(root)
        if best is not None:
            heapq.heappush(heap, (best.rank, root))

    def _pop(self, heap: list[tuple[tuple[int, ...], int]]) -> _Candidate | None:
        """The best candidate, looked at again: others may have changed what it would do."""
        while heap:
            rank, root = heapq.heappop(heap)
            best = self._best(root)
            if best is None:
                continue
            if best.rank <= rank:
                return best
            heapq.heappush(heap, (best.rank, root))
        return None

    def _near(self, changed: Iterable[int]) -> set[int]:
        """Values whose matches may have changed: readers, a few levels down, of what came and of what lost a reader."""
        found: set[int] = set()
        level = set(changed)
        for _ in range(REACH):
            found |= {i for i in level if i in self.graph and self.graph[i].function}
            level = {user for i in level for user in self.graph.users.get(i, ())} - found
        return found

    # --- candidates ----------------------------------------------------------------------------------

    def _best(self, root: int) -> _Candidate | None:
        """The most useful application at a value; notes those that are refused."""
        expression = self.graph.all.get(root)
        if expression is None or expression.constant:
            return None
        entries = _entries().get(chain_of(expression.function) or expression.function, ())
        heads: Counter[str] | None = None
        best: _Candidate | None = None
        for entry in entries:
            if self.only and entry.rule.equation != self.only:
                continue
            numeric_class = entry.rule.numeric_class(expression.type.dtype)
            if numeric_class is None:
                continue
            if heads is None:
                heads = self._heads(root)
            if any(heads[head] < count for head, count in entry.needs.items()):
                continue
            for match in self._matches(entry, root):
                candidate = self._judge(entry, match, numeric_class)
                if candidate is not None and (best is None or candidate.rank < best.rank):
                    best = candidate
        return best

    def _heads(self, root: int) -> Counter[str]:
        """The functions next to a value: of its operands, or of the members of its chain."""
        expression = self.graph[root]
        operation = chain_of(expression.function)
        if operation is None:
            below = set(expression.operands) if len(expression.operands) < 3 else expression.operands
            return Counter(self._head(i) for i in below)
        heads: Counter[str] = Counter()
        for members, _ in self._matcher.chains(root, operation):
            heads |= Counter(self._head(i) for _, i in members)
        return heads

    def _head(self, index: int) -> str:
        function = self.graph[index].function
        return chain_of(function) or function

    def _matches(self, entry: _Entry, root: int) -> Iterator[Match]:
        if entry.rule.regroups:
            assert entry.operation is not None
            for members, _ in self._matcher.chains(root, entry.operation):
                if len(members) > 2 and self._varied(members):
                    yield Match(root, {"": Chain(entry.operation, members)}, direct=False)
            return
        yield from self._matcher.matches(entry.pattern, root)

    def _varied(self, members: Iterable[Member]) -> bool:
        """Whether the order of a chain can matter: its members differ in size, or some are known when compiling."""
        found = [self.graph[i] for _, i in members]
        return len({e.type.size for e in found}) > 1 or any(e.constant for e in found)

    def _judge(self, entry: _Entry, match: Match, numeric_class: NumericClass) -> _Candidate | None:
        """The application, if it is allowed and helps."""
        trial = Trial(self.graph, match)
        try:
            if not all(CONDITIONS[name](trial) for name in entry.rule.where):
                return None
            value = trial.value("") if entry.rule.regroups else trial.replacement(entry.right, entry.operation)
        except ValueError:  # shapes that the right side cannot have
            return None
        if value == match.root or trial[value].type != self.graph[match.root].type:
            return None
        if not match.direct and kind_of(self.graph[match.root].type.dtype) == "float":
            numeric_class = max(numeric_class, NumericClass.REASSOCIATING)
        before, after, gone = trial.change(value)
        if before <= after:
            self._note_shared(entry, match, numeric_class, after, gone)
            return None
        if numeric_class > self.allow:
            reason = f"it is {numeric_class.text}, and only {self.allow.text} rules are allowed"
            self._refuse(entry, match, numeric_class, before, after, reason)
            return None
        return _Candidate(entry, match, trial, value, before, after, tuple(gone), numeric_class)

    def _note_shared(
        self, entry: _Entry, match: Match, numeric_class: NumericClass, after: Cost, gone: list[int]
    ) -> None:
        """Keep in mind that a rule would help if nobody else read the values inside the match."""
        if entry.rule.regroups:
            return
        inside = self._inside(match)
        shared = [i for i in inside if i not in gone]
        if not shared:
            return
        whole = self.graph.total(inside)
        if whole.flops > after.flops:
            kept = self.graph.total(shared).flops
            values = "a value of it has" if len(shared) == 1 else f"{len(shared)} of its values have"
            reason = f"{values} other uses, so that {kept} FLOPs are not saved"
            self._refuse(entry, match, numeric_class, whole, after.plus(self.graph.total(shared)), reason)

    def _inside(self, match: Match) -> list[int]:
        """The values of a match from its root down to what its variables stand for."""
        ends = {i for _, i in match.rest}
        for bound in match.bindings.values():
            if isinstance(bound, Chain):
                ends |= {i for _, i in bound.members}
            elif isinstance(bound, int):
                ends.add(bound)
        found: list[int] = []
        stack = [match.root]
        while stack:
            index = stack.pop()
            if index in found or index in ends or not self.graph[index].function:
                continue
            found.append(index)
            stack += self.graph[index].operands
        return found

    def _refuse(
        self, entry: _Entry, match: Match, numeric_class: NumericClass, before: Cost, after: Cost, reason: str
    ) -> None:
        origins = sorted(set().union(*(self.origins[i] for i in self._inside(match))))
        decision = Decision(entry.rule, numeric_class, before, after, tuple(origins), reason)
        self.refused.setdefault((match.root, entry.number), decision)

    # --- application ---------------------------------------------------------------------------------

    def _apply(self, candidate: _Candidate) -> set[int]:
        """Replace the root, and let what comes account for what goes; the values that came, or lost a reader."""
        root = candidate.match.root
        operands = {o for i in candidate.gone for o in self.graph[i].operands}
        value, new = candidate.trial.commit(candidate.value)
        self._matcher.forget()
        origins = set().union(*(self.origins[i] for i in candidate.gone))
        for index in new or [value]:
            self.origins[index] |= origins
        for index in self.graph.replace(root, value):
            home = self.graph.current(index)
            if home != index and home not in new:
                self.origins[home] |= self.origins[index]
        self.refused = {key: entry for key, entry in self.refused.items() if key[0] in self.graph}
        self.applied.append(
            Decision(
                candidate.entry.rule, candidate.numeric_class, candidate.before, candidate.after, tuple(sorted(origins))
            )
        )
        changed = {self.graph.current(i) for i in (*new, value, *operands)}
        return {
            i for i in changed | {o for i in new if i in self.graph for o in self.graph[i].operands} if i in self.graph
        }
