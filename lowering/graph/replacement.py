"""How a pattern replaces an op: by a value that is there already, or by another op."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlirfuse.dialect import build, onnx_nodes
from mlirfuse.lowering.graph.constants import owner_of, unite
from mlirfuse.mlir import ir

__all__ = ["replace_by_op", "replace_by_value"]


def replace_by_value(op: Any, value: Any, rewriter: Any, merged: Sequence[ir.Operation] = ()) -> None:
    """Let `value` take the place of an op's result; what computes it then stands for `merged` and the op too."""
    owner = owner_of(value)
    if owner is not None and owner.name not in ("fusion.weight", "fusion.splat"):
        unite(owner, [*merged, op.operation])
    rewriter.replace_op(op, [value])


def replace_by_op(
    op: Any,
    name: str,
    operands: Sequence[Any],
    attrs: Mapping[str, Any],
    rewriter: Any,
    merged: Sequence[ir.Operation] = (),
) -> None:
    """Let `name`(operands) take the place of an op, standing for it and for `merged`, which come before it."""
    names = tuple(dict.fromkeys(n for o in (*merged, op) for n in onnx_nodes(o)))
    with rewriter.ip:
        made = build(name, operands, dict(attrs), onnx_nodes=names, loc=op.location)
    rewriter.replace_op(op, [made])
