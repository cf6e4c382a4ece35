"""Why a network is fused as it is: groups and the edges between them, as plain data.

Read from a module at stage planned or scheduled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mlirfuse.dialect import attribute_value, from_attribute, onnx_nodes
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.lowering.plan.verdict import Verdict
from mlirfuse.lowering.schedule.group import Group, group_of
from mlirfuse.mlir import context, ir

__all__ = ["Explanation", "GroupFacts", "explain_module", "explain_text"]


@dataclass(frozen=True)
class GroupFacts:
    """One group, that is one launch.

    `bytes_read` and `bytes_written` move each operand and result once. `bytes_not_stored` are the values that pass from
    one ONNX node to another inside: without fusion, each would be written to memory and read again.
    """

    number: int
    nodes: tuple[str, ...]
    ops: tuple[str, ...]
    mapping: str
    mode: str
    schedule: Mapping[str, Any] | None
    shape: tuple[int | None, ...]
    flops: int
    bytes_read: int
    bytes_written: int
    bytes_not_stored: int


@dataclass(frozen=True)
class Explanation:
    """The plan of one network: groups in running order, nodes outside of groups, and every edge that is not fused."""

    model: str
    stage: str
    groups: tuple[GroupFacts, ...]
    on_host: tuple[str, ...] = ()
    in_place: tuple[str, ...] = ()
    edges: tuple[Verdict, ...] = field(default=())

    @property
    def bytes_not_stored(self) -> int:
        return sum(group.bytes_not_stored for group in self.groups)

    def of_node(self, name: str) -> Explanation:
        """The part that concerns one ONNX node; empty if nothing stands for it."""
        groups = tuple(g for g in self.groups if name in g.nodes)
        edges = tuple(e for e in self.edges if name in (*e.producer, *e.consumer))
        on_host, in_place = (tuple(n for n in names if n == name) for names in (self.on_host, self.in_place))
        return Explanation(self.model, self.stage, groups, on_host, in_place, edges)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        totals = {
            "groups": len(self.groups),
            "edges_not_fused": len(self.edges),
            "flops": sum(g.flops for g in self.groups),
            "bytes_not_stored": self.bytes_not_stored,
        }
        return {**asdict(self), "totals": totals}


def explain_text(text: str) -> Explanation:
    """The explanation of a module at stage planned or scheduled, as `--emit` prints it."""
    with context():
        return explain_module(ir.Module.parse(text))


def explain_module(module: ir.Module) -> Explanation:
    """As `explain_text`, in the context of the module."""
    operation = module.operation
    groups: list[GroupFacts] = []
    lines: dict[str, None] = {}  # a verdict stays with its reader when groups are joined, and may come twice
    on_host: list[str] = []
    in_place: list[str] = []
    for view in main_function(operation).regions[0].blocks[0].operations:
        op = view.operation
        lines |= dict.fromkeys(attribute_value(op, "verdicts", ()))
        match op.name:
            case "fusion.group":
                groups.append(_facts(len(groups), op))
            case "fusion.fallback":
                on_host += onnx_nodes(op)
            case "fusion.concat":
                in_place += onnx_nodes(op)
    model, stage = (attribute_value(operation, f"fusion.{name}", "") for name in ("model", "stage"))
    return Explanation(
        model, stage, tuple(groups), tuple(on_host), tuple(in_place), tuple(map(Verdict.from_json, lines))
    )


def _facts(number: int, op: Any) -> GroupFacts:
    group = group_of(op)
    schedule = None
    if "schedule" in op.attributes:
        schedule = {item.name: from_attribute(item.attr) for item in ir.DictAttr(op.attributes["schedule"])}
    return GroupFacts(
        number=number,
        nodes=tuple(onnx_nodes(op)),
        ops=tuple(_operator(member.node) for member in group.members),
        mapping=attribute_value(op, "mapping", ""),
        mode=attribute_value(op, "mode", ""),
        schedule=schedule,
        shape=group.types[group.outputs[-1]].shape,
        flops=group.flops,
        bytes_read=sum(_bytes(group, v) for v in group.inputs),
        bytes_written=sum(_bytes(group, v) for v in group.outputs),
        bytes_not_stored=sum(_bytes(group, v) for v in _values_between_nodes(group)),
    )


def _operator(node: Any) -> str:
    """conv, binary.add, reduce.sum: the op and its kind, where it has one."""
    kind = node.attrs.get("kind")
    name = node.op.removeprefix("fusion.")
    return f"{name}.{kind}" if isinstance(kind, str) else name


def _bytes(group: Group, value: int) -> int:
    tensor = group.types[value]
    return tensor.bytes if tensor.static else 0


def _values_between_nodes(group: Group) -> set[int]:
    """Values that another ONNX node reads, and that do not leave the group."""
    made = {m.result: set(m.onnx_nodes) for m in group.members}
    return {
        value
        for member in group.members
        for value in member.operands
        if value in made and value not in group.outputs and made[value] != set(member.onnx_nodes)
    }
