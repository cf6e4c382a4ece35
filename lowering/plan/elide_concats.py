"""Let the producers of a concatenation write into its buffer, so that it costs nothing."""

from dataclasses import dataclass
from typing import Any, ClassVar

from mlirfuse.dialect import to_attribute
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.mlir import ir

__all__ = ["ElideConcats"]


@register_pass
@dataclass(frozen=True)
class ElideConcats:
    """concat(a, b)  =>  concat(a, b) {elided = true}, where the kernels of a and b can write into one buffer.

    They can if each operand is computed by a kernel, is given once, and lies in no other concatenation's
    buffer. A concatenation's result may be an operand of the next one: its buffer is then a part of that one's.
    """

    name: ClassVar[str] = "fusion-elide-concats"

    def __call__(self, module_op: ir.Operation) -> None:
        placed: set[Any] = set()
        for op in main_function(module_op).regions[0].blocks[0]:
            operation = op.operation
            if operation.name != "fusion.concat":
                continue
            operands = list(operation.operands)
            distinct = len(set(operands)) == len(operands)
            if distinct and not placed.intersection(operands) and all(map(_written_by_a_kernel, operands)):
                operation.attributes["elided"] = to_attribute(True)
                placed.update(operands)


def _written_by_a_kernel(value: Any) -> bool:
    """Whether the value can be written in place: by a kernel, or part by part as an elided concat."""
    if isinstance(value.owner, ir.Block):
        return False
    owner = value.owner.operation
    return owner.name not in (*CONSTANTS, "fusion.fallback")
