"""The operations under another one."""

from collections.abc import Iterator
from typing import Any

__all__ = ["operations_under"]


def operations_under(op: Any) -> Iterator[Any]:
    """Every operation in the regions of `op`, each before those in its own."""
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                yield from operations_under(inner.operation)
