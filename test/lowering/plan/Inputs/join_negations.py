"""What a project of its own might add: a negation joins whatever group makes its operand, planned or not."""

from mlirfuse.dialect import attribute_value
from mlirfuse.lowering.patterns import no_match, register_pattern
from mlirfuse.lowering.plan.fuse import join_groups
from mlirfuse.mlir import ir


@register_pattern("fuse", "fusion.group")
def join_negation(op, rewriter):
    """group {.., y}, group(y) { neg }  =>  one group"""
    inner = [o.operation for o in op.operation.regions[0].blocks[0]][:-1]
    producer = op.operation.operands[0].owner
    if len(inner) != 1 or attribute_value(inner[0], "kind") != "neg" or isinstance(producer, ir.Block):
        return no_match(op, "it is no negation of a computed value")
    return join_groups(producer.operation, op.operation, rewriter)
