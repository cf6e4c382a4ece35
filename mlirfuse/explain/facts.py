"""The explanation of a plan as plain data: operators, groups, and every edge with what became of it.

`Explanation.to_dict` is the JSON of `mlirfuse explain`; docs/explain-schema.md documents each field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.algebra.rewrite import Rewrite
from mlirfuse.lowering.groups.reuse import Reuse, SideBySideReuse
from mlirfuse.lowering.plan.verdict import Proof

__all__ = [
    *("SCHEMA", "Edge", "Explanation", "GroupFacts", "JoinedEdge", "Operator", "Override", "Proof", "Reuse", "Rewrite"),
    "SideBySideReuse",
    *("Totals", "Value"),
]

SCHEMA = 1  # of the JSON: counts up where a field changes its meaning or goes

Numbers = Mapping[str, float | int | str]


@dataclass(frozen=True)
class Operator:
    """One operation after rewriting; `number` is its place in the program.

    `place` is "group" (then `group` is the number of its group), "host" (a node without kernels) or "in place" (a
    concatenation whose operands are written into its buffer). `reads` are the operators that make its operands, each
    once. `flops` are those of computing its result once.
    """

    number: int
    op: str
    nodes: tuple[str, ...]
    mapping: str
    shape: tuple[int | None, ...]
    dtype: str
    bytes: int
    flops: int
    place: str
    group: int | None
    reads: tuple[int, ...]

    @property
    def label(self) -> str:
        """What people call it: its ONNX nodes, or its kind and number."""
        return "+".join(self.nodes) or f"{self.op}#{self.number}"


@dataclass(frozen=True)
class GroupFacts:
    """One group, that is one launch.

    `anchors` are its Many-to-Many operators, in order, `anchor` the one of most work, None without. `bytes_read` and
    `bytes_written` move each operand and result once (of a table that is gathered from, as much as is taken).
    `bytes_not_stored` are the values that pass from one ONNX node to another inside, each once; `bytes_saved` is their
    traffic: without fusion, each would be written, and read by every node that needs it. `flops_added` are computed
    again because an element is read in several places, or by several tiles. `seconds` is a roofline,
    `predicted_seconds` what the cost model says of the scheduled kernel (None before it is scheduled). `proof` says of
    anchors that DNNFusion's table keeps apart why they are together, `reuse` what their tiles share, `side_by_side`
    what parts between which no value passes take and move in one grid.
    """

    number: int
    nodes: tuple[str, ...]
    ops: tuple[str, ...]
    operators: tuple[int, ...]
    anchor: str | None
    anchors: tuple[str, ...]
    mapping: str
    mode: str
    kernel: str | None
    schedule: Mapping[str, Any] | None
    shape: tuple[int | None, ...]
    flops: int
    flops_added: int
    bytes_read: int
    bytes_written: int
    bytes_not_stored: int
    bytes_saved: int
    seconds: float
    launches: int = 1
    predicted_seconds: float | None = None
    proof: Proof | None = None
    reuse: Reuse | None = None
    side_by_side: SideBySideReuse | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GroupFacts:
        """The inverse of `dataclasses.asdict`, also from JSON."""
        kinds: dict[str, Any] = {"proof": Proof, "reuse": Reuse, "side_by_side": SideBySideReuse}
        parts = {name: kind.from_dict(data[name]) for name, kind in kinds.items() if data.get(name) is not None}
        return _made(cls, {**data, **parts})


@dataclass(frozen=True)
class Edge:
    """A value that one operator makes and another reads, and that is stored between them; and why.

    `kind` is the check that refused (docs/explain-schema.md lists them), `numbers` are what it decided on.
    `producer_number` and `consumer_number` are operators.
    """

    producer: tuple[str, ...]
    consumer: tuple[str, ...]
    producer_number: int
    consumer_number: int
    kind: str
    reason: str
    numbers: Numbers = field(default_factory=dict)


@dataclass(frozen=True)
class JoinedEdge:
    """A value that one operator makes and another of the same group reads: `bytes` that need not be stored for it.

    `stored` says that it is stored all the same, for a reader outside of the group.
    """

    producer: tuple[str, ...]
    consumer: tuple[str, ...]
    producer_number: int
    consumer_number: int
    group: int
    bytes: int
    stored: bool


@dataclass(frozen=True)
class Value:
    """An input or output of the network: its name, shape, and the operators that read it or the one that makes it."""

    name: str
    shape: tuple[int | None, ...]
    operators: tuple[int, ...]


@dataclass(frozen=True)
class Totals:
    """The figures of one plan, in ops, bytes and seconds; what an override costs is their difference.

    `intermediate_bytes` is each value stored between launches, once; `bytes_moved` what all groups read and write;
    `host_copy_bytes` what is copied for nodes on the host, nothing where host and device have one memory.
    """

    operators: int = 0
    groups: int = 0
    launches: int = 0
    edges_fused: int = 0
    edges_not_fused: int = 0
    flops: int = 0
    flops_added: int = 0
    bytes_moved: int = 0
    bytes_not_stored: int = 0
    bytes_saved: int = 0
    intermediate_bytes: int = 0
    host_copy_bytes: int = 0
    seconds: float = 0.0
    predicted_seconds: float = 0.0

    def minus(self, other: Totals) -> dict[str, float]:
        """What this plan has more than `other`."""
        mine, theirs = asdict(self), asdict(other)
        return {name: mine[name] - theirs[name] for name in mine}


@dataclass(frozen=True)
class Override:
    """An option that overruled the planner, and the totals of the plan with and without it."""

    option: str
    with_it: Totals
    without_it: Totals

    def to_dict(self) -> dict[str, Any]:
        return {
            "option": self.option,
            "with": asdict(self.with_it),
            "without": asdict(self.without_it),
            "cost": self.with_it.minus(self.without_it),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Override:
        return cls(data["option"], _made(Totals, data["with"]), _made(Totals, data["without"]))


@dataclass(frozen=True)
class Explanation:
    """The plan of one network: operators, groups in running order, and every edge between two operators.

    `edges` are those that are not fused, `joined` the others; `rewrites` what was rewritten before planning, and
    what was not for which reason; `overrides` the cost of each option that overruled the planner. `device` is the name
    of the device that was planned for, in the device tables.
    """

    model: str
    target: str
    operators: tuple[Operator, ...]
    groups: tuple[GroupFacts, ...]
    edges: tuple[Edge, ...]
    joined: tuple[JoinedEdge, ...]
    inputs: tuple[Value, ...] = ()
    outputs: tuple[Value, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    overrides: tuple[Override, ...] = ()
    device: str = ""
    totals: Totals = field(default_factory=Totals)

    @property
    def on_host(self) -> tuple[str, ...]:
        return self._placed("host")

    @property
    def in_place(self) -> tuple[str, ...]:
        return self._placed("in place")

    def _placed(self, place: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n for o in self.operators if o.place == place for n in o.nodes or (o.label,)))

    # --- queries ---------------------------------------------------------------------------------

    def of_node(self, name: str) -> Explanation:
        """The part that concerns one ONNX node; an error that lists names if nothing stands for it."""
        numbers = {o.number for o in self._named(name)}
        groups = tuple(g for g in self.groups if numbers & set(g.operators))
        return self._part(groups, numbers, lambda e: {e.producer_number, e.consumer_number} & numbers)

    def of_group(self, number: int) -> Explanation:
        """One group and the edges that touch it."""
        if not 0 <= number < len(self.groups):
            raise MlirfuseError(f"There is no group {number}: the plan has groups 0 to {len(self.groups) - 1}.")
        numbers = set(self.groups[number].operators)
        touches = lambda e: {e.producer_number, e.consumer_number} & numbers  # noqa: E731
        return self._part((self.groups[number],), numbers, touches)

    def of_edge(self, names: str) -> Explanation:
        """The edges from one ONNX node to another, `names` being "A,B"; an error that says who reads A if none is."""
        producer, consumer = self._pair(names)
        made, read = ({o.number for o in self._named(name)} for name in (producer, consumer))
        part = self._part(
            tuple(g for g in self.groups if (made | read) & set(g.operators)),
            made | read,
            lambda e: e.producer_number in made and e.consumer_number in read,
        )
        if not part.edges and not part.joined and not self._same_operator(producer, consumer):
            all_edges: list[Edge | JoinedEdge] = [*self.edges, *self.joined]
            readers = [e.consumer for e in all_edges if e.producer_number in made]
            raise MlirfuseError(
                f"No value passes from {producer} to {consumer}: what {producer} makes is read by "
                f"{_some(dict.fromkeys('+'.join(names) for names in readers)) or 'nobody but the caller'}."
            )
        return part

    def _same_operator(self, first: str, second: str) -> bool:
        """Whether rewriting made one operator of both nodes."""
        return any(first in o.nodes and second in o.nodes for o in self.operators)

    def _pair(self, names: str) -> tuple[str, str]:
        known = {name for o in self.operators for name in (*o.nodes, o.label)}
        parts = names.split(",")
        splits = [(",".join(parts[:i]), ",".join(parts[i:])) for i in range(1, len(parts))]
        if not splits:
            raise MlirfuseError(f"--edge takes two names, A,B: who makes the value and who reads it; found '{names}'.")
        return next((s for s in splits if s[0] in known and s[1] in known), splits[0])

    def _named(self, name: str) -> list[Operator]:
        found = [o for o in self.operators if name in o.nodes or name == o.label]
        if not found:
            known = dict.fromkeys(name for o in self.operators for name in o.nodes or (o.label,))
            close = [k for k in known if name.lower() in k.lower()]
            raise MlirfuseError(
                f"No operation stands for a node '{name}': the model has none of that name, or rewriting removed it. "
                f"{'Names that hold it are' if close else 'There are'} {_some(close or known)}."
            )
        return found

    def _part(self, groups: tuple[GroupFacts, ...], numbers: set[int], concerns: Any) -> Explanation:
        members = numbers | {n for g in groups for n in g.operators}
        nodes = {name for o in self.operators if o.number in members for name in o.nodes}
        return replace(
            self,
            operators=tuple(o for o in self.operators if o.number in members),
            groups=groups,
            edges=tuple(filter(concerns, self.edges)),
            joined=tuple(filter(concerns, self.joined)),
            rewrites=tuple(r for r in self.rewrites if nodes & set(r.nodes)),
        )

    # --- JSON ------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema": SCHEMA,
            **asdict(self),
            "overrides": [override.to_dict() for override in self.overrides],
            "on_host": list(self.on_host),
            "in_place": list(self.in_place),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Explanation:
        """The inverse of `to_dict`. ValueError, KeyError or TypeError if it is something else."""
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        lists = {"operators": Operator, "edges": Edge, "joined": JoinedEdge}
        values = {name: tuple(_made(kind, item) for item in data[name]) for name, kind in lists.items()}
        values["groups"] = tuple(map(GroupFacts.from_dict, data["groups"]))
        values |= {name: tuple(_made(Value, item) for item in data[name]) for name in ("inputs", "outputs")}
        return cls(
            model=data["model"],
            target=data["target"],
            **values,
            rewrites=tuple(_made(Rewrite, item) for item in data["rewrites"]),
            overrides=tuple(map(Override.from_dict, data["overrides"])),
            totals=_made(Totals, data["totals"]),
            device=data.get("device", ""),
        )


def _made(kind: Any, data: Mapping[str, Any]) -> Any:
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})


def _some(names: Any, limit: int = 8) -> str:
    listed = list(names)
    return ", ".join(listed[:limit]) + (", ..." if len(listed) > limit else "")
