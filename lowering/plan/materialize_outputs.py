"""Give every result of the network to a kernel that can write it where the caller wants it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from mlirfuse.dialect import build, onnx_nodes, type_from_mlir
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.elide_concats import free_concats
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.mlir import ir

__all__ = ["MaterializeOutputs"]


@register_pass
@dataclass(frozen=True)
class MaterializeOutputs:
    """return x  =>  return reshape(x), where x has no kernel that could store it in the output's buffer.

    That is so for arguments, weights and splats, for what is already returned in another place, and for parts of an
    elided concat's buffer. The reshape keeps the shape; it is a copy, which fusion may join with the kernel of x.
    """

    name: ClassVar[str] = "fusion-materialize-outputs"

    def __call__(self, module_op: ir.Operation) -> None:
        function = main_function(module_op)
        terminator = list(function.regions[0].blocks[0])[-1].operation
        parts = {v for concat in free_concats(function) for v in concat.operands}
        seen: set[Any] = set()
        for i, value in enumerate(list(terminator.operands)):
            if value in seen or value in parts or not _computed(value):
                terminator.operands[i] = _copy(value, terminator)
            seen.add(value)


def _computed(value: Any) -> bool:
    return not isinstance(value.owner, ir.Block) and value.owner.operation.name not in CONSTANTS


def _copy(value: Any, before: ir.Operation) -> Any:
    tensor = type_from_mlir(value.type)
    if not tensor.static:
        return value  # made by a fall-back node, which hands over whatever array it has
    names = onnx_nodes(value.owner) if _computed(value) else ()
    loc = value.owner.operation.location if _computed(value) else before.location
    with ir.InsertionPoint(before):
        return build("reshape", [value], {"shape": tensor.dims}, onnx_nodes=names, loc=loc)
