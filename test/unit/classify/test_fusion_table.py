"""DNNFusion's table 3, cell by cell."""

import pytest

from mlirfuse.dialect import MappingType
from mlirfuse.lowering.classify.table import TABLE, combine, most_complex

# As printed: rows are the first operation; G fuses, Y fuses if it pays, R does not.
PRINTED = """
| first \\ second | One-to-One | One-to-Many | Many-to-Many | Reorganize | Shuffle |
| One-to-One | G One-to-One | G One-to-Many | G Many-to-Many | G Reorganize | G Shuffle |
| One-to-Many | G One-to-Many | Y One-to-Many | R | Y One-to-Many | Y One-to-Many |
| Many-to-Many | G Many-to-Many | Y Many-to-Many | R | Y Many-to-Many | Y Many-to-Many |
| Reorganize | G Reorganize | Y One-to-Many | Y Many-to-Many | G Reorganize | G Reorganize |
| Shuffle | G Shuffle | Y One-to-Many | Y Many-to-Many | G Reorganize | G Shuffle |
"""
JUDGEMENTS = {"G": "fuse", "Y": "profit", "R": "refuse"}


def cells():
    header, *rows = [[part.strip() for part in line.strip("| ").split("|")] for line in PRINTED.strip().splitlines()]
    for first, *row in rows:
        for second, cell in zip(header[1:], row, strict=True):
            judgement, _, mapping = cell.partition(" ")
            yield first.lower(), second.lower(), JUDGEMENTS[judgement], mapping.lower()


@pytest.mark.parametrize(("first", "second", "judgement", "mapping"), list(cells()))
def test_every_cell_is_the_printed_one(first, second, judgement, mapping):
    cell = combine(first, second)
    assert cell.judgement == judgement
    if judgement != "refuse":
        assert cell.mapping == mapping


def test_the_table_is_complete():
    assert set(TABLE) == {(a, b) for a in MappingType.ORDER for b in MappingType.ORDER}
    assert sum(cell.judgement != "refuse" for cell in TABLE.values()) == 23


def test_several_inputs_take_the_most_complex_type():
    assert most_complex((MappingType.SHUFFLE, MappingType.ONE_TO_ONE)) == MappingType.SHUFFLE
    assert most_complex(()) == MappingType.ONE_TO_ONE
