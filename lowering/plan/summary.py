"""What fusion made of a network, in numbers, from the IR of the planned or the scheduled stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from mlirfuse.dialect import attribute_value, node_of, onnx_nodes, semantics, type_from_mlir
from mlirfuse.lowering.plan.duplicate_movement import MOVEMENT
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.lowering.plan.verdict import Verdict
from mlirfuse.mlir import ir

__all__ = ["GroupRow", "PlanSummary", "summarize_plan"]


@dataclass(frozen=True)
class GroupRow:
    """One group. Bytes are those of its operands and results, each once."""

    ops: tuple[str, ...]
    mode: str
    mapping: str
    onnx_nodes: tuple[str, ...]
    flops: int
    bytes_read: int
    bytes_written: int
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class PlanSummary:
    """Totals over a network, in ops and bytes.

    `intermediate_bytes` is each value stored between launches, once; `intermediate_bytes_unfused` the same if every op
    were a launch; `compulsory_bytes` each network input, weight and output, once.
    """

    groups: tuple[GroupRow, ...]
    launches: int
    ops: int
    nodes: int
    fallback_nodes: int
    elided_concats: int
    flops: int
    intermediate_bytes: int
    intermediate_bytes_unfused: int
    weight_bytes: int
    compulsory_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def summarize_plan(module_op: ir.Operation) -> PlanSummary:
    """The summary of a module whose ops are in groups."""
    function = main_function(module_op)
    ops = [op.operation for op in function.regions[0].blocks[0]]
    returned = set(ops[-1].operands)
    groups = [op for op in ops if op.name == "fusion.group"]
    fallbacks = [op for op in ops if op.name == "fusion.fallback"]
    concats = [op for op in ops if op.name == "fusion.concat"]
    members = [_members(group) for group in groups]
    inner = [op for body in members for op in body]
    weights = {attribute_value(op, "key"): _bytes(op.results) for op in ops if op.name == "fusion.weight"}
    stored = [r for op in (*groups, *fallbacks) for r in op.results if r not in returned]
    yielded = {v for op, group in zip(members, groups, strict=True) for v in _returned_inside(group, returned)}
    once = _without_copies([*inner, *fallbacks, *concats])
    unfused = [r for op in once for r in op.results if r not in returned and r not in yielded]
    weight_bytes = sum(weights.values())
    rows = tuple(_row(group, body) for group, body in zip(groups, members, strict=True))
    names = {name for op in (*inner, *fallbacks, *concats) for name in onnx_nodes(op)}
    return PlanSummary(
        groups=rows,
        launches=len(groups),
        ops=len(inner) + len(fallbacks) + len(concats),
        nodes=len(names),
        fallback_nodes=len(fallbacks),
        elided_concats=len(concats),
        flops=sum(row.flops for row in rows),
        intermediate_bytes=_bytes(stored),
        intermediate_bytes_unfused=_bytes(unfused),
        weight_bytes=weight_bytes,
        compulsory_bytes=_bytes(function.regions[0].blocks[0].arguments) + weight_bytes + _bytes(ops[-1].operands),
    )


def _members(group: ir.Operation) -> list[ir.Operation]:
    skipped = ("fusion.yield", "fusion.splat")
    return [op.operation for op in group.regions[0].blocks[0] if op.operation.name not in skipped]


def _without_copies(ops: list[ir.Operation]) -> list[ir.Operation]:
    """The ops as the network has them: movement that each reader repeats counts once."""
    found: dict[Any, ir.Operation] = {}
    for op in ops:
        key: Any = op
        if op.name.removeprefix("fusion.") in MOVEMENT and onnx_nodes(op):
            attributes = {name: str(op.attributes[name]) for name in op.attributes if name not in ("mapping", "plan")}
            key = (op.name, str(op.results[0].type), tuple(sorted(attributes.items())))
        found.setdefault(key, op)
    return list(found.values())


def _returned_inside(group: ir.Operation, returned: set[Any]) -> Iterable[Any]:
    """The values of a body that leave the network."""
    terminator = list(group.regions[0].blocks[0])[-1].operation
    return (v for v, r in zip(terminator.operands, group.results, strict=True) if r in returned)


def _row(group: ir.Operation, members: list[ir.Operation]) -> GroupRow:
    nodes = [node_of(op) for op in members]
    return GroupRow(
        ops=tuple(node.op for node in nodes),
        mode=attribute_value(group, "mode", "single"),
        mapping=attribute_value(group, "mapping", ""),
        onnx_nodes=onnx_nodes(group),
        flops=sum(semantics(node.op).flops(node) for node in nodes),
        bytes_read=_bytes(group.operands),
        bytes_written=_bytes(group.results),
        verdicts=tuple(map(Verdict.from_json, attribute_value(group, "verdicts", ()))),
    )


def _bytes(values: Iterable[Any]) -> int:
    tensors = (type_from_mlir(v.type) for v in values)
    return sum(t.bytes for t in tensors if t.static)
