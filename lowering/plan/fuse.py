"""Join the groups of one block of the plan, edge by edge."""

import functools
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any, ClassVar

from mlirfuse.dialect import attribute_value, onnx_nodes, to_attribute
from mlirfuse.dialect.mixed import RESULT_SEGMENTS
from mlirfuse.lowering.classify.table import combine
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.patterns import apply_greedily, no_match, patterns_in, register_pattern
from mlirfuse.lowering.plan.form_groups import create_group, yield_from
from mlirfuse.mlir import ir

__all__ = ["Fuse", "join_groups", "mode_of"]

GROUP = "fusion.group"


@register_pattern("fuse", GROUP)
def join_only_producer_with_only_reader(op: Any, rewriter: Any) -> object:
    """group {.., y}, group(y) {..}, both of one block  =>  one group: straight

    The producer has no other reader in the block, the reader no other producer.
    """
    producers = _producers(op)
    if len(producers) != 1 or len(_readers(producers[0])) != 1:
        return no_match(op, "it is no straight pair of one block")
    join_groups(producers[0], op.operation, rewriter)
    return None


@register_pattern("fuse", GROUP)
def join_latest_of_several_producers(op: Any, rewriter: Any) -> object:
    """group {.., x}, group {.., y}, group(x, y) {..}, all of one block  =>  the last two as one group: merge"""
    producers = _producers(op)
    if len(producers) < 2:
        return no_match(op, "it does not merge values of its block")
    join_groups(producers[-1], op.operation, rewriter)
    return None


@register_pattern("fuse", GROUP)
def join_producer_of_several_readers(op: Any, rewriter: Any) -> object:
    """group {.., y}, group(y) {..}, group(y) {..}, all of one block  =>  the producer and this reader: split"""
    producers = _producers(op)
    if len(producers) != 1 or len(_readers(producers[0])) < 2:
        return no_match(op, "its producer has no other reader in its block")
    join_groups(producers[0], op.operation, rewriter)
    return None


@register_pass
@dataclass(frozen=True)
class Fuse:
    """Join groups that carry the same `plan` until each block of the plan is one group (patterns: set "fuse").

    The new group gets the mapping type that DNNFusion's table 3 gives, a `mode` (straight, merge, split or mixed) and
    the ONNX nodes of both. Groups stay in topological order.
    """

    name: ClassVar[str] = "fusion-fuse"

    def __call__(self, module_op: ir.Operation) -> None:
        apply_greedily(module_op, patterns_in("fuse"))
        if apart := _in_several_groups(module_op):
            apply_greedily(module_op, {GROUP: functools.partial(join_side_by_side, apart)})


def join_side_by_side(apart: Set[Any], op: Any, rewriter: Any) -> object:
    """group {..}, group {..} of one block, no path between them  =>  one group that makes the results of both: split

    `apart` are the plans that several groups may carry: of the others nothing is looked for.
    """
    plan = attribute_value(op, "plan")
    if plan not in apart:
        return no_match(op, "it is the only group of its block")
    for other in op.operation.parent.regions[0].blocks[0]:
        if other.operation == op.operation:
            break
        if other.operation.name == GROUP and attribute_value(other, "plan") == plan:
            join_groups(other.operation, op.operation, rewriter)
            return None
    return no_match(op, "no group before it is of its block")


def _in_several_groups(module_op: ir.Operation) -> set[Any]:
    """The blocks of the plan that are not one group, as no value passes between their parts."""
    plans = [
        attribute_value(op, "plan")
        for function in module_op.regions[0].blocks[0]
        for block in function.operation.regions[0]
        for op in block
        if op.operation.name == GROUP and "plan" in op.operation.attributes
    ]
    return {plan for plan, count in Counter(plans).items() if count > 1}


def join_groups(first: ir.Operation, second: ir.Operation, rewriter: Any) -> None:
    """first {.., y}, second(y) {..}  =>  one group in the place of `second`.

    No path may lead from `first` to `second` but directly. What others read of `first` is yielded too; readers that
    stand before `second` move behind it.
    """
    late = _dependents(first, second)
    shared = [r for r in first.results if any(_owner(use) != second for use in r.uses)]
    results = [*shared, *second.results]
    if len(results) > RESULT_SEGMENTS:  # by type, since a group has a field for each run of equal types
        results.sort(key=lambda value: str(value.type))
    operands = list(dict.fromkeys([*first.operands, *(v for v in second.operands if v not in list(first.results))]))
    loc = ir.Location.fused([first.location, second.location])
    types = [v.type for v in results]
    group, block = create_group(operands, types, _joined_attributes(first, second), loc, ir.InsertionPoint(second))
    inside: dict[Any, Any] = dict(zip(operands, block.arguments, strict=True))
    inside.update(zip(first.results, _move_body(first, block, inside), strict=True))
    inside.update(zip(second.results, _move_body(second, block, inside), strict=True))
    yield_from(block, [inside[v] for v in results], loc)
    group.attributes["mode"] = ir.StringAttr.get(mode_of(block))
    for value, outer in zip(results, group.results, strict=True):
        value.replace_all_uses_with(outer)
    rewriter.erase_op(second)
    rewriter.erase_op(first)
    place = group
    for op in late:
        op.move_after(place)
        place = op


def mode_of(block: ir.Block) -> str:
    """How the ops of a group's body share data: single, straight, merge, split or mixed."""
    ops = [op.operation for op in block if op.operation.name not in ("fusion.yield", "fusion.splat")]
    made = {r for op in ops for r in op.results}
    merges = any(len({v for v in op.operands if v in made}) > 1 for op in ops)
    splits = any(len({_owner(use) for r in op.results for use in r.uses} & set(ops)) > 1 for op in ops)
    if len(ops) == 1:
        return "single"
    pieces = sum(not any(v in made for v in op.operands) for op in ops) > 1 and not merges
    if merges and splits:
        return "mixed"
    return "merge" if merges else "split" if splits or pieces else "straight"


def _joined_attributes(first: ir.Operation, second: ir.Operation) -> dict[str, Any]:
    mappings = [attribute_value(op, "mapping") for op in (first, second)]
    attributes: dict[str, Any] = {"mapping": ir.StringAttr.get(combine(*mappings).mapping)}
    if "plan" in second.attributes:
        attributes["plan"] = second.attributes["plan"]
    if names := tuple(dict.fromkeys((*onnx_nodes(first), *onnx_nodes(second)))):
        attributes["onnx_nodes"] = to_attribute(names)
    for name in ("verdicts", "proofs"):
        if found := (*attribute_value(first, name, ()), *attribute_value(second, name, ())):
            attributes[name] = to_attribute(tuple(dict.fromkeys(found)))
    return attributes


def _move_body(group: ir.Operation, block: ir.Block, inside: dict[Any, Any]) -> list[Any]:
    """Move a group's ops to the end of `block`, reading what `inside` says; the values that it yielded."""
    body = group.regions[0].blocks[0]
    for argument, outer in zip(body.arguments, group.operands, strict=True):
        argument.replace_all_uses_with(inside[outer])
    *ops, terminator = [op.operation for op in body]
    for op in ops:
        block.append(op)
    return list(terminator.operands)


def _dependents(first: ir.Operation, second: ir.Operation) -> list[ir.Operation]:
    """The ops before `second` that need a result of `first`, in order."""
    found: list[ir.Operation] = []
    todo = [first]
    while todo:
        for result in todo.pop().results:
            for user in map(_owner, result.uses):
                if user != second and user not in found and user.is_before_in_block(second):
                    found.append(user)
                    todo.append(user)
    return sorted(found, key=_BY_PLACE)


def _owner(use: Any) -> ir.Operation:
    return use.owner.operation


def _producers(op: Any) -> list[ir.Operation]:
    """The groups of the op's block of the plan that feed it, each once, in order."""
    owners = (v.owner for v in op.operation.operands)
    return _sorted_group_mates(op, (owner.operation for owner in owners if not isinstance(owner, ir.Block)))


def _readers(op: Any) -> list[ir.Operation]:
    return _sorted_group_mates(op, (_owner(use) for r in op.operation.results for use in r.uses))


def _sorted_group_mates(op: Any, others: Iterator[ir.Operation]) -> list[ir.Operation]:
    plan = attribute_value(op, "plan")
    mates = {o for o in others if o.name == GROUP and plan is not None and attribute_value(o, "plan") == plan}
    return sorted(mates, key=_BY_PLACE)


def _compare_places(a: ir.Operation, b: ir.Operation) -> int:
    return -1 if a.is_before_in_block(b) else 1


_BY_PLACE = functools.cmp_to_key(_compare_places)
