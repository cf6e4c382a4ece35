"""One group of a network as a network of its own, in which it stands as it stands there.

    argument -> copy -> group -> copy -> result

Values that other groups make or read pass through a copy: so they have the memory order that they have between groups
(arguments and results of a network are row-major), and lie in the caches as after a launch. The group's operations are
called "candidate", by which its launch is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from mlirfuse.dialect import attribute_value, build, is_constant, to_attribute, type_from_mlir, type_to_mlir
from mlirfuse.lowering.plan.graph import nodes_of
from mlirfuse.mlir import func, ir

__all__ = ["CANDIDATE", "extract_block", "extract_group", "weight_keys"]

CANDIDATE = "candidate"
_NETWORK_ONLY = ("verdicts", "plan", "buffers")  # what an op has from the network that it stands in


def extract_block(function: ir.Operation, members: Collection[int]) -> ir.Module:
    """A module for nodes `members` of a function before groups are formed; they are block 0 of its plan."""
    nodes = nodes_of(function)
    return _network([nodes[m] for m in sorted(members)])


def extract_group(group: ir.Operation) -> ir.Module:
    """A module for one `fusion.group`, whose operands and results keep their memory order."""
    return _network([group])


def weight_keys(module: ir.Module) -> list[str]:
    """The keys of all weights that a module names."""
    block = module.body.operations[0].operation.regions[0].blocks[0]
    found = (attribute_value(op, "key") for op in block.operations if op.operation.name == "fusion.weight")
    return list(dict.fromkeys(found))


def _network(chosen: Sequence[ir.Operation]) -> ir.Module:
    made = {r for op in chosen for r in op.results}
    outside = list(dict.fromkeys(v for op in chosen for v in op.operands if v not in made))
    arguments = [v for v in outside if not is_constant(v)]
    seen = [r for op in chosen for r in op.results if any(u.owner.operation not in chosen for u in r.uses)]
    module = ir.Module.create()
    module.operation.attributes["fusion.stage"] = to_attribute("graph")
    with ir.InsertionPoint(module.body):
        types = [[_row_major(v.type) for v in values] for values in (arguments, seen)]
        main = func.FuncOp("main", ir.FunctionType.get(*types))
    main.attributes["fusion.inputs"] = _names("x", len(arguments))
    main.attributes["fusion.outputs"] = _names("y", len(seen))
    block = main.add_entry_block()
    with ir.InsertionPoint(block):
        copy = _copier()
        values: dict[Any, Any] = {v: v.owner.operation.clone().results[0] for v in outside if is_constant(v)}
        for value, argument in zip(arguments, block.arguments, strict=True):
            values[value] = argument if isinstance(value.owner, ir.Block) else copy(argument, value.type)
        for op in chosen:
            values.update(zip(op.results, _clone(op, values).results, strict=True))
        func.ReturnOp([values[v] if _is_returned(v) else copy(values[v], _row_major(v.type)) for v in seen])
    return module


def _clone(op: ir.Operation, values: dict[Any, Any]) -> ir.Operation:
    clone = op.clone()
    for position, value in enumerate(op.operands):
        clone.operands[position] = values[value]
    for name in _NETWORK_ONLY:
        if name in clone.attributes:
            del clone.attributes[name]
    clone.attributes["plan"] = to_attribute(0)
    clone.attributes["onnx_nodes"] = to_attribute((CANDIDATE,))
    return clone


def _row_major(tensor: ir.Type) -> ir.Type:
    return type_to_mlir(replace(type_from_mlir(tensor), layout=None))


def _copier() -> Callable[[Any, ir.Type], Any]:
    """Makes copies of values, each a block of the plan by itself, in the memory order of a type."""
    count = 0

    def copy(value: Any, tensor: ir.Type) -> Any:
        nonlocal count
        count += 1
        made = build("transpose", [value], {"perm": tuple(range(ir.RankedTensorType(value.type).rank))})
        made.set_type(tensor)
        made.owner.operation.attributes["plan"] = to_attribute(count)
        return made

    return copy


def _is_returned(value: Any) -> bool:
    return any(use.owner.operation.name == "func.return" for use in value.uses)


def _names(letter: str, count: int) -> ir.Attribute:
    return ir.ArrayAttr.get([ir.StringAttr.get(f"{letter}{i}") for i in range(count)])
