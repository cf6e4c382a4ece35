"""Build a concatenation on an earlier one of the same values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mlirfuse.dialect import attribute_value, build, onnx_nodes
from mlirfuse.lowering.passes import register_pass
from mlirfuse.mlir import ir

__all__ = ["NestConcats"]


@register_pass
@dataclass(frozen=True)
class NestConcats:
    """concat(a, b, c)  =>  concat(concat(a, b), c), where concat(a, b) is there already; likewise from the other end.

    Every layer of a dense block reads all layers before it. Joined anew for each layer, they would lie in as many
    buffers or be read from all their places; nested, each is written once, into its part of one buffer. Exact.
    """

    name: ClassVar[str] = "fusion-nest-concats"

    def __call__(self, module_op: ir.Operation) -> None:
        for function in module_op.regions[0].blocks[0]:
            if function.operation.name == "func.func":
                _nest(function.operation.regions[0].blocks[0])


def _nest(block: ir.Block) -> None:
    known: dict[tuple[Any, ...], Any] = {}  # (axis, operands...) -> the result
    for op in [op.operation for op in block.operations]:
        if op.name != "fusion.concat":
            continue
        axis, operands = attribute_value(op, "axis"), tuple(op.operands)
        result = op.results[0]
        shorter = _shortened(known, axis, operands)
        if shorter is not None:
            with ir.InsertionPoint(op):
                result = build("concat", shorter, {"axis": axis}, onnx_nodes=onnx_nodes(op), loc=op.location)
            op.results[0].replace_all_uses_with(result)
            op.erase()
        known.setdefault((axis, *operands), result)


def _shortened(known: dict[tuple[Any, ...], Any], axis: int, operands: tuple[Any, ...]) -> list[Any] | None:
    """The operands with the longest run at their beginning or end that is known as one value."""
    for length in range(len(operands) - 1, 1, -1):
        head, tail = operands[:length], operands[-length:]
        if (axis, *head) in known:
            return [known[axis, *head], *operands[length:]]
        if (axis, *tail) in known:
            return [*operands[:-length], known[axis, *tail]]
    return None
