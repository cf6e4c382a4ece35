"""DNNFusion's table 3 as data: whether two mapping types fuse, and into which.

Source: Niu et al., "DNNFusion: Accelerating Deep Neural Networks Execution with Advanced Operator Fusion",
PLDI 2021, table 3. 23 of the 25 cells fuse; each of them is one way of generating code.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from mlirfuse.dialect import MappingType

__all__ = ["TABLE", "Cell", "Judgement", "combine", "most_complex"]

# "fuse": always pays. "profit": fuse if a model or a measurement says so. "refuse": does not pay.
Judgement = Literal["fuse", "profit", "refuse"]

_ONE, _REORGANIZE, _SHUFFLE, _SPREAD, _MANY = (
    MappingType.ONE_TO_ONE,
    MappingType.REORGANIZE,
    MappingType.SHUFFLE,
    MappingType.ONE_TO_MANY,
    MappingType.MANY_TO_MANY,
)


class Cell(NamedTuple):
    """What fusing two operations gives: a judgement, and the mapping type of the result."""

    judgement: Judgement
    mapping: str


# Rows: the first operation. Columns: the second, in the order below.
_COLUMNS = (_ONE, _SPREAD, _MANY, _REORGANIZE, _SHUFFLE)
_ROWS: Mapping[str, tuple[Cell, ...]] = {
    _ONE: (
        Cell("fuse", _ONE),
        Cell("fuse", _SPREAD),
        Cell("fuse", _MANY),
        Cell("fuse", _REORGANIZE),
        Cell("fuse", _SHUFFLE),
    ),
    _SPREAD: (
        Cell("fuse", _SPREAD),
        Cell("profit", _SPREAD),
        Cell("refuse", _MANY),
        Cell("profit", _SPREAD),
        Cell("profit", _SPREAD),
    ),
    _MANY: (
        Cell("fuse", _MANY),
        Cell("profit", _MANY),
        Cell("refuse", _MANY),
        Cell("profit", _MANY),
        Cell("profit", _MANY),
    ),
    _REORGANIZE: (
        Cell("fuse", _REORGANIZE),
        Cell("profit", _SPREAD),
        Cell("profit", _MANY),
        Cell("fuse", _REORGANIZE),
        Cell("fuse", _REORGANIZE),
    ),
    _SHUFFLE: (
        Cell("fuse", _SHUFFLE),
        Cell("profit", _SPREAD),
        Cell("profit", _MANY),
        Cell("fuse", _REORGANIZE),
        Cell("fuse", _SHUFFLE),
    ),
}

TABLE: Mapping[tuple[str, str], Cell] = {
    (first, second): cell for first, row in _ROWS.items() for second, cell in zip(_COLUMNS, row, strict=True)
}


def combine(first: str, second: str) -> Cell:
    """The cell for `first` feeding `second`, both mapping types.

    A refused cell still names the type that the two would have together: cross-layer fusion overrides the
    refusal with a proof of its own.
    """
    return TABLE[first, second]


def most_complex(mappings: tuple[str, ...]) -> str:
    """The most complex of some mapping types; One-to-One if there are none."""
    return max(mappings, key=MappingType.ORDER.index, default=MappingType.ONE_TO_ONE)
