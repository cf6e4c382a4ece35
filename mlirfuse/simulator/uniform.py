"""Which SSA values differ between threads or blocks: a forward data-flow analysis."""

from typing import Any

from mlirfuse.mlir import ir
from mlirfuse.simulator.walk import operations_under

__all__ = ["varying_values"]

_LOOPS = ("affine.for", "scf.for")
_SOURCES = frozenset(
    f"{dialect}.{name}"
    for dialect, names in {
        "gpu": ("thread_id", "block_id", "cluster_block_id", "lane_id", "subgroup_id", "global_id", "shuffle"),
        "memref": ("load",),
        "affine": ("load", "vector_load"),
        "vector": ("load",),
    }.items()
    for name in names
)


class _Varying:
    def __init__(self) -> None:
        self.values: set[int] = set()
        self.changed = False

    def any(self, values: Any) -> bool:
        return any(hash(v) in self.values for v in values)

    def mark(self, values: Any) -> None:
        fresh = {hash(v) for v in values} - self.values
        self.values |= fresh
        self.changed |= bool(fresh)

    def visit(self, op: Any) -> None:
        if op.name in _LOOPS:
            self.visit_loop(op)
        elif op.name in ("affine.if", "scf.if"):
            self.visit_if(op)
        elif op.name == "scf.while":
            self.visit_while(op)
        elif op.name in _SOURCES or self.any(op.operands) or _leaves_vector(op):
            self.mark(op.results)

    def visit_loop(self, op: Any) -> None:
        body = op.regions[0].blocks[0]
        carried = len(op.results)
        operands = list(op.operands)
        inits, bounds = operands[len(operands) - carried :], operands[: len(operands) - carried]
        yields = list(body.operations[len(body.operations) - 1].operands)
        divergent = self.any(bounds)
        if divergent:
            self.mark([body.arguments[0]])
        for argument, init, yielded, result in zip(list(body.arguments)[1:], inits, yields, op.results, strict=True):
            if divergent or self.any([argument, init, yielded]):
                self.mark([argument, result])

    def visit_if(self, op: Any) -> None:
        divergent = self.any(op.operands)
        for region in op.regions:
            for block in region.blocks:
                yields = block.operations[len(block.operations) - 1].operands
                self.mark([r for r, y in zip(op.results, yields, strict=False) if divergent or self.any([y])])

    def visit_while(self, op: Any) -> None:
        # Carried values take part in a condition that may diverge: all of them may differ.
        self.mark(op.results)
        for region in op.regions:
            self.mark(region.blocks[0].arguments)


def _leaves_vector(op: Any) -> bool:
    """Scalars taken from a vector are arrays even where the vector is uniform."""
    return any(isinstance(v.type, ir.VectorType) for v in op.operands) and any(
        not isinstance(v.type, ir.VectorType) for v in op.results
    )


def varying_values(function: Any) -> set[int]:
    """Hashes of the values in `function` that may differ between the threads of a launch.

    A value outside the set is one Python or NumPy scalar at run time (vectors: one lane).
    """
    varying = _Varying()
    operations = list(operations_under(function))
    while True:
        varying.changed = False
        for op in operations:
            varying.visit(op)
        if not varying.changed:
            return varying.values
