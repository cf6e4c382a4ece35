"""Finding operations by name before changing them: a walk must not see what it changes."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from mlirfuse.mlir import ir

__all__ = ["operations_named"]


def operations_named(scope: Any, names: Container[str]) -> list[Any]:
    """Every operation under `scope`, an operation, whose name is among `names`, in order."""
    found: list[Any] = []

    def collect(op: ir.Operation) -> ir.WalkResult:
        if op.name in names:
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    scope.walk(collect)
    return found
