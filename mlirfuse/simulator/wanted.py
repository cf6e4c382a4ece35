"""Which values decide addresses, masks and trip counts: a backward slice, for counting without arithmetic."""

from typing import Any

from mlirfuse.simulator.walk import operations_under

__all__ = ["wanted_values"]

_LOADS = ("memref.load", "affine.load", "affine.vector_load", "vector.load")
_STORES = ("memref.store", "affine.store", "affine.vector_store", "vector.store")
_VIEWS = (
    "memref.cast",
    "memref.memory_space_cast",
    "memref.view",
    "memref.subview",
    "memref.assume_alignment",
    "fusion.peer_memory",
)


class _Slice:
    """Edges from each value to those that it is computed from, and the roots of the slice."""

    def __init__(self, function: Any) -> None:
        self.sources: dict[int, list[int]] = {}
        self.roots: list[int] = []
        self.buffers: dict[int, int] = {}
        for op in operations_under(function):
            if op.name in _VIEWS:
                self.buffers[hash(op.results[0])] = self.buffer(op.operands[0])
                self.roots += [hash(v) for v in list(op.operands)[1:]]
        for op in operations_under(function):
            self.visit(op)

    def buffer(self, memref: Any) -> int:
        """The memref that `memref` is a view of."""
        return self.buffers.get(hash(memref), hash(memref))

    def depend(self, value: Any, sources: Any) -> None:
        """`value` is computed from `sources`."""
        self.sources.setdefault(hash(value), []).extend(hash(s) for s in sources)

    def visit(self, op: Any) -> None:
        operands = list(op.operands)
        if op.name in _LOADS:
            self.roots += [hash(v) for v in operands[1:]]
            self.sources.setdefault(hash(op.results[0]), []).append(self.buffer(operands[0]))
        elif op.name in _STORES:
            self.roots += [hash(v) for v in operands[2:]]
            self.sources.setdefault(self.buffer(operands[1]), []).append(hash(operands[0]))
        elif op.regions:
            self.visit_regions(op, operands)
        else:
            for result in op.results:
                self.depend(result, operands)

    def visit_regions(self, op: Any, operands: list[Any]) -> None:
        if op.name == "scf.while":
            self.roots += [hash(v) for v in operands]
            for region in op.regions:
                block = region.blocks[0]
                self.roots += [hash(v) for v in block.operations[len(block.operations) - 1].operands]
            return
        loop = op.name in ("affine.for", "scf.for")
        carried = operands[len(operands) - len(op.results) :] if loop else []
        self.roots += [hash(v) for v in operands[: len(operands) - len(carried)]]
        for region in op.regions:
            for block in region.blocks:
                self.roots += [hash(block.arguments[0])] if loop else []
                yields = list(block.operations[len(block.operations) - 1].operands)
                for position, (result, yielded) in enumerate(zip(op.results, yields, strict=True)):
                    self.depend(result, [yielded])
                    if loop:
                        argument = block.arguments[position + 1]
                        self.depend(result, [argument])
                        self.depend(argument, [carried[position], yielded])


def wanted_values(function: Any) -> set[int]:
    """Hashes of the values, buffers included, that accesses, conditions and loops depend on."""
    edges = _Slice(function)
    wanted: set[int] = set()
    pending = list(edges.roots)
    while pending:
        value = pending.pop()
        if value not in wanted:
            wanted.add(value)
            pending += edges.sources.get(value, [])
    return wanted | {view for view, buffer in edges.buffers.items() if buffer in wanted}
