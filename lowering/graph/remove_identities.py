"""Take out what computes nothing."""

from dataclasses import dataclass
from typing import ClassVar

from mlirfuse.lowering.graph import elementwise_identities, movement_identities, reduction_identities
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.patterns import apply_greedily, patterns_in
from mlirfuse.mlir import ir

__all__ = ["RemoveIdentities"]

assert elementwise_identities and movement_identities and reduction_identities  # imported for their patterns


@register_pass
@dataclass(frozen=True)
class RemoveIdentities:
    """Remove ops whose result is their operand, and make one op of two that undo or repeat each other.

    Every rewrite is exact. The patterns are the set "remove-identities"; dead ops go too.
    """

    name: ClassVar[str] = "fusion-remove-identities"

    def __call__(self, module_op: ir.Operation) -> None:
        apply_greedily(module_op, patterns_in("remove-identities"))
