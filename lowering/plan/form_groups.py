"""Wrap every operation in a group of its own: what fusion patterns then join."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlirfuse.dialect import (
    active_store,
    attribute_value,
    build,
    node_of,
    onnx_nodes,
    segment_sizes,
    semantics,
    type_from_mlir,
)
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.graph import main_function, nodes_of
from mlirfuse.mlir import ir

__all__ = ["FormGroups", "create_group", "yield_from"]

# What belongs to the group and not to the op inside.
_MOVED = ("plan", "verdicts", "proofs")


@register_pass
@dataclass(frozen=True)
class FormGroups:
    """op(...)  =>  group(...) { op(...) }, for all but weights, splats, elided concats and fall-back nodes.

    A group's operands are the values that its op reads; splats are copied into the body instead. Splats
    that only a fall-back node reads become weights.
    """

    name: ClassVar[str] = "fusion-form-groups"

    def __call__(self, module_op: ir.Operation) -> None:
        function = main_function(module_op)
        for op in nodes_of(function):
            if op.name == "fusion.fallback":
                _store_splats(op)
            elif op.name != "fusion.group" and not attribute_value(op, "elided", False):
                _wrap(op)
        for op in list(function.regions[0].blocks[0].operations):
            if op.operation.name == "fusion.splat" and not any(True for _ in op.operation.results[0].uses):
                op.operation.erase()


def create_group(
    operands: list[Any], result_types: list[Any], attributes: dict[str, Any], loc: Any, ip: Any
) -> tuple[ir.Operation, ir.Block]:
    """An empty group and its block, whose arguments stand for `operands`; the caller fills it up to the yield."""
    attributes = {**attributes, **segment_sizes([v.type for v in operands], result_types)}
    group = ir.Operation.create(
        "fusion.group", results=result_types, operands=operands, attributes=attributes, regions=1, loc=loc, ip=ip
    )
    block = group.regions[0].blocks.append(*[v.type for v in operands], arg_locs=[loc] * len(operands))
    return group, block


def yield_from(block: ir.Block, values: list[Any], loc: Any) -> None:
    """End a group's block with what it gives to its surroundings."""
    ir.Operation.create(
        "fusion.yield",
        operands=values,
        attributes=segment_sizes([v.type for v in values]),
        loc=loc,
        ip=ir.InsertionPoint(block),
    )


def _wrap(op: ir.Operation) -> None:
    operands: list[Any] = []
    splats: list[Any] = []
    for value in op.operands:
        where = splats if _is_splat(value) else operands
        if value not in where:
            where.append(value)
    attributes: dict[str, Any] = {name: op.attributes[name] for name in _MOVED if name in op.attributes}
    for name in attributes:
        del op.attributes[name]
    node = node_of(op)
    attributes["mapping"] = ir.StringAttr.get(attribute_value(op, "mapping") or semantics(node.op).mapping(node))
    attributes["mode"] = ir.StringAttr.get("single")
    if names := onnx_nodes(op):
        attributes["onnx_nodes"] = ir.ArrayAttr.get([ir.StringAttr.get(name) for name in names])
    types = [r.type for r in op.results]
    group, block = create_group(operands, types, attributes, op.location, ir.InsertionPoint(op))
    for result, outer in zip(op.results, group.results, strict=True):
        result.replace_all_uses_with(outer)
    inside = dict(zip(operands, block.arguments, strict=True))
    for splat in splats:
        copy = splat.owner.operation.clone(ip=ir.InsertionPoint(block))
        inside[splat] = copy.results[0]
    block.append(op)
    for i, value in enumerate(list(op.operands)):
        op.operands[i] = inside[value]
    yield_from(block, list(op.results), op.location)


def _is_splat(value: Any) -> bool:
    return not isinstance(value.owner, ir.Block) and value.owner.operation.name == "fusion.splat"


def _store_splats(op: ir.Operation) -> None:
    """Give a fall-back node, which reads buffers, the bytes of its splats."""
    for i, value in enumerate(list(op.operands)):
        if _is_splat(value):
            tensor = type_from_mlir(value.type)
            array = np.full(tensor.dims, attribute_value(value.owner, "value"), tensor.dtype)
            with ir.InsertionPoint(op):
                op.operands[i] = build("weight", [], {"key": active_store().put(array)}, result=tensor, loc=op.location)
