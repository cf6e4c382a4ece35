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

    The patterns are the set "remove-identities"; dead ops go too. Unless `exact`, what only changes the sign of a zero
    (x + 0.0 turns -0.0 into 0.0) is an identity too.
    """

    name: ClassVar[str] = "fusion-remove-identities"
    exact: bool = False

    def __call__(self, module_op: ir.Operation) -> None:
        sets = ("remove-identities", *(() if self.exact else ("remove-identities-but-for-zeros",)))
        apply_greedily(module_op, [pattern for name in sets for pattern in patterns_in(name)])
