"""Teams of threads that reduce together: warp shuffles, and shared memory between warps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlirfuse.dialect.indexing import Condition, Expr
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.kernel import scalar
from mlirfuse.mlir import arith, gpu, ir

__all__ = ["team_reduce"]

WARP = 32


def _warp_reduce(value: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Every lane of a warp gets the reduction over the warp (butterfly)."""
    i32 = ir.IntegerType.get_signless(32)
    offset = WARP // 2
    while offset:
        other = gpu.ShuffleOp(
            value, arith.ConstantOp(i32, offset).result, arith.ConstantOp(i32, WARP).result, gpu.ShuffleMode.XOR
        ).results[0]
        value = combine(value, other)
        offset //= 2
    return value


def team_reduce(frame: Frame, kind: str, value: Any, team: int, scratch: int) -> Any:
    """Every thread of a team gets the reduction over the team; `scratch` is the shared array of one slot per warp.

    A team is one warp, or the whole block: then warps leave their result in shared memory and every thread reads all.
    """

    def combine(a: Any, b: Any) -> Any:
        return scalar.combine(frame.builder, kind, a, b, "float32")

    value = _warp_reduce(value, combine)
    warps = team // WARP
    if warps <= 1:
        return value
    frame.barrier()  # the previous round's readers are done with the scratch
    frame.builder.when(
        [Condition(frame.thread % WARP, 0, 0)],
        lambda: frame.shared_store(scratch, Expr(0), frame.thread // WARP, value),
    )
    frame.barrier()
    total = frame.shared_load(scratch, Expr(0), Expr(0))
    for warp in range(1, warps):
        total = combine(total, frame.shared_load(scratch, Expr(0), Expr(warp)))
    return total
