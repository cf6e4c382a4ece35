"""Let the producers of a concatenation write into its buffer, so that it costs nothing."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from mlirfuse.dialect import onnx_nodes, to_attribute
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.mlir import ir

__all__ = ["ElideConcats", "free_concats"]


@register_pass
@dataclass(frozen=True)
class ElideConcats:
    """concat(a, b)  =>  concat(a, b) {elided = true}, where the kernels of a and b can write into one buffer.

    They can if each operand is computed by a kernel, is given once, and lies in no other concatenation's
    buffer. A concatenation's result may be an operand of the next one: its buffer is then a part of that one's.
    With `into_outputs`, also concatenations that are returned. Those that stand for an ONNX node of `keep` are left:
    the user wants them in a kernel.
    """

    name: ClassVar[str] = "fusion-elide-concats"
    into_outputs: bool = False
    keep: str = ""

    def __call__(self, module_op: ir.Operation) -> None:
        kept = frozenset(json.loads(self.keep)) if self.keep else frozenset()
        for op in free_concats(main_function(module_op), self.into_outputs):
            if kept.isdisjoint(onnx_nodes(op)):
                op.attributes["elided"] = to_attribute(True)


def free_concats(function: ir.Operation, into_outputs: bool = False) -> list[ir.Operation]:
    """The concatenations whose operands can be written in place."""
    placed: set[Any] = set()
    found = []
    for op in function.regions[0].blocks[0]:
        operation = op.operation
        if operation.name != "fusion.concat":
            continue
        operands = list(operation.operands)
        distinct = len(set(operands)) == len(operands)
        returned = any(use.owner.operation.name == "func.return" for use in operation.results[0].uses)
        free = distinct and not placed.intersection(operands) and (into_outputs or not returned)
        if free and all(map(_written_by_a_kernel, operands)):
            found.append(operation)
            placed.update(operands)
    return found


def _written_by_a_kernel(value: Any) -> bool:
    """Whether the value can be written in place: by a kernel, or part by part as an elided concat."""
    return not isinstance(value.owner, ir.Block) and value.owner.operation.name not in (*CONSTANTS, "fusion.fallback")
