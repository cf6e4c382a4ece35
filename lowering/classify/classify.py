"""Attach to every op its mapping type at the call site."""

from dataclasses import dataclass
from typing import Any, ClassVar

from mlirfuse.dialect import OPS, node_of, semantics
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.patterns import Pattern, no_match, patterns_in, register_pattern, walk_and_apply
from mlirfuse.mlir import ir

__all__ = ["Classify"]


def attach_mapping(op: Any, rewriter: Any) -> object:
    """op(...)  =>  op(...) {mapping = its mapping type here}"""
    if "mapping" in op.attributes:
        return no_match(op, "it is classified")
    node = node_of(op)
    op.attributes["mapping"] = ir.StringAttr.get(semantics(node.op).mapping(node))
    return None


# One pattern for each op class; those of other projects join the set "classify" with a higher benefit.
_CLASSIFIED = [f"fusion.{name}" for name in OPS if f"fusion.{name}" not in CONSTANTS]
for _name in _CLASSIFIED:
    register_pattern("classify", _name)(attach_mapping)


@register_pass
@dataclass(frozen=True)
class Classify:
    """Attach `mapping`, how output elements map to input elements, to every op (DNNFusion, table 1).

    The type belongs to the call site: an addition of a constant is One-to-One, of a smaller value made at run
    time One-to-Many. The patterns are the set "classify"; one that has attached a mapping has the last word.
    """

    name: ClassVar[str] = "fusion-classify"

    def __call__(self, module_op: ir.Operation) -> None:
        late = [f"fusion.{name}" for name in OPS if f"fusion.{name}" not in (*_CLASSIFIED, *CONSTANTS)]
        walk_and_apply(module_op, [*patterns_in("classify"), *(Pattern(name, attach_mapping) for name in late)])
