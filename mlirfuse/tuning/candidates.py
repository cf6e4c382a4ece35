"""One block of a graph as a network of its own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mlirfuse.dialect import attribute_value, is_constant, to_attribute
from mlirfuse.lowering.plan.graph import nodes_of
from mlirfuse.mlir import func, ir

__all__ = ["extract", "weight_keys"]

_NETWORK_ONLY = ("onnx_nodes", "verdicts", "plan")  # what a block has from the network that it stands in


def extract(function: ir.Operation, members: Collection[int]) -> ir.Module:
    """A module whose `@main` holds nodes `members` of a planned-to-be function, all of one block of the plan.

    Values that come from elsewhere are arguments, those that others read are returned; constants stay constants.
    """
    nodes = nodes_of(function)
    chosen = [nodes[m] for m in sorted(members)]
    made = {r for op in chosen for r in op.results}
    outside = list(dict.fromkeys(v for op in chosen for v in op.operands if v not in made))
    arguments = [v for v in outside if not is_constant(v)]
    inside_users = set(chosen)
    returned = [r for op in chosen for r in op.results if any(u.owner.operation not in inside_users for u in r.uses)]
    module = ir.Module.create()
    module.operation.attributes["fusion.stage"] = to_attribute("graph")
    with ir.InsertionPoint(module.body):
        main = func.FuncOp("main", ir.FunctionType.get([v.type for v in arguments], [v.type for v in returned]))
    main.attributes["fusion.inputs"] = _names("x", len(arguments))
    main.attributes["fusion.outputs"] = _names("y", len(returned))
    block = main.add_entry_block()
    values: dict[Any, Any] = dict(zip(arguments, block.arguments, strict=True))
    at = ir.InsertionPoint(block)
    for value in outside:
        if is_constant(value):
            values[value] = value.owner.operation.clone(ip=at).results[0]
    for op in chosen:
        copy = op.clone(ip=at)
        for position, value in enumerate(op.operands):
            copy.operands[position] = values[value]
        for name in _NETWORK_ONLY:
            if name in copy.attributes:
                del copy.attributes[name]
        copy.attributes["plan"] = to_attribute(0)
        values.update(zip(op.results, copy.results, strict=True))
    with at:
        func.ReturnOp([values[v] for v in returned])
    return module


def weight_keys(module: ir.Module) -> list[str]:
    """The keys of all weights that a module names."""
    block = module.body.operations[0].operation.regions[0].blocks[0]
    found = (attribute_value(op, "key") for op in block.operations if op.operation.name == "fusion.weight")
    return list(dict.fromkeys(found))


def _names(letter: str, count: int) -> ir.Attribute:
    return ir.ArrayAttr.get([ir.StringAttr.get(f"{letter}{i}") for i in range(count)])
